"""What a caller hears while the database is away: one refusal, whatever kind of connection found it out."""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import NotFound, Unavailable
from app.store.db import Database, away, refusing_while_away


@pytest.mark.parametrize("kind", ["reading", "transaction", "hot"])
async def test_a_database_that_is_not_there(kind: str) -> None:
    database = Database("postgresql://staffetta@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as found:
        async with refusing_while_away("nothing was accepted"), getattr(database, kind)():
            pytest.fail("there is no such server")
    assert found.value.message == "The database is not reachable; nothing was accepted."
    assert (found.value.http_status, found.value.smtp_reply, found.value.retry_after_seconds) == (503, "451 4.3.0", 2)
    assert found.value.__cause__ is not None
    await database.close()


async def test_a_full_pool_is_the_same(database: Database) -> None:
    full = Database(database.url, connections=1)
    full.engine.sync_engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    async with AsyncExitStack() as held:
        with contextlib.suppress(PoolTimeout):
            for _ in range(100):
                await held.enter_async_context(full.reading())
        with pytest.raises(Unavailable, match=r"^The database is not reachable\.$"):
            async with refusing_while_away(), full.reading():
                pytest.fail("the pool is full")
    async with refusing_while_away(), full.reading() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await full.close()


async def test_a_connection_that_breaks_in_the_middle(database: Database) -> None:
    with pytest.raises(Unavailable):
        async with refusing_while_away(), database.reading() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    other = Database(database.url)
    with pytest.raises(Unavailable):
        async with refusing_while_away(), other.hot() as hot:
            await hot.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await other.close()


async def test_what_is_no_absence_is_not_called_one(database: Database) -> None:
    with pytest.raises(NotFound):
        async with refusing_while_away():
            raise NotFound("There is no such thing.")
    with pytest.raises(asyncpg.UndefinedTableError):
        async with refusing_while_away(), database.hot() as connection:
            await connection.execute("SELECT * FROM nothing_of_the_kind")
    assert away().message == "The database is not reachable."
