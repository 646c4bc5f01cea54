"""Whether what an SMTP credential does looks like a stolen password. Pure: no clock, no network, no database.

A password gives no sign when it is stolen; its use does. Each rule is a number of the last hour against what this credential did in its
own busiest hour of two weeks:

    volume          more recipients than ten times the busiest hour, and than 200
    new network     more recipients from networks it was never used from than the busiest hour had in all, and than 50
    new recipients  more recipients it never wrote to than five times the busiest hour had, and than 100
    dead addresses  of at least 50 recipients whose outcome is known, a fifth had no mailbox: an old list, or guessed addresses

A credential in its first day has no habits: only an allowance (1,000 recipients an hour unless settings say otherwise), and the last rule.
Whoever has said that so many an hour are right for it is believed: volume and new recipients below that number hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SETTLED_AFTER = timedelta(days=1)
VOLUME_FACTOR, VOLUME_FLOOR = 10, 200
ELSEWHERE_FACTOR, ELSEWHERE_FLOOR = 1, 50
STRANGERS_FACTOR, STRANGERS_FLOOR = 5, 100
DEAD_SHARE, DEAD_LEAST = 0.2, 50


class Kind(StrEnum):
    VOLUME = "volume"
    NEW_NETWORK = "new_network"
    NEW_RECIPIENTS = "new_recipients"
    DEAD_ADDRESSES = "dead_addresses"


@dataclass(frozen=True, slots=True)
class Habits:
    """What a credential is used to."""

    is_settled: bool  # it has been used for longer than a day
    busiest_recipients: int
    busiest_strangers: int
    trusted_per_hour: int | None
    first_allowance: int


@dataclass(frozen=True, slots=True)
class LastHour:
    """Recipients of the last hour, those of the message in question among them."""

    recipients: float
    elsewhere: float
    strangers: float


@dataclass(frozen=True, slots=True)
class Suspicion:
    kind: Kind
    words: str


def judge(habits: Habits, hour: LastHour) -> Suspicion | None:
    """The first rule that is broken."""
    trusted = habits.trusted_per_hour or 0
    if not habits.is_settled:
        most = max(habits.first_allowance, trusted)
        if hour.recipients > most:
            return Suspicion(Kind.VOLUME, f"more than {most} recipients in an hour, and it is in use for less than a day")
        return None
    busiest = habits.busiest_recipients
    most = max(VOLUME_FLOOR, VOLUME_FACTOR * busiest, trusted)
    if hour.recipients > most:
        return Suspicion(Kind.VOLUME, f"more than {most} recipients in an hour; its busiest hour in two weeks had {busiest}")
    most = max(ELSEWHERE_FLOOR, ELSEWHERE_FACTOR * busiest)
    if hour.elsewhere > most:
        return Suspicion(Kind.NEW_NETWORK, f"more than {most} recipients in an hour from a network that it was never used from")
    most = max(STRANGERS_FLOOR, STRANGERS_FACTOR * habits.busiest_strangers, trusted)
    if hour.strangers > most:
        return Suspicion(Kind.NEW_RECIPIENTS, f"more than {most} recipients in an hour to whom it never wrote before")
    return None


def judge_outcomes(known: int, dead: int) -> Suspicion | None:
    """By what became of the latest recipients: `known` have an outcome."""
    if known < DEAD_LEAST or dead < DEAD_SHARE * known:
        return None
    return Suspicion(Kind.DEAD_ADDRESSES, f"{dead} of its last {known} recipients do not exist")


def known_networks(now: datetime, seen: Iterable[tuple[str, datetime, bool]]) -> tuple[bool, frozenset[str]]:
    """(whether it has been in use for longer than a day, the networks that are its own), of what was seen: network, since, trusted.

    Its own are those of its first day, those it has used for a day without an incident, and those that its owner called right.
    """
    seen = list(seen)
    first = min((since for _, since, _ in seen), default=now)
    own = (network for network, since, trusted in seen if trusted or since <= now - SETTLED_AFTER or since <= first + SETTLED_AFTER)
    return first <= now - SETTLED_AFTER, frozenset(own)
