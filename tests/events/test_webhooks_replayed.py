"""Replays: events of the past come once more, under the ids they had, and nothing that happens now waits for them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app import store
from app.store.db import Database
from app.store.ids import parse_public_id
from tests.doubles.hooks import HookReceiver, Rule
from tests.events.webhook_house import House, Told, until


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


def _id(text: str) -> UUID:
    found = parse_public_id("evt", text)
    assert found is not None
    return found


async def _past(house: House, told: Told) -> None:
    """What happened so far was told."""
    await house.row(
        "UPDATE webhook_endpoints SET cursor_xid = feed_horizon(), cursor_id = $2 WHERE id = $1 RETURNING id",
        told.endpoint_id,
        UUID(int=0),
    )


async def _over(house: House, replay_id: UUID) -> bool:
    return bool((await house.replayed(replay_id))["state"] == "done")


async def test_named_events_come_again_under_their_ids(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url, events=["message.bounced"])
        ids = await house.happen(told, 300)
        await _past(house, told)
        wanted = [ids[n] for n in (0, 7, 299)]
        moments = [store.ids.time_of(_id(one)) for one in wanted]
        async with house.posting():
            replay = await house.replay(
                told,
                event_ids=[_id(one) for one in wanted],
                from_at=min(moments),
                to_at=max(moments) + timedelta(milliseconds=1),
            )
            await until(lambda: _over(house, replay))
        assert sorted(hooks.ids) == sorted(wanted)
        for post in hooks.posts:
            told.verifier.verify(post.body, post.headers)
        row = await house.replayed(replay)
        assert (row["posted_events"], row["failed_posts"]) == (3, 0)
        assert row["finished_at"] is not None
        assert {attempt["kind"] for attempt in await house.attempts(told)} == {"replay"}


async def test_a_time_is_narrowed_by_types_states_and_the_endpoints_own_filters(house: House) -> None:
    now = datetime.now(UTC)
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url, streams=["bulk"])
        await house.happen(told, 5, at=now - timedelta(minutes=30), stream="bulk", state="bounced", type_="message.bounced")
        wanted = await house.happen(told, 450, at=now - timedelta(minutes=10), stream="bulk", state="bounced", type_="message.bounced")
        await house.happen(told, 450, at=now - timedelta(minutes=10), stream="bulk", state="delivered", type_="message.bounced")
        await house.happen(told, 5, at=now - timedelta(minutes=10), stream="bulk", state="bounced", type_="message.deferred")
        await house.happen(told, 5, at=now - timedelta(minutes=10), state="bounced", type_="message.bounced")
        await house.happen(told, 5, at=now - timedelta(minutes=1), stream="bulk", state="bounced", type_="message.bounced")
        await _past(house, told)
        async with house.posting():
            replay = await house.replay(
                told,
                from_at=now - timedelta(minutes=20),
                to_at=now - timedelta(minutes=5),
                event_types=["message.bounced"],
                states=["bounced"],
            )
            await until(lambda: _over(house, replay), 20)
        assert Counter(hooks.ids) == Counter(wanted)


async def test_a_replay_ends_at_its_bound(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url, batch_size=50)
        await house.happen(told, 500)
        await _past(house, told)
        async with house.posting():
            replay = await house.replay(told, most_events=320)
            await until(lambda: _over(house, replay))
        assert len(hooks.event_ids) == 320
        assert (await house.replayed(replay))["posted_events"] == 320


async def test_what_happens_now_does_not_wait_for_a_replay(house: House) -> None:
    """Each post of the replay takes a while; new events come before it is half done."""
    async with HookReceiver([Rule("slow", contains="message.bounced", seconds=0.05)]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 100, type_="message.bounced")
        await _past(house, told)
        async with house.posting():
            await house.replay(told)
            await until(lambda: len(hooks.posts) >= 5)
            fresh = await house.happen(told, 20)
            await until(lambda: set(fresh) <= set(hooks.ids))
            assert len(hooks.posts) - 20 < 60
            assert hooks.most_under_way <= 2


async def test_what_fails_of_a_replay_is_tried_again_and_a_cancelled_one_ends(house: House) -> None:
    async with HookReceiver([Rule("500", times=3)]) as hooks:
        told = await house.subscribe(hooks.url)
        ids = await house.happen(told, 30)
        await _past(house, told)
        async with house.posting():
            replay = await house.replay(told)
            await until(lambda: {post.id for post in hooks.posts if post.answer == "200"} == set(ids))
            await until(lambda: _over(house, replay))
        assert (await house.replayed(replay))["failed_posts"] == 3
    async with HookReceiver([Rule("slow", seconds=0.02)]) as hooks:
        slow = await house.subscribe(hooks.url, name="slow")
        await house.happen(slow, 1000)
        await _past(house, slow)
        async with house.posting():
            replay = await house.replay(slow)
            await until(lambda: len(hooks.posts) > 0)
            async with house.database.transaction() as connection:
                assert await store.webhook_replays.cancel_replay(connection, slow.account_id, slow.endpoint_id, replay)
        assert len(hooks.posts) <= 200
        assert (await house.replayed(replay))["state"] == "cancelled"


async def test_a_replay_goes_on_where_it_was_when_its_worker_dies(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        ids = await house.happen(told, 900)
        await _past(house, told)
        replay = await house.replay(told)
        async with house.posting() as running:
            await until(lambda: len(hooks.posts) > 250)
            await running.kill()
        async with house.posting():
            await until(lambda: _over(house, replay), 20)
        assert set(hooks.ids) == set(ids)
        # No more than a slice came twice.
        assert len(hooks.ids) <= 900 + 200


async def test_a_receiver_that_is_down_is_left_in_peace(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 5)
        await _past(house, told)
        await house.row("UPDATE webhook_endpoints SET down_since = now(), resume_at = now() + interval '1 hour' RETURNING id")
        replay = await house.replay(told)
        worker = await house.add_worker()
        async with house.database.hot() as connection:
            await store.webhook_owners.claim_endpoints(connection, worker)
            assert await store.webhook_replays.find_due_replays(connection, worker, []) == []
            await connection.execute("UPDATE webhook_endpoints SET down_since = NULL, resume_at = NULL")
            assert [due.id for due in await store.webhook_replays.find_due_replays(connection, worker, [])] == [replay]
            assert await store.webhook_replays.find_due_replays(connection, worker, [told.endpoint_id]) == []
