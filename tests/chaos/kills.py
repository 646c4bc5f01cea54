"""The leg of kills: faults in a mixed order, one after the other, under load."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from tests.chaos import faults
from tests.chaos.checker import check
from tests.chaos.harness import Harness
from tests.chaos.options import Options
from tests.chaos.report import Leg

_WARM_SECONDS = 3.0


def schedule(options: Options) -> list[faults.Strike]:
    """The faults in their order: the kills in turn, the others strewn in."""
    strikes = list(islice(cycle(faults.KILLS), options.kills))
    strikes += [faults.flush_valkey] * options.flushalls + [faults.drain_worker] * options.drains
    strikes += [faults.freeze_worker] * options.freezes + [faults.take_postgres_away] * options.outages
    random.Random(options.seed).shuffle(strikes)
    return strikes


async def run(options: Options, say: Callable[[str], None], keep: Path | None) -> Leg:
    began = time.monotonic()
    async with Harness(options, say=say) as harness:
        try:
            return await attack(harness, schedule(options), began)
        finally:
            harness.keep_logs(keep)


async def attack(harness: Harness, strikes: list[faults.Strike], began: float) -> Leg:
    """Load the house, strike, let it rest, judge."""
    await harness.load()
    await asyncio.sleep(_WARM_SECONDS)
    chance = random.Random(harness.options.seed)
    for strike in strikes:
        if chance.random() >= harness.options.overlap:
            await faults.wait_for_calm(harness)
        await strike(harness)
        await asyncio.sleep(harness.options.pause_seconds)
    await asyncio.sleep(_WARM_SECONDS)
    evidence = await harness.gather()
    return Leg("kills", check(evidence), evidence.faults, time.monotonic() - began, harness.client_said)
