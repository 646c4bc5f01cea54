"""How long a webhook receiver is waited for. Pure: the poster asks, the clock and chance are its own.

The attempt schedule is that of Standard Webhooks: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h,
75 h 35 min in all, each wait ± 10 %; then the post is given up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

SCHEDULE_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """The figures of the rules in `webhooks`. Tests compress them."""

    schedule_seconds: tuple[float, ...] = SCHEDULE_SECONDS  # waits after the first, second … failure
    jitter: float = 0.1
    down_after: int = 20  # failures in a row
    probe_first_seconds: float = 5.0  # while down: waits grow with the time it has been down …
    probe_most_seconds: float = 300.0  # … up to this
    tell_after_seconds: float = 24 * 3600.0  # down for so long: its account is told …
    disable_after_seconds: float = 72 * 3600.0  # … and the endpoint disabled
    give_up_seconds: float = 76 * 3600.0  # while down: no less than the schedule's own end
    most_retry_after_seconds: float = 3600.0
    most_waiting: int = 10_000  # posts of one endpoint that wait to be tried again
    straggler_seconds: float = 1.0  # how long a round waits for its last answers


def hurried(patience: Patience, haste: float) -> Patience:
    """The same rules `haste` times as fast; what depends on the network and not on the schedule stays."""
    waits = (
        "probe_first_seconds",
        "probe_most_seconds",
        "tell_after_seconds",
        "disable_after_seconds",
        "give_up_seconds",
        "most_retry_after_seconds",
    )
    changed: dict[str, Any] = {name: getattr(patience, name) / haste for name in waits}
    return replace(patience, schedule_seconds=tuple(wait / haste for wait in patience.schedule_seconds), **changed)


def next_wait_seconds(patience: Patience, failures: int) -> float | None:
    """The wait after a post's nth failure (n from 1); None: given up."""
    if failures > len(patience.schedule_seconds):
        return None
    return patience.schedule_seconds[failures - 1] * jittered(patience)


def jittered(patience: Patience) -> float:
    """A factor around 1."""
    return 1 + random.uniform(-patience.jitter, patience.jitter)  # noqa: S311  (spreads load, guards nothing)


def read_retry_after(patience: Patience, status: int | None, header: str | None, now: datetime) -> float | None:
    """The rest that a receiver asked for, in seconds, bounded (RFC 9110 §10.2.3); heard with 429 and 503 alone."""
    if header is None or status not in {429, 503}:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return min(max(seconds, 0.0), patience.most_retry_after_seconds)
