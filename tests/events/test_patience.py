"""When a post is tried again, and what a post is made of: the pure part of webhooks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from app.events.egress import Answer
from app.events.patience import Patience, next_wait_seconds, read_retry_after
from app.events.posts import MOST_BATCH_OCTETS, encode, make_posts, sign
from app.events.rounds import explain
from app.store.events import FeedRow
from app.store.ids import new_id, new_message_id, recipient_id

PATIENCE = Patience()
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def _row(number: int, metadata: str = "{}") -> FeedRow:
    about = recipient_id(new_message_id(), number)
    return FeedRow("700", new_id(), about, "message.delivered", 1, "{}", "a@example.net", "transactional", "[]", metadata)


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    exact = Patience(jitter=0.0)
    waits = [next_wait_seconds(exact, failures) for failures in range(1, 11)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]
    assert sum(wait for wait in waits if wait is not None) == pytest.approx(75.585 * 3600, rel=0.01)
    for failures, planned in enumerate(waits[:-1], 1):
        for _ in range(50):
            wait = next_wait_seconds(PATIENCE, failures)
            assert wait is not None
            assert planned is not None
            assert abs(wait / planned - 1) <= 0.1


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "7", 7),
        (503, " 120 ", 120),
        (429, "99999999999999999999", 3600),
        (429, "Sun, 01 Mar 2026 12:01:00 GMT", 60),
        (429, "Sun, 01 Mar 2026 11:00:00 GMT", 0),
        (429, "Fri, 01 Mar 2090 11:00:00 GMT", 3600),
        (429, "soon", None),
        (429, "", None),
        (429, "-5", None),
        (429, "7.5", None),
        (429, "Sun, 01 Mar 2026 12:01:00", None),
        (429, "٣", None),
        (500, "7", None),
        (200, "7", None),
        (None, "7", None),
        (429, None, None),
    ],
)
def test_retry_after_is_read_within_bounds(status: int | None, header: str | None, seconds: float | None) -> None:
    assert read_retry_after(PATIENCE, status, header, NOW) == seconds


def test_batches_are_cut_by_number_and_size_and_lose_nothing() -> None:
    rows = [_row(n) for n in range(1, 8)]
    assert [len(post.rows) for post in make_posts(rows, 3)] == [3, 3, 1]
    heavy = [_row(n, '{"k": "' + "x" * 100_000 + '"}') for n in range(1, 8)]
    posts = make_posts(heavy, 500)
    assert [row for post in posts for row in post.rows] == heavy
    assert all(len(encode(post)) <= MOST_BATCH_OCTETS + 1000 for post in posts)
    wide = make_posts([_row(n, '{"k": "' + "語" * 50_000 + '"}') for n in range(1, 8)], 500)
    assert all(len(encode(post)) <= MOST_BATCH_OCTETS + 1000 for post in wide)
    larger = make_posts([_row(1, '{"k": "' + "x" * 2 * MOST_BATCH_OCTETS + '"}')], 500)
    assert [len(post.rows) for post in larger] == [1]


def test_a_batch_cut_differently_has_another_id() -> None:
    rows = [_row(n) for n in range(1, 6)]
    first, again, longer = make_posts(rows[:3], 10)[0], make_posts(rows[:3], 10)[0], make_posts(rows, 10)[0]
    assert first.webhook_id == again.webhook_id != longer.webhook_id
    assert make_posts(rows[:1], 10)[0].webhook_id != make_posts(rows[:1], 1)[0].webhook_id


def test_a_message_event_names_no_recipient() -> None:
    message = new_message_id()
    row = FeedRow("700", new_id(1_772_366_400.123), message, "message.accepted", 0, "{}", None, "transactional", "[]", "{}")
    (post,) = make_posts([row], 1)
    body = encode(post).decode()
    assert '"recipient_id":null' in body
    assert f'"message_id":"msg_{message.hex}"' in body
    assert '"timestamp":"2026-03-01T12:00:00.123Z"' in body


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the Standard Webhooks specification.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_answers_are_told_in_words() -> None:
    assert explain(Answer(500)) == "answered 500"
    assert explain(Answer(500, body=b"no room")) == "answered 500: no room"
    assert explain(Answer(302)) == "answered 302; redirects are not followed"
    assert explain(Answer(None, error="refused: 10.0.0.1 is not a public address")).startswith("refused")
    assert explain(Answer(None)) == "no answer"
