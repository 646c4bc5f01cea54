"""Ids carry their time and their place in the message."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from app.config import Settings
from app.store.ids import (
    floor_of,
    is_message,
    last_of_message,
    message_of,
    new_id,
    new_message_id,
    parse_public_id,
    public_id,
    recipient_id,
    time_of,
)

# What the setting allows.
MOST_RECIPIENTS = next(bound.le for bound in Settings.model_fields["max_recipients"].metadata if hasattr(bound, "le"))


def test_ids_are_version_7_and_sorted_by_time() -> None:
    made = [new_id(us / 1e6) for us in range(1_700_000_000_000_000, 1_700_000_000_005_000)]
    assert made == sorted(made)
    assert {i.version for i in made} == {7}
    assert {i.variant for i in made} == {"specified in RFC 4122"}
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_recipient_tells_its_message() -> None:
    message = new_message_id()
    assert is_message(message)
    for ordinal in (1, 2, 300, MOST_RECIPIENTS):
        recipient = recipient_id(message, ordinal)
        assert message_of(recipient) == message
        assert message < recipient <= last_of_message(message)
        assert not is_message(recipient)
    with pytest.raises(OverflowError):
        recipient_id(message, MOST_RECIPIENTS + 1)


def test_ids_made_one_after_the_other_are_in_that_order() -> None:
    """What an account lists newest first, and a recipient's attempts, must not depend on the dice of a millisecond."""
    made = []
    for _ in range(300):
        made.append(new_message_id())
        until = time.perf_counter() + 2e-6
        while time.perf_counter() < until:
            pass
    assert made == sorted(made)


def test_the_time_is_in_the_id() -> None:
    now = datetime.now(UTC)
    assert abs(time_of(new_id()) - now) < timedelta(seconds=5)
    assert floor_of(now) <= new_id()
    assert floor_of(now + timedelta(seconds=5)) > new_id()


def test_public_ids_are_read_back_and_others_are_not() -> None:
    some = new_id()
    assert parse_public_id("msg", public_id("msg", some)) == some
    for wrong in ("", "msg_", "rcp_" + some.hex, "msg_" + "g" * 32, "msg_" + some.hex + "0", "msg_" + "²" * 32, some.hex):
        assert parse_public_id("msg", wrong) is None
