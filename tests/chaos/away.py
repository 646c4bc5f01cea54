"""The leg without Valkey: as fast as the house goes, then Valkey is killed and stays away. Mail goes on, by polls instead of wakes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.stretch import accepted_dots, rate_between
from tests.chaos.checker import check
from tests.chaos.evidence import Fault
from tests.chaos.harness import Harness
from tests.chaos.options import Options
from tests.chaos.report import Leg

_SHARE = 0.8
_WARM_SECONDS = 5.0
_BEFORE_MOST_SECONDS = 60.0
_CLIENTS = 24
# Deep enough that it is not the wait for a poll that holds the clients back.
_MOST_BEHIND = 2000


async def run(options: Options, say: Callable[[str], None], keep: Path | None) -> Leg:
    began = time.monotonic()
    async with Harness(replace(options, sink_delay_ms=0.0, most_behind=_MOST_BEHIND), say=say) as harness:
        try:
            return await _compare(harness, began)
        finally:
            harness.keep_logs(keep)


async def _compare(harness: Harness, began: float) -> Leg:
    seconds = harness.options.valkey_away_seconds
    before_seconds = min(_BEFORE_MOST_SECONDS, seconds)
    await harness.load(clients=_CLIENTS)
    await asyncio.sleep(_WARM_SECONDS)
    start = time.time()
    await asyncio.sleep(before_seconds)
    harness.keep_down.add("valkey")
    os.kill(harness.house.servers.pids["valkey"], signal.SIGKILL)
    gone = time.time()
    harness.note(Fault(f"Valkey away for {seconds:.0f} s", gone))
    await asyncio.sleep(seconds)
    back = time.time()
    harness.keep_down.discard("valkey")
    await asyncio.sleep(_WARM_SECONDS)
    evidence = await harness.gather()
    dots = accepted_dots(harness.house.dots)
    before, during = rate_between(dots, start, gone), rate_between(dots, gone, back)
    bars = {
        "recipients/s with Valkey": (f"{before:,.0f}", "", True),
        "recipients/s without": (f"{during:,.0f}", f"≥ {_SHARE} of it", during >= _SHARE * before),
    }
    return Leg("away", check(evidence), evidence.faults, time.monotonic() - began, harness.client_said, bars)
