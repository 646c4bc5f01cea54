"""What is old goes, by the worker's own chores: content after its days, history after its weeks, idempotency keys after a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app import store, worker
from app.config import Settings
from app.events.record import Event, EventType, record
from app.store.db import Database
from tests.builders import a_message, a_settlement, a_worker, claim_all, write

CONTENT_DAYS, HISTORY_DAYS = 30, 400
NOW = datetime.now(UTC)


async def _lived(database: Database, days_ago: int, owner: int) -> UUID:
    """A message that was accepted, delivered and told of so many days ago, when its partitions were there."""
    at = NOW - timedelta(days=days_ago)
    async with database.transaction() as connection:
        await store.partitions.make_partitions(connection, at.date(), content_days_ahead=CONTENT_DAYS + 7)
    message = a_message(
        id=store.ids.new_message_id(at.timestamp()),
        purge_on=(at + timedelta(days=CONTENT_DAYS)).date(),
        idempotency_key=f"key {days_ago}",
        body_hash=b"x",
    )
    await write(database, message)
    (claimed,) = await claim_all(database, owner)
    settlement = a_settlement(owner, claimed)
    settlement.attempt.id = store.ids.new_id(at.timestamp())  # type: ignore[union-attr]
    async with database.hot() as connection:
        await store.settlement.settle(connection, [settlement])
        async with connection.transaction():
            await record(connection, [Event(EventType.DELIVERED, 1, message.id, 9, {})])
        await connection.execute("UPDATE idempotency_keys SET created_at = $2 WHERE key = $1", f"key {days_ago}", at)
        # Events are written with ids of the present: these are of the message's time.
        await connection.execute(
            "INSERT INTO events (account_id, id, about, type, number, facts) VALUES (1, $1, $2, 'message.delivered', 8, '{}')",
            store.ids.new_id(at.timestamp()),
            message.id,
        )
    return message.id


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, content_retention_days=CONTENT_DAYS, history_retention_days=HISTORY_DAYS)


async def _count(database: Database, table: str, column: str, message_id: UUID) -> int:
    async with database.hot() as connection:
        query = f"SELECT count(*) FROM {table} WHERE account_id = 1 AND {column} BETWEEN $1 AND $2"
        found: int = await connection.fetchval(query, message_id, store.ids.last_of_message(message_id))
    return found


async def test_what_is_old_goes_and_what_is_young_stays(database: Database, settings: Settings) -> None:
    owner = await a_worker(database)
    ages = {"young": 0, "bodiless": 40, "nearly": HISTORY_DAYS - 8, "old": HISTORY_DAYS + 8}
    messages = {name: await _lived(database, days, owner) for name, days in ages.items()}
    await worker.run_due_chores(database, settings)
    for name, message_id in messages.items():
        kept = int(name != "old")
        for table, column in (("messages", "id"), ("recipients", "id"), ("attempts", "recipient_id")):
            assert await _count(database, table, column, message_id) == kept, (name, table)
        # Events go by their own age: what was told of lately about an old message stays.
        assert await _count(database, "events", "about", message_id) == 2 + 2 * kept, name
        assert await _count(database, "content", "message_id", message_id) == int(name == "young"), name
    async with database.hot() as connection:
        keys = {row[0] for row in await connection.fetch("SELECT key FROM idempotency_keys")}
    assert keys == {"key 0"}, "a key is kept for a day"


async def test_a_queue_row_whose_message_went_is_dropped_and_not_tried_for_ever(database: Database, settings: Settings) -> None:
    at = NOW - timedelta(days=HISTORY_DAYS + 8)
    async with database.transaction() as connection:
        await store.partitions.make_partitions(connection, at.date(), content_days_ahead=1)
    await write(database, a_message(id=store.ids.new_message_id(at.timestamp()), purge_on=at.date()))
    await worker.run_due_chores(database, settings)
    owner = await a_worker(database)
    (claimed,) = await claim_all(database, owner)
    async with database.hot() as connection:
        await store.queue.delete_rows(connection, owner, [claimed.recipient_id])
        assert await connection.fetchval("SELECT count(*) FROM queue") == 0


async def test_chores_run_once_in_their_time(database: Database, settings: Settings) -> None:
    await worker.run_due_chores(database, settings)
    async with database.hot() as connection:
        before = await connection.fetch("SELECT name, last_run_at FROM chores ORDER BY name")
    assert {row[0] for row in before} == set(worker.CHORES)
    await worker.run_due_chores(database, settings)
    async with database.hot() as connection:
        assert await connection.fetch("SELECT name, last_run_at FROM chores ORDER BY name") == before
        await connection.execute("UPDATE chores SET last_run_at = now() - interval '1 day'")
    await worker.run_due_chores(database, settings)
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chores WHERE last_run_at > now() - interval '1 minute'") == len(
            worker.CHORES
        )


async def test_what_a_dump_holds_is_dropped_when_it_is_over(database: Database, settings: Settings) -> None:
    """And the chore that failed meanwhile keeps no other from its turn."""
    at = NOW - timedelta(days=40)
    async with database.transaction() as connection:
        await store.partitions.make_partitions(connection, at.date(), content_days_ahead=0)
    old = {f"{parent}_p{at:%Y%m%d}" for parent in store.partitions.CONTENT_TABLES}

    async def left() -> set[str]:
        async with database.reading() as connection:
            return old & await store.partitions.list_partitions(connection)

    async with database.hot() as reader, reader.transaction():
        await reader.execute("LOCK TABLE content IN ACCESS SHARE MODE")
        await worker.run_due_chores(database, settings)
        assert await left() == {f"content_p{at:%Y%m%d}"}
        names = {row[0] for row in await reader.fetch("SELECT name FROM chores")}
        assert names == set(worker.CHORES) - {"drop_partitions"}
    await worker.run_due_chores(database, settings)
    assert not await left()


async def test_mail_that_came_in_goes_as_other_mail_does(database: Database, settings: Settings) -> None:
    """Its content by its day, the rest with history."""
    for days_ago in (0, 40, HISTORY_DAYS + 8):
        at = NOW - timedelta(days=days_ago)
        async with database.transaction() as connection:
            await store.partitions.make_partitions(connection, at.date(), content_days_ahead=CONTENT_DAYS + 7)
        purge_on = (at + timedelta(days=CONTENT_DAYS)).date()
        inbound_id = store.ids.new_message_id(at.timestamp())
        row = store.inbound.NewInbound(1, inbound_id, UUID(int=7), "ada@x.test", "shop@y.test", "192.0.2.1", "mx", None, purge_on, b"x")
        async with database.hot() as connection, connection.transaction():
            assert await store.inbound.insert_inbound(connection, row, inbound_id)
    await worker.run_due_chores(database, settings)
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM inbound_messages") == 2
        assert await connection.fetchval("SELECT count(*) FROM inbound_content") == 1
        # One whose rows are gone before anybody read it waits for nothing.
        taken = [await store.inbound.take_waiting(connection, 60) for _ in range(3)]
        assert [one is not None and one.raw is not None for one in taken].count(True) == 1
        assert await connection.fetchval("SELECT count(*) FROM inbound_waiting") == 2
