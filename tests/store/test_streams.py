"""Streams of accounts that were there before there were streams, and the book that remembers them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic import command

from app import store
from app.accounts.streams import StreamBook
from app.errors import Unavailable
from app.store.db import Database
from app.store.migrate import alembic_config, upgrade


async def test_accounts_of_before_get_the_first_streams(servers: Any) -> None:
    url = servers.create_database("before_streams")
    config = alembic_config(url)
    await asyncio.to_thread(command.upgrade, config, "0001")
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO accounts (name) VALUES ('old'), ('older')")
    await connection.close()
    await asyncio.to_thread(upgrade, url)
    database = Database(url)
    async with database.transaction() as opened:
        new = await store.accounts.insert_account(opened, "new")
    async with database.reading() as opened:
        found = {
            number: [(s.name, s.lane_class, s.title) for s in await store.streams.list_streams(opened, number)] for number in (1, 2, new)
        }
    assert found[1] == found[2] == found[new] == [("bulk", 1, "News"), ("transactional", 0, "Service messages")]
    await database.close()
    await asyncio.to_thread(command.downgrade, config, "0001")
    servers.drop_database("before_streams")


async def test_the_book_asks_once(database: Database) -> None:
    async with database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, "one")
    book = StreamBook(database)
    assert set(await book.of_account(account_id)) == {"bulk", "transactional"}
    async with database.transaction() as connection:
        await store.streams.update_stream(connection, account_id, "bulk", {"track_opens": False})
    assert (await book.of_account(account_id))["bulk"].track_opens
    book.forget(account_id)
    assert not (await book.of_account(account_id))["bulk"].track_opens


async def test_without_the_database_nothing_is_known() -> None:
    away = Database("postgresql://127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await StreamBook(away).of_account(1)
    await away.close()
