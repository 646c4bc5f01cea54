"""What an endpoint wants, what signs its posts, what is kept of them, and what its account is told about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from app import store
from app.events.filters import FAMILIES, Wanted, is_known, is_wanted
from app.events.posts import SECRET_PURPOSE, Post, encode, new_secret
from app.store.db import Database
from app.store.events import FeedRow
from app.store.ids import new_id
from app.store.webhook_attempts import AttemptRow, read_attempt_events
from tests.doubles.hooks import HookReceiver, Rule
from tests.events.webhook_house import QUICK, House, Told, until


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


# --- filters


def _row(kind: str, stream: str | None = "bulk", tags: str | None = '["a","b"]') -> FeedRow:
    return FeedRow("1", new_id(), new_id(), kind, 1, "{}", None, stream, tags, None)


@pytest.mark.parametrize(
    ("wanted", "kind", "expected"),
    [
        (Wanted(), "message.bounced", True),
        (Wanted(types=frozenset({"message.*"})), "message.bounced", True),
        (Wanted(types=frozenset({"message.*"})), "webhook.failing", False),
        (Wanted(types=frozenset({"message.delivered", "webhook.*"})), "webhook.failing", True),
        (Wanted(types=frozenset({"message.delivered"})), "message.deferred", False),
        (Wanted(streams=frozenset({"bulk", "x"})), "message.bounced", True),
        (Wanted(streams=frozenset({"transactional"})), "message.bounced", False),
        (Wanted(streams=frozenset({"transactional"})), "webhook.disabled", True),
        (Wanted(tags=frozenset({"b", "c"})), "message.bounced", True),
        (Wanted(tags=frozenset({"c"})), "message.bounced", False),
        (Wanted(types=frozenset({"message.*"}), streams=frozenset({"bulk"}), tags=frozenset({"c"})), "message.bounced", False),
    ],
)
def test_what_is_wanted(wanted: Wanted, kind: str, expected: bool) -> None:
    assert is_wanted(_row(kind), wanted) is expected


def test_mail_without_stream_or_tags_does_not_pass_a_filter_on_them() -> None:
    assert not is_wanted(_row("message.bounced", None), Wanted(streams=frozenset({"bulk"})))
    assert not is_wanted(_row("message.bounced", tags=None), Wanted(tags=frozenset({"a"})))


def test_families_are_those_of_the_types() -> None:
    assert FAMILIES == ("credential.*", "inbound.*", "message.*", "webhook.*")
    assert [
        name for name in ("message.*", "message.held", "*", "messages.*", "message", "message.", "message.*.*", "") if is_known(name)
    ] == [
        "message.*",
        "message.held",
    ]


async def test_each_endpoint_of_an_account_gets_what_it_wants(house: House) -> None:
    async with HookReceiver() as all_hooks, HookReceiver() as some_hooks, HookReceiver() as bulk_hooks:
        everything = await house.subscribe(all_hooks.url)
        await house.subscribe(some_hooks.url, events=["webhook.*", "message.bounced"], beside=everything)
        await house.subscribe(bulk_hooks.url, events=["message.*"], streams=["bulk"], tags=["news"], beside=everything)
        async with house.posting():
            await house.happen(everything, 20)
            bounced = await house.happen(everything, 3, type_="message.bounced")
            await house.happen(everything, 4, stream="bulk")
            news = await house.happen(everything, 5, stream="bulk", tag="news")
            await until(lambda: (len(all_hooks.posts), len(some_hooks.posts), len(bulk_hooks.posts)) == (32, 3, 5))
        assert sorted(all_hooks.ids) == sorted(everything.event_ids)
        assert sorted(some_hooks.ids) == sorted(bounced)
        assert sorted(bulk_hooks.ids) == sorted(news)


# --- two live secrets


async def test_after_a_rotation_both_secrets_sign_until_the_old_one_ends(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        newer = Told(told.account_id, told.endpoint_id, new_secret())
        async with house.posting():
            await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 1)
            await _rotate(house, newer, timedelta(hours=24))
            await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 2)
            await house.row("UPDATE webhook_endpoints SET old_secret_until = now() RETURNING id")
            await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 3)
    before, between, after = hooks.posts
    told.verifier.verify(before.body, before.headers)
    for one in (told, newer):
        one.verifier.verify(between.body, between.headers)
    assert [part.partition(",")[0] for part in between.headers["webhook-signature"].split(" ")] == ["v1", "v1"]
    newer.verifier.verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        told.verifier.verify(after.body, after.headers)


async def _rotate(house: House, told: Told, overlap: timedelta) -> None:
    sealed = house.keyring.seal(told.secret, account_id=told.account_id, purpose=SECRET_PURPOSE)
    async with house.database.transaction() as connection:
        assert await store.webhooks.rotate_secret(connection, told.account_id, told.endpoint_id, sealed, overlap=overlap)


# --- attempts


async def test_failures_and_successes_are_recorded_with_what_was_answered(house: House) -> None:
    async with HookReceiver([Rule("500", times=1, body="no room\nat the inn")]) as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            await house.happen(told, 3)
            await until(lambda: len(hooks.posts) == 4)
        rows = await house.attempts(told)
    (refused,) = [row for row in rows if row["outcome"] == "refused"]
    assert (refused["status"], refused["answer"], refused["kind"]) == (500, "no room\nat the inn", "event")
    taken = [row for row in rows if row["outcome"] == "taken"]
    assert sorted(row["webhook_id"] for row in taken) == sorted(told.event_ids)
    assert [row["kind"] for row in taken if row["webhook_id"] == refused["webhook_id"]] == ["retry"]
    # The body can be made again, byte for byte.
    async with house.database.hot() as connection:
        columns = [name for name in AttemptRow.__dataclass_fields__ if name not in {"xids", "body"}]
        values = {name: refused[name] for name in columns} | {"xids": refused["event_xids"]}
        events = await read_attempt_events(connection, AttemptRow(**values))
    assert encode(Post(refused["webhook_id"], batch=False, rows=tuple(events))) == hooks.posts[0].body


async def test_of_a_busy_endpoint_successes_are_samples(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            await house.happen(told, 400)
            await until(lambda: len(hooks.posts) == 400)
        assert 30 <= len(await house.attempts(told)) < 60


async def test_a_receiver_that_does_not_answer_is_recorded_too(house: House) -> None:
    told = await house.subscribe("http://127.0.0.1:1/hook")
    async with house.posting():
        await house.happen(told, 1)
        await until(lambda: _some(house.attempts(told)))
    first = (await house.attempts(told))[0]
    assert (first["outcome"], first["status"]) == ("unanswered", None)
    assert first["error"]


# --- notices


async def test_long_down_is_told_and_then_disables(house: House) -> None:
    patience = replace(QUICK, tell_after_seconds=0.4, disable_after_seconds=1.2)
    async with HookReceiver() as hooks:
        down = await house.subscribe("http://127.0.0.1:1/hook", events=["message.*"])
        other = await house.subscribe(hooks.url, events=["webhook.*"], beside=down)
        await house.happen(down, 30)
        async with house.posting(patience):
            await until(lambda: _disabled(house, down))
            await until(lambda: len(hooks.posts) == 2)
        row = await house.endpoint(down)
        assert row["disabled_reason"] == "The receiver failed for too long."
        assert row["disabled_at"] is not None
        failing, disabled = (post.json for post in hooks.posts)
        assert (failing["type"], disabled["type"]) == ("webhook.failing", "webhook.disabled")
        facts = failing["data"]["facts"]
        assert (facts["webhook_id"], facts["url"]) == (f"whk_{down.endpoint_id.hex}", "http://127.0.0.1:1/hook")
        assert facts["since"].endswith("Z")
        assert facts["last_error"]
        assert disabled["data"]["facts"]["reason"] == "The receiver failed for too long."
        assert await house.waiting(other) == []
        # Nothing was given up: enabled again, it gets all of it.
        assert (row["given_up"], len(await house.waiting(down)) + await house.unread(down)) == (0, 30)


async def test_a_receiver_that_comes_back_in_time_is_not_disabled_and_may_be_told_again(house: House) -> None:
    patience = replace(QUICK, tell_after_seconds=0.2, disable_after_seconds=60.0)
    async with HookReceiver([Rule("500")]) as hooks:
        told = await house.subscribe(hooks.url, events=["message.*"])
        await house.happen(told, 10)
        async with house.posting(patience):
            await until(lambda: _told(house, told))
            hooks.rules = ()
            await until(lambda: {post.id for post in hooks.posts if post.answer == "200"} == set(told.event_ids))
            await until(lambda: _not_told(house, told))
        kinds = await house.row("SELECT array_agg(type) AS kinds FROM events WHERE type LIKE 'webhook.%'")
    assert kinds["kinds"] == ["webhook.failing"]
    assert (await house.endpoint(told))["enabled"]


async def _some(rows: Any) -> bool:
    return bool(await rows)


async def _disabled(house: House, told: Told) -> bool:
    return not (await house.endpoint(told))["enabled"]


async def _told(house: House, told: Told) -> bool:
    return (await house.endpoint(told))["failing_told_at"] is not None


async def _not_told(house: House, told: Told) -> bool:
    return not await _told(house, told)
