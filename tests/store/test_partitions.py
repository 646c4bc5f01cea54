"""Partitions are there before they are needed and go when they are old."""

from __future__ import annotations

from datetime import date, timedelta

from app import store
from app.store.db import Database
from app.store.partitions import list_partitions, make_partitions, split_name


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
        dropped = await store.partitions.drop_partitions(connection, start + timedelta(days=400), history_days=380)
        assert {name for name in made if split_name(name)[1] < start + timedelta(days=13)} <= set(dropped)
        left = await list_partitions(connection)
        assert "messages_p20300121" in left
        assert not [name for name in left if name.startswith(("content_p", "moulds_p"))]


async def test_a_day_far_ahead_can_be_made_alone(database: Database) -> None:
    async with database.transaction() as connection:
        await store.partitions.make_content_days(connection, [date(2031, 5, 6)])
        await store.partitions.make_content_days(connection, [date(2031, 5, 6)])
        assert {"content_p20310506", "moulds_p20310506"} <= await list_partitions(connection)
