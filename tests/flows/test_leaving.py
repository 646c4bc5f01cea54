"""A worker that is told to stop while PostgreSQL is away: what it sent is written when PostgreSQL is back, and nothing is marked that was
not begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from app import store
from app.delivery.drain import Drain
from app.store.db import Database, HotConnection
from tests.doubles.sink_script import Script
from tests.flows.conftest import House, until


class Away:
    """PostgreSQL takes no connection while it `is_away`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        hot = Database.hot

        @contextlib.asynccontextmanager
        async def hot_if_there(database: Database) -> AsyncIterator[HotConnection]:
            if self.is_away:
                raise ConnectionRefusedError("PostgreSQL is being started again")
            async with hot(database) as connection:
                yield connection

        monkeypatch.setattr(Database, "hot", hot_if_there)


async def test_postgresql_is_away_when_a_worker_leaves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "seconds": 0.5}]})
    for _ in range(3):
        await house.send([f"{store.ids.new_id().hex}@x.test" for _ in range(50)], stream="bulk")
    await until(lambda: house.sink.peak_connections, lambda peak: peak >= 10)
    postgresql = Away(monkeypatch)
    postgresql.is_away = True
    house.workers[0][1].set()
    await asyncio.sleep(1.5)  # the conversations have ended
    assert not house.workers[0][0].done()
    postgresql.is_away = False
    await asyncio.wait_for(house.workers[0][0], 20)
    async with house.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM workers") == 0
        assert await connection.fetchval("SELECT count(*) FROM queue WHERE owner IS NOT NULL OR claims <> 0 OR maybe_sent") == 0
        delivered = {row[0] for row in await connection.fetch("SELECT address FROM recipients WHERE state = 'delivered'")}
        assert delivered == {dot.recipient for dot in house.sink.dots}
        assert 10 <= len(delivered) < 150


async def test_a_worker_that_cannot_begin_is_stopped_all_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house.database.hot() as connection:
        await until(lambda: connection.fetchval("SELECT count(*) FROM workers"), lambda count: count == 1)  # the first one has begun
    postgresql, began = Away(monkeypatch), asyncio.Event()
    begin = Drain._begin

    async def begin_without(drain: Drain) -> bool:
        postgresql.is_away = True
        began.set()
        return await begin(drain)

    monkeypatch.setattr(Drain, "_begin", begin_without)
    stop = house.start_worker()
    await began.wait()
    stop.set()
    await asyncio.wait_for(house.workers[-1][0], 20)
    postgresql.is_away = False
