"""The judge finds a spoilt house: each of these would lose mail, forget it or let a zombie decide, and must not pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.chaos import faults, kills
from tests.chaos.harness import Harness
from tests.chaos.options import QUICK, Options
from tests.chaos.report import Leg

# One fault each: the load must not rest at its moment.
OPTIONS = replace(
    Options(**QUICK),
    lease_seconds=2.0,
    drain_seconds=10.0,
    watch_seconds=8.0,
    most_behind=200,
    messages_per_second=None,
    sink_delay_ms=50.0,
)


async def attack(strikes: Sequence[faults.Strike], **sabotage: Any) -> Leg:
    async with Harness(OPTIONS, say=print, **sabotage) as harness:
        return await kills.attack(harness, list(strikes), time.monotonic())


async def test_a_reply_before_the_commit_loses_mail() -> None:
    leg = await attack([faults.kill_api] * 3, api_module=("tests.chaos.sabotage",))
    assert leg.findings.lost


async def test_without_the_fence_a_zombie_decides() -> None:
    # Three times: one that sleeps while it waits for all its replies has no outcome left to write when its rows are another's.
    leg = await attack([faults.freeze_worker] * 3, worker_sabotage="settle_without_fence")
    assert leg.findings.unfenced


async def test_without_take_over_mail_is_stuck() -> None:
    leg = await attack([faults.kill_worker], worker_sabotage="take_nothing_over")
    assert leg.findings.stuck
    assert leg.findings.late
