"""`restored` and `held`, as an operator types them after a restore."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app import store
from app.cli.held import app
from tests.builders import a_message, write
from tests.commands import runner_of


async def _fill(database_url: str) -> None:
    database = store.db.Database(database_url)
    async with database.transaction() as connection:
        accounts = [await store.accounts.insert_account(connection, name) for name in ("acme", "other")]
    await write(
        database, *[a_message(f"{n}@x.test", account_id=accounts[0]) for n in range(3)], a_message("o@x.test", account_id=accounts[1])
    )
    await database.close()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url))
    return runner_of(app)


def test_from_the_restore_to_the_last_word(run: Any) -> None:
    assert "Nothing is held." in run("held", "list")
    assert "4 recipients are held" in run("restored")
    assert json.loads(run("restored", "--json"))["held"] == 0, "once more changes nothing"
    words = run("held", "list")
    assert "acme" in words
    assert "restored from a backup: it may have been sent already" in words
    found = json.loads(run("held", "list", "--account", "acme", "--json"))
    assert [group["recipients"] for group in found["groups"]] == [3]
    assert {row["to"] for row in found["oldest"]} == {"0@x.test", "1@x.test", "2@x.test"}
    assert "1 recipients are released" in run("held", "release", "--account", "other", "--reason", "restored")
    assert json.loads(run("held", "drop", "--all", "--json")) == {"dropped": 3}
    assert json.loads(run("held", "list", "--json")) == {"groups": [], "oldest": []}


@pytest.mark.parametrize("word", ["release", "drop"])
def test_a_word_on_everything_must_be_meant(run: Any, word: str) -> None:
    run("restored")
    assert "say which" in run("held", word, status=1)
    assert "say which" in run("held", word, "--all", "--account", "acme", status=1)
    assert "no account none" in run("held", word, "--account", "none", status=1)
    assert len(json.loads(run("held", "list", "--json"))["oldest"]) == 4
