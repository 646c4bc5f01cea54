"""`staffetta erase` as the operator calls it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app import store
from app.cli.erase import app
from tests.builders import a_message, write
from tests.commands import runner_of


async def _fill(database_url: str) -> None:
    database = store.db.Database(database_url)
    async with database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, "acme")
    await write(database, *[a_message("Ada@x.test", "bob@x.test", account_id=account_id) for _ in range(3)])
    await database.close()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url))
    return runner_of(app)


def test_it_says_what_was_erased(run: Any) -> None:
    words = run("acme", "ada@x.test")
    assert words.startswith("3 recipients erased, with 0 attempts and 3 events; 3 of them waited and are cancelled.")
    assert "3 contents stay until their day" in words
    assert json.loads(run("acme", "ada@x.test", "--json"))["recipients"] == 0
    done = json.loads(run("acme", "bob@x.test", "--json"))
    # Nobody waits for them any more, and the messages were to nobody else.
    assert {name: rows for name, rows in done.items() if rows} == {
        "recipients": 3, "cancelled": 3, "events": 3, "messages": 3, "contents": 3
    }  # fmt: skip


def test_what_cannot_be_is_one_line(run: Any) -> None:
    assert "staffetta: There is no account none." in run("none", "ada@x.test", status=1)
    assert "staffetta: The address" in run("acme", "ada", status=1)
