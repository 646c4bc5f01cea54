"""The leg of kills: faults in a mixed order, at a steady pace, under load.

The pace is quicker than a lease: the next fault comes while the rows of the last dead worker still wait, meets the worker that has just
taken them over, or the one that has just been started.
"""

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
_LEAST_RATE = 50


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
    options = harness.options
    await harness.load(messages_per_second=options.messages_per_second)
    loaded = time.monotonic()
    await asyncio.sleep(_WARM_SECONDS)
    for strike in strikes:
        due = time.monotonic() + options.every_seconds
        await strike(harness)
        await asyncio.sleep(due - time.monotonic())
    await asyncio.sleep(_WARM_SECONDS)
    seconds = time.monotonic() - loaded
    evidence = await harness.gather()
    rate = len(evidence.acks) / seconds
    bars = {"recipients/s under attack": (f"{rate:,.0f}", f"≥ {_LEAST_RATE}", rate >= _LEAST_RATE)}
    return Leg("kills", check(evidence), evidence.faults, time.monotonic() - began, harness.client_said, bars)
