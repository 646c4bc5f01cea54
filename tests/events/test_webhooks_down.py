"""A webhook receiver that is down, or never takes a post; and who posts for an endpoint."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import store
from app.store.db import Database
from app.store.webhook_rounds import DownRule, RoundResult
from tests.doubles.hooks import HookReceiver, Rule
from tests.events.webhook_house import QUICK, House, Told, until


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


async def test_a_receiver_that_is_down_stops_the_cursor_and_is_only_probed(house: House) -> None:
    async with HookReceiver() as hooks:
        port = hooks.port
        told = await house.subscribe(hooks.url)
    # Nobody listens there now.
    await house.happen(told, 2000)
    async with house.posting():
        await until(lambda: _down(house, told))
        unread = await house.unread(told)
        waiting = len(await house.waiting(told))
        assert waiting <= QUICK.down_after + 16
        assert unread == 2000 - waiting
        await asyncio.sleep(1.0)
        assert (await house.unread(told), len(await house.waiting(told))) == (unread, waiting)
        row = await house.endpoint(told)
        assert row["failures"] <= QUICK.down_after + 16 + 12  # a probe every 0.1 to 0.3 s
        assert "Connect" in row["last_error"] or "refused" in row["last_error"]
        async with HookReceiver(port=port) as back:
            await until(lambda: set(back.ids) == set(told.event_ids), 15)
            await until(lambda: _no_waiting(house, told))
            assert len(back.ids) == len(told.event_ids)
        assert not await _down(house, told)


async def test_probes_take_turns_so_that_one_bad_event_does_not_keep_a_receiver_down(house: House) -> None:
    async with HookReceiver([Rule("500")]) as hooks:
        told = await house.subscribe(hooks.url)
        bad = await house.happen(told, 30)
        async with house.posting(replace(QUICK, schedule_seconds=(30.0, 30.0))):
            await until(lambda: _down(house, told))
            # All events that were tried keep failing, but one.
            waiting = [row["webhook_id"] for row in await house.waiting(told)]
            hooks.rules = [Rule("500", contains=event_id) for event_id in waiting[1:]]
            await until(lambda: set(bad) - set(waiting) <= {post.id for post in hooks.posts if post.answer == "200"})
            assert len({post.id for post in hooks.posts[-10:]}) > 1


async def test_a_probe_may_be_the_next_event_of_the_log(house: House) -> None:
    """Down, and every post that waited is given up: the cursor's own next event is tried, and is not written down."""
    async with HookReceiver([Rule("500")]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 30)
        async with house.posting():
            await until(lambda: _down(house, told))
            await house.row("DELETE FROM webhook_retries WHERE endpoint_id = $1", told.endpoint_id)
            unread, posts = await house.unread(told), len(hooks.posts)
            await until(lambda: len(hooks.posts) >= posts + 3)
            assert await house.waiting(told) == []
            assert await house.unread(told) == unread > 0
            hooks.rules = ()
            await until(lambda: _read_up(house, told))


async def test_a_post_is_given_up_after_its_last_attempt(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        poison, *_ = await house.happen(told, 10)
        hooks.rules = [Rule("500", contains=poison)]
        async with house.posting():
            await until(lambda: _given_up(house, told, 1))
            assert await house.waiting(told) == []
        attempts = [post.at for post in hooks.posts if post.id == poison]
        assert len(attempts) == 1 + len(QUICK.schedule_seconds)
        waits = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert all(wait >= planned for wait, planned in zip(waits, QUICK.schedule_seconds, strict=True))
        assert {post.id for post in hooks.posts if post.answer == "200"} == set(told.event_ids) - {poison}


async def test_what_is_older_than_the_patience_is_given_up_while_down(house: House) -> None:
    async with HookReceiver([Rule("500")]) as hooks:
        told = await house.subscribe(hooks.url, events=["message.delivered"])
        old = await house.happen(told, 50, at=datetime.now(UTC) - timedelta(hours=2))
        await house.happen(told, 20, type_="message.deferred", at=datetime.now(UTC) - timedelta(hours=2))
        fresh = await house.happen(told, 10)
        async with house.posting(replace(QUICK, give_up_seconds=3600.0, schedule_seconds=(60.0,))):
            await until(lambda: _given_up(house, told, len(old)))
            assert await house.unread(told) == len(fresh)
            hooks.rules = ()
            await until(lambda: {post.id for post in hooks.posts if post.answer == "200"} == set(fresh))
        assert (await house.endpoint(told))["given_up"] == len(old)


async def test_the_cursor_waits_while_too_many_posts_wait(house: House) -> None:
    async with HookReceiver([Rule("500", share=0.6)]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 2000)
        async with house.posting(replace(QUICK, most_waiting=100, down_after=1000, schedule_seconds=(0.3,) * 60)):
            most = 0
            for _ in range(60):
                most = max(most, len(await house.waiting(told)))
                await asyncio.sleep(0.02)
            assert most <= 100 + 500  # one window over
            hooks.rules = ()
            await until(lambda: {post.id for post in hooks.posts if post.answer == "200"} == set(told.event_ids), 20)


async def test_a_secret_that_does_not_open_is_a_failure_and_nothing_is_posted(house: House) -> None:
    async with HookReceiver() as hooks:
        told = await house.subscribe(hooks.url)
        await house.row("UPDATE webhook_endpoints SET secret = '\\x00' WHERE id = $1", told.endpoint_id)
        await house.happen(told, 50)
        async with house.posting():
            await until(lambda: _down(house, told))
        assert hooks.posts == []
        assert "secret" in (await house.endpoint(told))["last_error"]


# --- owners


async def test_each_endpoint_has_one_owner_and_workers_share_them(house: House) -> None:
    async with HookReceiver() as hooks:
        told = [await house.subscribe(hooks.url, name=f"shop {n}") for n in range(8)]
        async with house.posting():
            await until(lambda: _owners(house, {8}))
            async with house.posting():
                await until(lambda: _owners(house, {4}))
                for one in told:
                    await house.happen(one, 20)
                await until(lambda: len(hooks.posts) == 160)
                await asyncio.sleep(0.2)
            assert sorted(hooks.ids) == sorted(event for one in told for event in one.event_ids)
            # The other one left: its endpoints are taken over.
            await until(lambda: _owners(house, {8}))


async def test_an_owner_whose_lease_is_over_is_replaced_and_fenced(house: House) -> None:
    told = await house.subscribe("http://127.0.0.1:1/hook")
    first, second = await house.add_worker("first"), await house.add_worker("second")
    async with house.database.hot() as connection:
        assert await store.webhook_owners.claim_endpoints(connection, first) == [told.endpoint_id]
        assert await store.webhook_owners.claim_endpoints(connection, second) == []
        await connection.execute("UPDATE workers SET lease_until = now() - interval '1 second' WHERE id = $1", first)
        assert await store.webhook_owners.claim_endpoints(connection, first) == []
        assert await store.webhook_owners.claim_endpoints(connection, second) == [told.endpoint_id]
        before = await house.endpoint(told)
        async with connection.transaction():
            settled = await store.webhook_rounds.settle_round(
                connection, _result(told, first), DownRule(20, 5.0, 300.0, 86400.0, 259200.0), 1.0
            )
        assert settled is None
        assert await house.endpoint(told) == before
        # A worker that is gone altogether is replaced too.
        await connection.execute("DELETE FROM workers WHERE id = $1", second)
        third = await house.add_worker("third")
        assert await store.webhook_owners.claim_endpoints(connection, third) == [told.endpoint_id]


async def test_the_cursor_never_goes_back(house: House) -> None:
    told = await house.subscribe("http://127.0.0.1:1/hook")
    worker = await house.add_worker()
    async with house.database.hot() as connection:
        await store.webhook_owners.claim_endpoints(connection, worker)
        before = await house.endpoint(told)
        async with connection.transaction():
            assert await store.webhook_rounds.settle_round(
                connection, _result(told, worker), DownRule(20, 5.0, 300.0, 86400.0, 259200.0), 1.0
            )
        after = await house.endpoint(told)
        assert (after["cursor_xid"], after["cursor_id"]) == (before["cursor_xid"], before["cursor_id"])


async def test_stopping_gives_the_endpoints_back(house: House) -> None:
    async with HookReceiver([Rule("hang")]) as hooks:
        told = await house.subscribe(hooks.url)
        await house.happen(told, 50)
        async with house.posting():
            await until(lambda: hooks.under_way > 0)
        assert (await house.endpoint(told))["owner"] is None
        # What hung is neither lost nor forgotten.
        assert len(await house.waiting(told)) + await house.unread(told) == 50


def _result(told: Told, owner: int) -> RoundResult:
    return RoundResult(
        endpoint_id=told.endpoint_id,
        account_id=told.account_id,
        owner=owner,
        cursor=store.events.BEGINNING,
        success=True,
        failures=0,
        rest_seconds=None,
        error=None,
        disabled_reason=None,
        given_up=0,
        taken=[],
        retries=[],
    )


async def _down(house: House, told: Told) -> bool:
    return (await house.endpoint(told))["down_since"] is not None


async def _given_up(house: House, told: Told, events: int) -> bool:
    return bool((await house.endpoint(told))["given_up"] >= events)


async def _no_waiting(house: House, told: Told) -> bool:
    return not await house.waiting(told)


async def _read_up(house: House, told: Told) -> bool:
    return await house.unread(told) == 0


async def _owners(house: House, counts: set[int]) -> bool:
    async with house.database.hot() as connection:
        rows = await connection.fetch("SELECT count(*) FROM webhook_endpoints WHERE owner IS NOT NULL GROUP BY owner")
    return {row[0] for row in rows} == counts
