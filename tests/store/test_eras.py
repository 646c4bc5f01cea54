"""Eras: events keep their order across a restore, and nothing is paid for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import store
from app.events.record import Event, EventType, record
from app.store.db import Database
from app.store.eras import ERA_XIDS, begin_era, is_readable, read_highest

_ROOT = Path(__file__).resolve().parents[2]
_ASKS = re.compile(r"pg_snapshot_x|pg_current_snapshot|pg_current_xact|txid_", re.IGNORECASE)


async def _an_event(connection: store.db.HotConnection) -> None:
    async with connection.transaction():
        await record(connection, [Event(EventType.DELIVERED, 1, store.ids.recipient_id(store.ids.new_message_id(), 1), 1, {})])


@pytest.mark.parametrize("eras", [0, 1, 2])
async def test_the_planner_puts_the_bodies_in_place_of_the_calls(database: Database, eras: int) -> None:
    async with database.hot() as connection:
        for _ in range(eras):
            async with connection.transaction():
                await begin_era(connection)
        for statement in (
            "INSERT INTO events (account_id, id, about, type, number, facts) SELECT 1, i, i, 't', 1, '{}' FROM unnest('{}'::uuid[]) AS i",
            "SELECT * FROM events WHERE account_id = 1 AND xid < feed_horizon() ORDER BY xid, id LIMIT 5",
        ):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (VERBOSE) {statement}"))
            assert "feed_" not in plan
            assert "pg_current_xact_id" in plan or "pg_snapshot_xmin" in plan


async def test_an_era_begins_above_all_that_was(database: Database) -> None:
    async with database.hot() as connection:
        await connection.execute("INSERT INTO accounts (name) VALUES ('one')")
        await _an_event(connection)
        far = 7 * ERA_XIDS + 5
        await connection.execute("UPDATE events SET xid = $1::text::xid8", str(far))
        assert await read_highest(connection) == far
        assert not await is_readable(connection)
        assert (await store.events.read_feed(connection, 1, None, 10)).rows == []
        async with connection.transaction():
            assert await begin_era(connection) == 8 * ERA_XIDS
        assert await is_readable(connection)
        await _an_event(connection)
        rows, _ = await store.events.read_feed(connection, 1, None, 10)
    assert int(rows[0].xid) == far
    assert 8 * ERA_XIDS < int(rows[1].xid) < 9 * ERA_XIDS


def test_only_the_era_asks_postgresql_for_transaction_numbers() -> None:
    # Those before there were eras, and those that say what a number is.
    may_ask = {"app/store/eras.py", "migrations/versions/0001_the_floor.py", "migrations/versions/0003_restores_and_rolling_upgrades.py"}
    may_ask |= {"tests/store/test_eras.py", "tests/flows/test_restore.py"}
    asking = {
        str(path.relative_to(_ROOT))
        for room in ("app", "migrations", "tests")
        for path in (_ROOT / room).rglob("*.py")
        if _ASKS.search(path.read_text()) is not None
    }
    assert asking == may_ask, "events are written by feed_xid() and read up to feed_horizon(): see store.eras"
