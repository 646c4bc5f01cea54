"""`staffetta reclass` as the operator calls it; what the workers make of it: tests/feedback/test_second_looks.py."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import store
from app.cli.reclass import app
from app.events.record import Event, EventType, record
from app.store.ids import recipient_id
from tests.builders import a_message, write
from tests.commands import runner_of


async def _fill(database_url: str) -> None:
    database = store.db.Database(database_url)
    for name in ("acme", "other"):
        async with database.transaction() as connection:
            account_id = await store.accounts.insert_account(connection, name)
        message = a_message(account_id=account_id)
        await write(database, message)
        facts = {"recipient": "one@x.test", "first": False, "by": "person", "user_agent": "Mozilla/5.0 (X11)", "ip": "203.0.113.7"}
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        about = recipient_id(message.id, 1)
        async with database.hot() as connection:
            hits = [Event(EventType.CLICKED, account_id, about, n, facts | {"at": at, "url": "https://shop.example/"}) for n in (2, 3)]
            await record(
                connection,
                [*hits, Event(EventType.OPENED, account_id, about, 4, {"recipient": "", "first": False, "by": "person", "at": at})],
            )
    await database.close()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url))
    return runner_of(app)


def test_it_says_how_many_are_looked_at(run: Any) -> None:
    begin, now = (datetime.now(UTC) - timedelta(hours=1)).isoformat(), datetime.now(UTC).isoformat()
    # Not of who was erased: nothing is left to judge by.
    assert run("--from", begin).startswith("4 opens and clicks are looked at again by the workers")
    assert json.loads(run("--from", begin, "--account", "acme", "--json")) == {"hits": 2}
    assert json.loads(run("--from", now, "--json")) == {"hits": 0}
    assert json.loads(run("--from", begin, "--to", begin, "--json")) == {"hits": 0}


def test_what_cannot_be_is_one_line(run: Any) -> None:
    assert "staffetta: There is no account none." in run("--from", "2026-01-01T00:00:00Z", "--account", "none", status=1)
    assert "staffetta: It must be a time with its offset" in run("--from", "yesterday", status=1)
