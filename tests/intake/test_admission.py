"""Who gets a message, and until when it is kept: rules that hold whichever door it came by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from app import store
from app.accounts.streams import Stream
from app.config import Settings
from app.errors import InvalidMessage
from app.intake.admission import Named, admit_recipients, admit_times, named_in
from app.mail.address import parse_address
from app.mail.compose import Draft

NOW = datetime(2030, 6, 1, 23, 30, tzinfo=UTC)


def _stream(**values: object) -> Stream:
    return Stream(**({"name": "s", "lane_class": 0, "title": "", "description": "", "tracking": True, "track_opens": True,
                      "track_clicks": True, "content_retention_days": None, "max_age_hours": None, "list_id": None} | values))  # type: ignore[arg-type]  # fmt: skip


def test_who_is_named_twice_gets_it_once_as_he_was_named_first() -> None:
    ada, bob = parse_address("Ada <Ada@Example.com>"), parse_address("bob@example.com")
    draft = Draft(bob, (ada,), (bob, parse_address("ada@example.COM")), (bob,), (), "", None, None)
    message_id = store.ids.new_message_id()
    found = admit_recipients(message_id, named_in(draft), 2)
    assert [(one.address, one.kind, one.dsn) for one in found] == [(ada.mailbox, "to", None), ("bob@example.com", "cc", None)]
    assert [one.id for one in found] == [store.ids.recipient_id(message_id, ordinal) for ordinal in (1, 2)]


def test_what_is_said_of_a_recipient_goes_with_it() -> None:
    named = [Named("ada@example.com", "bcc", '{"from":"a@x.test"}'), Named("ADA@example.com", "to", None)]
    (one,) = admit_recipients(store.ids.new_message_id(), named, 10)
    assert (one.kind, one.dsn) == ("bcc", '{"from":"a@x.test"}')


@pytest.mark.parametrize(("number", "code"), [(0, "missing"), (4, "too_many"), (70_000, "too_many")])
def test_none_and_too_many_are_refused(number: int, code: str) -> None:
    named = (Named(f"r{n}@example.com", "to") for n in range(number))
    with pytest.raises(InvalidMessage) as refused:
        admit_recipients(store.ids.new_message_id(), named, 3)
    assert [(each.pointer, each.code) for each in refused.value.errors] == [("#/to", code)]
    assert refused.value.message == refused.value.errors[0].detail


@pytest.mark.parametrize(
    ("stream", "send_at", "expires_at", "expected"),
    [
        ({}, None, None, (None, NOW + timedelta(hours=24), NOW, date(2030, 6, 9))),
        ({"lane_class": 1}, None, None, (None, NOW + timedelta(hours=72), NOW, date(2030, 6, 11))),
        ({"max_age_hours": 0.25, "content_retention_days": 0}, None, None, (None, NOW + timedelta(minutes=15), NOW, date(2030, 6, 1))),
        ({}, NOW - timedelta(days=1), None, (None, NOW + timedelta(hours=24), NOW, date(2030, 6, 9))),
        (
            {"content_retention_days": 1},
            NOW + timedelta(days=1),
            NOW + timedelta(days=3),
            (NOW + timedelta(days=1), NOW + timedelta(days=3), NOW + timedelta(days=1), date(2030, 6, 5)),
        ),
    ],
)
def test_times(
    stream: dict[str, object],
    send_at: datetime | None,
    expires_at: datetime | None,
    expected: tuple[datetime | None, datetime, datetime, date],
) -> None:
    settings = Settings(content_retention_days=7)
    times = admit_times(settings, _stream(**stream), send_at, expires_at, NOW)
    assert (times.send_at, times.expires_at, times.dated, times.purge_on) == expected
