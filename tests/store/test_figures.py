"""Figures of processes that nobody asks by HTTP: of those that live."""

from __future__ import annotations

from app import store
from app.store.db import Database


async def test_told_is_what_those_that_live_said_last(database: Database) -> None:
    async with database.hot() as connection:
        for teller, families in (("smtp a:1", "[1]"), ("worker a:2", "[2]"), ("smtp a:1", "[3]"), ("smtp b:1", "[4]"), ("smtp c:1", "[5]")):
            await store.figures.write_figures(connection, teller, families)
        assert len(await store.figures.read_told(connection)) == 4
        await connection.execute("UPDATE figures SET told_at = now() - interval '1 minute' WHERE teller = 'worker a:2'")
        await connection.execute("UPDATE figures SET told_at = now() - interval '1 day' WHERE teller IN ('smtp b:1', 'smtp c:1')")
        await store.figures.write_figures(connection, "smtp c:1", "[6]")
        assert await store.figures.read_told(connection) == [("smtp a:1", "[3]"), ("smtp c:1", "[6]")]
        assert await connection.fetchval("SELECT count(*) FROM figures") == 3, "who has ended is forgotten"
