"""What replies mean for a recipient, and when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.retry import JITTER, LONGEST_PUT_OFF, LONGEST_WAIT, Outcome, judge, next_attempt_at, put_off_until
from app.mail.reply import parse_reply
from app.store.states import RecipientState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def verdict(code: int | None, text: str = "", **overrides: Any) -> Outcome:
    values: dict[str, Any] = {
        "accepted": code is not None and code // 100 == 2,
        "error": None if code is not None else "connection lost",
        "attempts": 1,
        "now": NOW,
        "expires_at": NOW + timedelta(days=1),
        "first_wait_seconds": 120.0,
        "chance": 0.5,
    }
    return judge(parse_reply(code, text) if code is not None else None, "rcpt", **(values | overrides))


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (250, "2.0.0 queued", RecipientState.DELIVERED),
        (550, "5.1.1 no such user", RecipientState.BOUNCED),
        (554, "5.7.1 refused for policy", RecipientState.BOUNCED),
        (450, "4.2.0 greylisted", RecipientState.DEFERRED),
        (421, "closing", RecipientState.DEFERRED),
        (None, "", RecipientState.DEFERRED),
    ],
)
def test_the_first_digit_decides(code: int | None, text: str, state: RecipientState) -> None:
    outcome = verdict(code, text)
    assert outcome.state is state
    assert (outcome.due_at is not None) == (state is RecipientState.DEFERRED)


def test_a_temporary_no_is_final_when_it_is_too_old() -> None:
    soon = NOW + timedelta(seconds=10)
    assert verdict(450, expires_at=soon).state is RecipientState.EXPIRED
    assert verdict(550, expires_at=soon).state is RecipientState.BOUNCED


def test_the_last_attempt_lies_right_before_expiry() -> None:
    expires_at = NOW + timedelta(minutes=1)
    outcome = verdict(450, expires_at=expires_at)
    assert outcome.due_at == expires_at - timedelta(seconds=1)


@given(attempts=st.integers(1, 1000), chance=st.floats(0, 1, exclude_max=True), first=st.floats(0.01, 10_000))
def test_waits_grow_and_stay_bounded(attempts: int, chance: float, first: float) -> None:
    due_at = next_attempt_at(attempts, now=NOW, expires_at=NOW + timedelta(days=99), first_wait_seconds=first, chance=chance)
    assert due_at is not None
    wait = due_at - NOW
    assert timedelta(0) <= wait <= max(LONGEST_WAIT, timedelta(seconds=first)) * (1 + JITTER) + timedelta(milliseconds=1)


def test_two_tries_in_the_first_hour_then_less_often() -> None:
    at, waits = NOW, []
    for attempts in range(1, 10):
        due_at = next_attempt_at(attempts, now=at, expires_at=NOW + timedelta(days=9), first_wait_seconds=120, chance=0.5)
        assert due_at is not None
        waits.append((due_at - at).total_seconds())
        at = due_at
    assert waits == sorted(waits)
    assert sum(waits[:3]) < 3600
    assert waits[-1] == LONGEST_WAIT.total_seconds()


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (timedelta(seconds=1), timedelta(seconds=120)),
        (timedelta(minutes=10), timedelta(minutes=5)),
        (timedelta(hours=5), LONGEST_PUT_OFF),
    ],
)
def test_what_is_put_off_waits_as_long_as_told_or_half_its_age(age: timedelta, wait: timedelta) -> None:
    for chance in (0.0, 0.99):
        due_at = put_off_until(120.0, accepted_at=NOW - age, now=NOW, expires_at=NOW + timedelta(days=1), chance=chance)
        assert due_at is not None
        assert wait <= due_at - NOW <= wait * (1 + 2 * JITTER)


def test_what_is_put_off_has_a_last_chance_before_it_expires() -> None:
    accepted_at, expires_at = NOW - timedelta(hours=1), NOW + timedelta(minutes=1)
    assert put_off_until(120.0, accepted_at=accepted_at, now=NOW, expires_at=expires_at, chance=0.5) == expires_at - timedelta(seconds=1)
    assert put_off_until(120.0, accepted_at=accepted_at, now=expires_at, expires_at=expires_at, chance=0.5) is None
