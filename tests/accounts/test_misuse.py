"""The judge of SMTP credentials: each rule at its edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.circle import Circle
from app.accounts.misuse import Habits, Kind, LastHour, judge, judge_outcomes, known_networks

CALM = Habits(is_settled=True, busiest_recipients=5, busiest_strangers=2, trusted_per_hour=None, first_allowance=1000)
BUSY = Habits(is_settled=True, busiest_recipients=3000, busiest_strangers=2000, trusted_per_hour=None, first_allowance=1000)
NEW = Habits(is_settled=False, busiest_recipients=0, busiest_strangers=0, trusted_per_hour=None, first_allowance=1000)
TRUSTED = Habits(is_settled=True, busiest_recipients=5, busiest_strangers=2, trusted_per_hour=5000, first_allowance=1000)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("habits", "recipients", "elsewhere", "strangers", "kind"),
    [
        (CALM, 200, 0, 0, None),
        (CALM, 201, 0, 0, Kind.VOLUME),
        (BUSY, 30_000, 0, 0, None),
        (BUSY, 30_001, 0, 0, Kind.VOLUME),
        (CALM, 50, 50, 0, None),
        (CALM, 51, 51, 0, Kind.NEW_NETWORK),
        (BUSY, 3000, 3000, 3000, None),
        (BUSY, 3001, 3001, 3001, Kind.NEW_NETWORK),
        (CALM, 101, 0, 100, None),
        (CALM, 101, 0, 101, Kind.NEW_RECIPIENTS),
        (BUSY, 10_001, 0, 10_001, Kind.NEW_RECIPIENTS),
        # The first day has an allowance, and nothing to be compared with.
        (NEW, 1000, 1000, 1000, None),
        (NEW, 1001, 0, 0, Kind.VOLUME),
        # Who is trusted with much may send much, to whomever, but not from anywhere.
        (TRUSTED, 5000, 0, 5000, None),
        (TRUSTED, 5001, 0, 0, Kind.VOLUME),
        (TRUSTED, 51, 51, 0, Kind.NEW_NETWORK),
    ],
)
def test_the_first_rule_that_is_broken_is_told(habits: Habits, recipients: int, elsewhere: int, strangers: int, kind: Kind | None) -> None:
    found = judge(habits, LastHour(recipients, elsewhere, strangers))
    assert (found.kind if found is not None else None) is kind


@pytest.mark.parametrize(
    ("known", "dead", "is_suspicious"), [(49, 49, False), (50, 9, False), (50, 10, True), (200, 39, False), (200, 40, True)]
)
def test_a_fifth_of_dead_addresses_is_too_many(known: int, dead: int, is_suspicious: bool) -> None:
    assert (judge_outcomes(known, dead) is not None) is is_suspicious


def test_networks_become_known_by_a_calm_day_or_a_word() -> None:
    def ago(**span: float) -> datetime:
        return NOW - timedelta(**span)

    assert known_networks(NOW, []) == (False, frozenset())
    # In its first day all it is used from is its own.
    assert known_networks(NOW, [("a", ago(hours=20), False), ("b", NOW, False)]) == (False, {"a", "b"})
    seen = [("a", ago(days=9), False), ("b", ago(days=8, hours=1), False), ("c", ago(days=2), False), ("d", ago(hours=23), False)]
    assert known_networks(NOW, seen) == (True, {"a", "b", "c"})
    assert known_networks(NOW, [*seen, ("e", NOW, True)]) == (True, {"a", "b", "c", "e"})


def test_a_circle_knows_whom_it_has_seen_and_few_others() -> None:
    circle, friends = Circle("smtp-a"), [f"friend{n}@x.test" for n in range(5000)]
    assert circle.count_strangers(friends) == 5000
    assert circle.add(friends)
    assert not circle.add(friends)
    assert circle.count_strangers([friend.upper() for friend in friends]) == 0
    others = [f"stranger{n}@y.test" for n in range(2000)]
    assert circle.count_strangers(others) > 1900
    again = Circle("smtp-a", bytes(circle))
    assert again.count_strangers(friends) == 0
    empty = Circle("smtp-a")
    empty.merge(bytes(circle))
    assert bytes(empty) == bytes(circle)
    # Who writes to everybody knows everybody.
    circle.add(f"many{n}@x.test" for n in range(30_000))
    assert circle.count_strangers(others) == 0
