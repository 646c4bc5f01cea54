"""A backup is restored into a new cluster: nothing is sent again by itself, the feed goes on, and the operator says what leaves."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import store
from app.delivery.held import DROPPED, RESTORED, drop, release
from app.delivery.restored import mark_restored
from app.embedded import EmbeddedServers
from app.embedded.binaries import find_binaries
from app.errors import Conflict
from app.main import build_app
from app.store.held import Wanted
from tests.flows.conftest import House, until


def _pg(program: str, servers: EmbeddedServers, *arguments: str) -> None:
    command = [str(find_binaries().postgres / program), "-h", str(servers.sockets), "-U", "staffetta", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def _advance_xids(database: store.db.Database, count: int) -> None:
    """As after a long life: a new cluster's numbers are far below."""
    async with database.hot() as connection:
        await connection.execute(f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")


async def _stop_workers(house: House) -> None:
    for _, stop in house.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in house.workers))
    house.workers.clear()


@asynccontextmanager
async def _opened(house: House, database_url: str) -> AsyncIterator[House]:
    """The same house on another database."""
    settings = house.settings.model_copy(update={"database_url": database_url})
    app = build_app(settings)
    database = store.db.Database(database_url)
    transport = httpx2.ASGITransport(app=app)
    headers = {"Authorization": house.api.headers["Authorization"]}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as api,
    ):
        yield House(settings, database, house.keyring, api, house.account_id, house.sink, house.dns, house.hooks, app.state.house.intake)
    await database.close()


async def _feed(house: House, after: str | None = None) -> tuple[list[dict[str, Any]], str]:
    answer = await house.api.get("/v1/events", params={"limit": 100} | ({"after": after} if after else {}))
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return page["events"], page["next"]


def _taken(house: House, address: str) -> int:
    return sum(dot.recipient == address for dot in house.sink.dots)


@pytest.fixture
async def restored(
    house: House, servers: EmbeddedServers, server_directory: Path, tmp_path: Path
) -> AsyncIterator[tuple[House, House, str]]:
    """(the house that was, the house on the restored database, the place of a reader who had read everything)."""
    await _advance_xids(house.database, 20_000)
    answer = await house.api.post("/v1/webhooks", json={"url": house.hooks.url})
    assert answer.status_code == 201, answer.text
    before = await house.send("before@x.test")
    await house.until_states(before["id"], "delivered")
    await _stop_workers(house)
    await house.send("between@x.test")  # due at the backup, delivered afterwards
    await house.send("later@x.test", send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    dump = tmp_path / "dump"
    _pg("pg_dump", servers, "-Fc", "-f", str(dump), house.settings.database_url.rpartition("/")[2].partition("?")[0])
    house.start_worker()
    await until(lambda: _taken(house, "between@x.test"), lambda count: count == 1)
    _, read_to = await _feed(house)
    await _stop_workers(house)
    with EmbeddedServers(server_directory) as other:
        _pg("pg_restore", other, "--no-owner", "-d", "staffetta", str(dump))
        async with _opened(house, other.database_url) as after:
            yield house, after, read_to
            for _, stop in after.workers:
                stop.set()
            await asyncio.gather(*(task for task, _ in after.workers))


async def test_nothing_is_sent_again_and_the_feed_goes_on(restored: tuple[House, House, str]) -> None:
    house, after, read_to = restored
    async with after.database.hot() as connection:
        assert not await store.eras.is_readable(connection), "a dump alone leaves the feed standing"
    assert (await mark_restored(after.database)).held == 1
    async with after.database.hot() as connection:
        assert await store.eras.is_readable(connection)

    after.start_worker()
    fresh = await after.send("fresh@x.test")
    await after.until_states(fresh["id"], "delivered")
    assert _taken(house, "between@x.test") == 1, "it was sent by the house that was, and by nobody since"

    # Who had read everything reads on, and meets only what is new.
    async def read() -> list[str]:
        return [event["type"] for event in (await _feed(after, read_to))[0]]

    await until(read, lambda types: types == ["message.held", "message.accepted", "message.delivered"])
    # Who begins anew gets all of it, the old before the new.
    everything = [event["type"] for event in (await _feed(after))[0]]
    assert everything[:2] == ["message.accepted", "message.delivered"]
    assert everything[-3:] == ["message.held", "message.accepted", "message.delivered"]
    # And the webhook is told: its cursor is of the old numbers too.
    await until(lambda: [p.body for p in house.hooks.posts if b"fresh@x.test" in p.body], bool)


async def test_the_operator_says_what_becomes_of_it(restored: tuple[House, House, str]) -> None:
    house, after, _ = restored
    assert (await mark_restored(after.database, scheduled_too=True)).held == 2
    async with after.database.hot() as connection:
        (group,) = await store.held.count_held(connection, Wanted(reason="restored"))
        assert (group.account_id, group.reason, group.recipients) == (house.account_id, RESTORED, 2)
        rows = {row.address: row for row in await store.held.list_held(connection, Wanted(), 10)}
    assert (rows["between@x.test"].maybe_sent, rows["later@x.test"].maybe_sent) == (True, False)
    other = Wanted(account_id=house.account_id + 1)
    assert (await release(after.database, other), await drop(after.database, other)) == (0, 0), "another account's word"
    assert await drop(after.database, Wanted(reason="claimed")) == 0
    assert await release(after.database, Wanted(house.account_id, RESTORED)) == 2
    after.start_worker()
    await until(lambda: (_taken(house, "between@x.test"), _taken(house, "later@x.test")), lambda counts: counts == (2, 1))


async def test_dropped_is_cancelled_and_told(restored: tuple[House, House, str]) -> None:
    _, after, read_to = restored
    await mark_restored(after.database)
    assert await drop(after.database, Wanted(reason="restored")) == 1
    events, _ = await _feed(after, read_to)
    assert [(event["type"], event["facts"]["reason"]) for event in events if "reason" in event["facts"]] == [
        ("message.held", RESTORED),
        ("message.cancelled", DROPPED),
    ]
    async with after.database.hot() as connection:
        assert await store.held.list_held(connection, Wanted(), 10) == []


async def test_a_running_house_is_refused(house: House) -> None:
    async with house.database.hot() as connection:
        await until(lambda: store.workers.list_live_workers(connection), bool)
    accepted = await house.send("x@nowhere.test", send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    with pytest.raises(Conflict, match="alive"):
        await mark_restored(house.database, scheduled_too=True)
    assert await house.states(accepted["id"]) == ["scheduled"]


async def test_two_restores_keep_the_order(house: House) -> None:
    await _stop_workers(house)
    async with house.database.hot() as connection:
        await connection.execute("DELETE FROM workers")
    cursors = []
    for number in range(3):
        await house.send(f"{number}@x.test")
        cursors.append((await _feed(house))[1])
        if number < 2:
            first = await mark_restored(house.database)
            assert first.held == 1
    events, _ = await _feed(house)
    assert [event["type"] for event in events] == ["message.accepted", "message.held"] * 2 + ["message.accepted"]
    assert len((await _feed(house, cursors[0]))[0]) == 4
    assert len((await _feed(house, cursors[1]))[0]) == 2
