"""judge(): what an attempt means for its recipient. Pure.

2yz after the dot: delivered. 5yz: bounced. Everything else (4yz, a broken connection, a look-up that failed for now) is deferred
until it is too old:

    wait(n) = first * growth^(n-1), at most LONGEST, ± 20 % jitter          n = attempts made so far

With a first wait of 2 minutes: 2, 5, 12, 30, 75 minutes, then every 2 hours; RFC 5321 §4.5.4.1 asks for about two tries in the first
hour and then less often. A recipient whose next attempt would lie past expires_at gets one last attempt at that time, then expires.

A recipient that is put off without an attempt (its site cannot be reached) waits for as long as it is told, and at least half of its age up
to an hour: so a mail of today goes as soon as the site is back, and one that has waited for long does not go round and round.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.mail.reply import Reply, ReplyClass, classify
from app.store.states import RecipientState

GROWTH = 2.5
LONGEST_WAIT = timedelta(hours=2)
LONGEST_PUT_OFF = timedelta(hours=1)
JITTER = 0.2
# A try later than this before expiry is not worth another wait.
_LAST_CHANCE = timedelta(seconds=30)


@dataclass(slots=True)
class Outcome:
    """The verdict. `due_at` is set for deferred alone."""

    state: RecipientState
    reply_class: ReplyClass | None
    due_at: datetime | None
    reason: str | None


def judge(
    reply: Reply | None,
    phase: str | None,
    *,
    accepted: bool,
    error: str | None,
    attempts: int,
    now: datetime,
    expires_at: datetime,
    first_wait_seconds: float,
    chance: float,
) -> Outcome:
    """The verdict on one attempt.

    `phase` is None for what the DNS said, which no host answered. `attempts` counts this one; `chance` is a random number in
    [0, 1) for the jitter.
    """
    if accepted:
        return Outcome(RecipientState.DELIVERED, None, None, None)
    reply_class = classify(reply, phase) if reply is not None else ReplyClass.TRANSIENT
    if reply is not None and reply.code // 100 == 5:
        return Outcome(RecipientState.BOUNCED, reply_class, None, reply_class.value)
    due_at = next_attempt_at(attempts, now=now, expires_at=expires_at, first_wait_seconds=first_wait_seconds, chance=chance)
    if due_at is None:
        return Outcome(RecipientState.EXPIRED, reply_class, None, error or reply_class.value)
    return Outcome(RecipientState.DEFERRED, reply_class, due_at, error or reply_class.value)


def next_attempt_at(attempts: int, *, now: datetime, expires_at: datetime, first_wait_seconds: float, chance: float) -> datetime | None:
    """When to try again after `attempts` attempts; None when it is given up."""
    longest = max(LONGEST_WAIT.total_seconds(), first_wait_seconds)
    wait = min(first_wait_seconds * GROWTH ** min(attempts - 1, 20), longest)
    return _within(now + timedelta(seconds=wait * (1 - JITTER + 2 * JITTER * chance)), now, expires_at)


def put_off_until(seconds: float, *, accepted_at: datetime, now: datetime, expires_at: datetime, chance: float) -> datetime | None:
    """When to look again at what is not tried for `seconds`; None when it is given up."""
    wait = max(timedelta(seconds=seconds), min((now - accepted_at) / 2, LONGEST_PUT_OFF))
    return _within(now + wait * (1 + 2 * JITTER * chance), now, expires_at)


def _within(due_at: datetime, now: datetime, expires_at: datetime) -> datetime | None:
    if due_at < expires_at:
        return due_at
    return expires_at - timedelta(seconds=1) if expires_at - now > _LAST_CHANCE else None
