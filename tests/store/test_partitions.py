"""Partitions are there before they are needed and go when they are old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from app import store
from app.store.db import Database
from app.store.partitions import CONTENT_TABLES, HISTORY_TABLES, is_lock_refused, list_partitions, make_partitions, purge_day, split_name
from tests.builders import a_message, write


async def test_made_ahead_and_dropped_by_age(database: Database) -> None:
    start = date(2030, 1, 2)
    async with database.transaction() as connection:
        made = await make_partitions(connection, start, content_days_ahead=3)
        assert await make_partitions(connection, start, content_days_ahead=3) == []
        days = sorted(split_name(name)[1] for name in made if name.startswith("content_p"))
        assert days == [start + timedelta(days=n) for n in range(-1, 5)]
        weeks = sorted(split_name(name)[1] for name in made if name.startswith("events_p"))
        assert weeks[0] == date(2029, 12, 31)
        assert len(weeks) == 6
        dropped = await store.partitions.list_old_partitions(connection, start + timedelta(days=400), history_days=380)
        for name in dropped:
            await store.partitions.drop_partition(connection, name)
        assert {name for name in made if split_name(name)[1] < start + timedelta(days=13)} <= set(dropped)
        left = await list_partitions(connection)
        assert "messages_p20300121" in left
        assert not [name for name in left if name.startswith(("content_p", "moulds_p"))]


async def test_a_day_far_ahead_can_be_made_alone(database: Database) -> None:
    async with database.transaction() as connection:
        await store.partitions.make_content_day(connection, date(2031, 5, 6))
        await store.partitions.make_content_day(connection, date(2031, 5, 6))
        assert {"content_p20310506", "moulds_p20310506"} <= await list_partitions(connection)


def test_however_far_ahead_content_may_go_its_days_are_few_and_it_is_not_kept_much_longer() -> None:
    today = date(2030, 1, 2)
    days = [today + timedelta(days=n) for n in range(732 + 3650)]
    goes_on = [purge_day(day, today, days_ahead=37) for day in days]
    assert goes_on[:38] == days[:38]
    assert len(set(goes_on[38:])) < 80
    assert all(day <= gone <= day + (day - today) / 5 for day, gone in zip(days, goes_on, strict=True))


@contextlib.asynccontextmanager
async def _dump(database: Database) -> AsyncIterator[None]:
    """What pg_dump does to every table, for as long as it runs."""
    async with database.hot() as reader, reader.transaction():
        await reader.execute(f"LOCK TABLE {', '.join((*CONTENT_TABLES, *HISTORY_TABLES))} IN ACCESS SHARE MODE")
        yield


async def test_beside_a_dump_partitions_are_made_and_mail_is_accepted(database: Database) -> None:
    async def make() -> list[str]:
        async with database.transaction() as connection:
            return await make_partitions(connection, date(2030, 1, 2), content_days_ahead=3)

    async with _dump(database):
        making = asyncio.create_task(make())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(write(database, a_message()), 5)
        assert "content_p20300102" in await asyncio.wait_for(making, 10)


async def test_beside_a_dump_nothing_is_dropped_and_nobody_waits_long(database: Database) -> None:
    async with database.transaction() as connection:
        await make_partitions(connection, date(2020, 1, 2), content_days_ahead=0)

    async def drop() -> None:
        async with database.transaction() as connection:
            await store.partitions.drop_partition(connection, "content_p20200102")

    async with _dump(database):
        dropping = asyncio.create_task(drop())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(write(database, a_message()), 5)
        with pytest.raises(DBAPIError) as refused:
            await asyncio.wait_for(dropping, 10)
        assert is_lock_refused(refused.value)
    await drop()


_SHAPE = """
SELECT attname, atttypid::regtype::text, attnotnull, attstorage, attcompression, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum
"""
_INDEXES = """
SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid WHERE i.indrelid = $1::regclass
"""


async def test_a_partition_is_made_as_its_parent_is(database: Database) -> None:
    """It is made as a table of its own, and attached: nothing of the parent may be missing."""
    async with database.transaction() as connection:
        made = await make_partitions(connection, date(2030, 1, 2), content_days_ahead=0)
    async with database.hot() as connection:
        for name in made:
            parent, _ = split_name(name)
            shape = await connection.fetch(_SHAPE, parent)
            assert shape
            assert await connection.fetch(_SHAPE, name) == shape, name
            indexes = await connection.fetchval("SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass", parent)
            assert indexes
            assert await connection.fetchval(_INDEXES, name) == indexes, name
