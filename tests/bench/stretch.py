"""Rates out of the sink's log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.doubles.sink_log import TOLD_YES, Dot, read_log
from tests.house.loads import count_lines


def accepted_dots(path: Path, after: float = 0.0) -> list[Dot]:
    """The dots that were answered with yes since `after`, in time."""
    return sorted((dot for dot in read_log(path) if dot.verdict in TOLD_YES and dot.time >= after), key=lambda dot: dot.time)


def middle_rate(dots: Sequence[Dot], *, skip: float = 0.1, until: float = 0.9) -> float:
    """Messages per second between two shares of the dots: without the start, and without the thin end."""
    if len(dots) < 100:
        return 0.0
    first, last = dots[int(len(dots) * skip)], dots[int(len(dots) * until) - 1]
    return len(dots) * (until - skip) / max(last.time - first.time, 1e-9)


def rate_between(dots: Sequence[Dot], begin: float, end: float) -> float:
    return sum(begin <= dot.time < end for dot in dots) / (end - begin)


async def wait_for_dots(path: Path, count: int, seconds: float) -> bool:
    """Whether the log has `count` lines within `seconds`; gives up early when nothing has come for a while."""
    until = time.monotonic() + seconds
    while count_lines(path) < count:
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.1)
    return True


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
