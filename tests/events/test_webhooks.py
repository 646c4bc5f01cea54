"""Webhooks: every event is posted, signed, at least once; whatever the receiver does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from standardwebhooks import WebhookVerificationError

from app import store
from app.store.db import Database
from tests.doubles.hooks import HookReceiver, Rule
from tests.events.webhook_house import QUICK, House, until


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


async def test_every_event_is_posted_once_and_verifies(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            await house.happen(told, 40)
            await house.happen(told, 1, type_="message.bounced")
            await until(lambda: len(hooks.posts) == 41)
        assert sorted(hooks.ids) == sorted(told.event_ids)
        for post in hooks.posts:
            told.verifier.verify(post.body, post.headers)
            assert {name: post.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")} == {
                name: post.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
            }
        assert await house.waiting(told) == []
        assert await house.unread(told) == 0
        assert (await house.endpoint(told))["last_success_at"] is not None


async def test_a_post_carries_the_event_whole(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            (event_id,) = await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 1)
    post = hooks.posts[0]
    assert post.headers["content-type"] == "application/json"
    body = post.json
    assert (body["type"], body["timestamp"]) == ("message.delivered", body["data"]["occurred_at"])
    data = body["data"]
    assert data["message_id"].removeprefix("msg_")[:28] == data["recipient_id"].removeprefix("rcp_")[:28]
    assert data | {"occurred_at": "", "message_id": "", "recipient_id": ""} == {
        "id": event_id,
        "type": "message.delivered",
        "occurred_at": "",
        "message_id": "",
        "recipient_id": "",
        "email": "r1@example.net",
        "number": 1,
        "stream": "transactional",
        "tags": ["order"],
        "metadata": {"order": "4711"},
        "facts": {"mx": "mx.example.net", "code": 250},
    }


async def test_a_changed_body_or_an_old_timestamp_does_not_verify(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 1)
    post = hooks.posts[0]
    for place in range(0, len(post.body), 7):
        changed = post.body[:place] + bytes([post.body[place] ^ 1]) + post.body[place + 1 :]
        with pytest.raises(WebhookVerificationError):
            told.verifier.verify(changed, post.headers)
    with pytest.raises(WebhookVerificationError):
        told.verifier.verify(post.body, post.headers | {"webhook-timestamp": str(int(time.time()) - 301)})


async def test_a_failed_post_comes_again_the_same(house: House) -> None:
    async with HookReceiver([Rule("500", times=1, body="out of order"), Rule("301", times=1, location="http://127.0.0.1/")]) as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            await house.happen(told, 1)
            await until(lambda: len(hooks.posts) == 1)
            await until(lambda: len(hooks.posts) == 3)
            await until(lambda: _empty(house.waiting(told)))
        assert len(set(hooks.ids)) == 1
        assert len({post.body for post in hooks.posts}) == 1
        assert (await house.endpoint(told))["last_error"] == "answered 301; redirects are not followed"


async def test_batches_keep_their_id_and_their_events(house: House) -> None:
    async with HookReceiver([Rule("500", times=2)]) as hooks:
        told = await house.subscribe(hooks.url, batch_size=100)
        await house.happen(told, 250)
        async with house.posting():
            await until(lambda: len(hooks.posts) == 5)
            await until(lambda: _empty(house.waiting(told)))
    bodies: dict[str, set[bytes]] = {}
    for post in hooks.posts:
        told.verifier.verify(post.body, post.headers)
        bodies.setdefault(post.id, set()).add(post.body)
    assert [len(same) for same in bodies.values()] == [1, 1, 1]
    taken = [post for post in hooks.posts if post.answer == "200"]
    assert [post.json["type"] for post in taken] == ["batch"] * 3
    assert sorted(len(post.json["data"]) for post in taken) == [50, 100, 100]
    assert sorted(event["id"] for post in taken for event in post.json["data"]) == sorted(told.event_ids)


async def test_only_the_wanted_types_are_posted_and_the_cursor_passes_the_rest(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url, events=["message.bounced"])
        async with house.posting() as running:
            await house.happen(told, 600)
            wanted = await house.happen(told, 3, type_="message.bounced")
            await house.happen(told, 700)
            running.wake.set()
            await until(lambda: len(hooks.posts) == 3)
            await until(lambda: _equal(house.row(_BEHIND, told.endpoint_id), 0))
    assert sorted(hooks.ids) == sorted(wanted)


_BEHIND = """
SELECT count(*) FROM webhook_endpoints e JOIN events v ON v.account_id = e.account_id AND (v.xid, v.id) > (e.cursor_xid, e.cursor_id)
WHERE e.id = $1
"""


async def test_only_events_from_the_subscription_on_are_posted(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        await house.row("DELETE FROM webhook_endpoints WHERE id = $1", told.endpoint_id)
        await house.happen(told, 5)
        later = await house.happen(again := await house.subscribe(hooks.url, name="other"), 2)
        async with house.posting():
            await until(lambda: len(hooks.posts) == 2)
            await asyncio.sleep(0.2)
    assert sorted(hooks.ids) == sorted(later) == sorted(again.event_ids)


async def test_410_disables_the_endpoint(house: House) -> None:
    async with HookReceiver([Rule("410")]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 100)
        async with house.posting():
            await until(lambda: _disabled(house, told))
            posted = len(hooks.posts)
            await asyncio.sleep(0.4)
            assert len(hooks.posts) == posted <= 16
        row = await house.endpoint(told)
        assert row["disabled_reason"] == "The receiver answered 410 Gone."
        # Enabled again, it gets all of them.
        hooks.rules = ()
        async with house.database.transaction() as connection:
            await store.webhooks.update_endpoint(connection, told.account_id, told.endpoint_id, {"enabled": True}, fresh_start=True)
        async with house.posting():
            await until(lambda: _taken(hooks) >= set(told.event_ids) and len(_taken(hooks)) == 101)
        # And what its account's feed says of it.
        (notice,) = [post.json for post in hooks.posts if post.json["type"] == "webhook.disabled"]
        assert notice["data"]["facts"]["reason"] == "The receiver answered 410 Gone."
        assert (notice["data"]["message_id"], notice["data"]["recipient_id"], notice["data"]["email"]) == (None, None, None)


@pytest.mark.parametrize("status", ["429", "503"])
async def test_retry_after_rests_the_whole_endpoint(house: House, status: str) -> None:
    async with HookReceiver([Rule(status, times=1, retry_after="1")]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 60)
        async with house.posting():
            await until(lambda: len(hooks.posts) > 0)
            asked_at = hooks.posts[0].at
            await until(lambda: _taken(hooks) == set(told.event_ids))
        # What was under way when it asked may still come; then there is silence for the second it asked for.
        times = [post.at - asked_at for post in hooks.posts]
        assert sum(t < 0.9 for t in times) < 60
        assert not [t for t in times if 0.4 < t < 0.9]


async def test_a_receiver_that_fails_now_and_then_gets_everything(house: House) -> None:
    async with HookReceiver([Rule("500", share=0.2), Rule("drop", share=0.1)]) as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting(replace(QUICK, schedule_seconds=(0.1,) * 15, down_after=20)):
            for _ in range(5):
                await house.happen(told, 100)
            await until(lambda: _taken(hooks) == set(told.event_ids), 20)
            await until(lambda: _empty(house.waiting(told)))
        counts = Counter(post.id for post in hooks.posts if post.answer == "200")
        assert max(counts.values()) == 1


async def test_an_answer_that_is_late_holds_up_no_other(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        slow, *_ = await house.happen(told, 300)
        hooks.rules = [Rule("slow", seconds=0.8, contains=slow)]
        async with house.posting():
            await until(lambda: len(hooks.posts) == 300)
            await until(lambda: _length(house.waiting(told), 1))
            fresh = await house.happen(told, 5)
            await until(lambda: set(fresh) <= _taken(hooks), 0.4)
            await until(lambda: _empty(house.waiting(told)))
            await asyncio.sleep(0.3)
        assert len(hooks.posts) == 305


async def test_a_hanging_receiver_delays_no_other_endpoint(house: House) -> None:
    async with HookReceiver([Rule("hang")]) as hanging, HookReceiver() as good:
        first = await house.subscribe(hanging.url, name="first")
        second = await house.subscribe(good.url, name="second")
        await house.happen(first, 500)
        async with house.posting() as running:
            await until(lambda: hanging.under_way > 0)
            for _ in range(5):
                began = time.monotonic()
                fresh = await house.happen(second, 20)
                running.wake.set()
                await until(lambda fresh=fresh: set(fresh) <= set(good.ids))  # type: ignore[misc]
                assert time.monotonic() - began < 1.0
            assert hanging.most_under_way <= 16


async def test_events_after_a_kill_come_again_under_the_same_ids(house: House) -> None:
    async with HookReceiver([Rule("slow", seconds=0.02)]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 400)
        async with house.posting() as running:
            await until(lambda: len(hooks.posts) > 50)
            await running.kill()
        hooks.rules = ()
        async with house.posting():
            await until(lambda: set(hooks.ids) == set(told.event_ids))
        bodies: dict[str, set[bytes]] = {}
        for post in hooks.posts:
            bodies.setdefault(post.id, set()).add(post.body)
        assert all(len(same) == 1 for same in bodies.values())


async def test_connections_are_kept(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting():
            for _ in range(4):
                await house.happen(told, 100)
                await until(lambda: len(hooks.posts) == len(told.event_ids))
        assert hooks.connections <= 16


async def test_lost_database_connections_are_survived(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        async with house.posting() as running:
            for _ in range(3):
                await house.happen(told, 50)
                async with house.database.reading() as connection:
                    await connection.exec_driver_sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                running.wake.set()
                await until(lambda: set(hooks.ids) == set(told.event_ids), 15)


# --- helpers of the waits


async def _empty(rows) -> bool:  # type: ignore[no-untyped-def]
    return not await rows


async def _length(rows, length: int) -> bool:  # type: ignore[no-untyped-def]
    return len(await rows) == length


async def _equal(row, value: int) -> bool:  # type: ignore[no-untyped-def]
    return bool((await row)[0] == value)


async def _disabled(house: House, told) -> bool:  # type: ignore[no-untyped-def]
    return not (await house.endpoint(told))["enabled"]


def _taken(hooks: HookReceiver) -> set[str]:
    return {post.id for post in hooks.posts if post.answer == "200"}
