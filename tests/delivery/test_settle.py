"""The settle loop while PostgreSQL ends its connections: what was sent is written down, with its words, whenever they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app import store
from app.delivery.settle import Settler, Verdict
from app.jobs import Wakes
from app.store.db import CONNECTION_ERRORS, Database, HotConnection
from app.store.states import RecipientState
from tests.builders import a_message, a_settlement, a_worker, claim_all, write

_TURNS = range(6)


async def end_backend(connection: HotConnection, other: HotConnection, turns: int) -> None:
    """PostgreSQL ends a session: its last word has arrived, and the loop has had so many turns to read it."""
    await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    time.sleep(0.02)  # the loop must not read meanwhile
    for _ in range(turns):
        await asyncio.sleep(0)


class _Mortal(Database):
    """A database whose next connections are ended right before they are used."""

    deaths: int = 0
    turns: int = 0

    @asynccontextmanager
    async def hot(self) -> AsyncIterator[HotConnection]:
        async with super().hot() as connection:
            if self.deaths:
                self.deaths -= 1
                other = await self.open_hot()
                await end_backend(connection, other, self.turns)
                await other.close()
            yield connection


@pytest.mark.parametrize("turns", _TURNS)
async def test_an_ended_connection_is_a_connection_error_at_every_moment(database: Database, turns: int) -> None:
    other = await database.open_hot()
    for _ in range(5):
        connection = await database.open_hot()
        await end_backend(connection, other, turns)
        with pytest.raises((*CONNECTION_ERRORS, asyncpg.PostgresError)) as found:
            await connection.fetchval("SELECT 1")
        assert isinstance(found.value, CONNECTION_ERRORS)
        connection.terminate()
    await other.close()


@pytest.mark.parametrize("turns", _TURNS)
async def test_what_was_sent_is_written_with_its_words(database_url: str, redis_url: str, turns: int) -> None:
    database, wakes = _Mortal(database_url), Wakes(redis_url)
    worker = await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, worker)
    settled: list[Verdict] = []

    def note(verdicts: Sequence[Verdict]) -> None:
        settled.extend(verdicts)

    settler = Settler(database, wakes, note)
    settling = asyncio.create_task(settler.run())
    database.deaths, database.turns = 3, turns
    settler.put(Verdict(a_settlement(worker, claimed), None, time.time()))
    async with asyncio.timeout(20):
        await settler.wait_idle()
    settling.cancel()
    assert len(settled) == 1
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM queue") == 0
        assert [tuple(row) for row in await connection.fetch("SELECT reply, stale FROM attempts")] == [("queued", False)]
        assert await connection.fetchval("SELECT state FROM recipients") == "delivered"
    await database.close()


async def test_a_late_word_suppresses_nobody(database: Database, redis_url: str) -> None:
    """Not even in one batch with the word that counts."""
    wakes, zombie, heir = Wakes(redis_url), await a_worker(database), await a_worker(database)
    await write(database, a_message("ada@x.test"))
    (late,) = await claim_all(database, zombie)
    async with database.hot() as connection:
        await store.queue.free_rows_of(connection, [zombie])
    (again,) = await claim_all(database, heir)
    settler = Settler(database, wakes, lambda _verdicts: None)
    settler.put(Verdict(a_settlement(zombie, late, RecipientState.BOUNCED), ("ada@x.test", "invalid_mailbox"), time.time()))
    settler.put(Verdict(a_settlement(heir, again), None, time.time()))
    settling = asyncio.create_task(settler.run())
    async with asyncio.timeout(20):
        await settler.wait_idle()
    settling.cancel()
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT state FROM recipients") == "delivered"
        assert await connection.fetchval("SELECT count(*) FROM suppressions") == 0
