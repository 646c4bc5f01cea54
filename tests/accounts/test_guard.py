"""The guard out of memory: what it knows is read anew beside the mail, and never older than its bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import store
from app.accounts.guard import AHEAD_SECONDS, REFRESH_SECONDS, Guard
from app.accounts.smtp_credentials import SmtpCredential, SmtpCredentialBook, Wish, create_smtp_credential
from app.jobs import Wakes
from app.keyring import Keyring
from app.store.db import Database

HOME = "203.0.113.7"


@pytest.fixture
async def watched(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Guard, SmtpCredential]]:
    """A guard that keeps no time of its own, and a credential that it knows."""
    keyring = Keyring.create(tmp_path / "keyring.json")
    async with database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, "shop")
        row, password = await create_smtp_credential(connection, keyring, account_id, Wish("test"))
    book = SmtpCredentialBook(database, keyring)
    credential = await book.verify(row.id, password)
    assert credential is not None
    guard = Guard(database, book, Wakes(redis_url), first_allowance=1000)
    await guard.admit(credential, HOME, ["ada@x.test"])
    yield guard, credential
    await guard.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Event]:
    """Each read of habits waits for its event here."""
    begun: list[asyncio.Event] = []
    read = store.credential_habits.read_habits

    async def slow(connection: Any, name: str) -> Any:
        begun.append(asyncio.Event())
        await begun[-1].wait()
        return await read(connection, name)

    monkeypatch.setattr(store.credential_habits, "read_habits", slow)
    return begun


def age(guard: Guard, credential: SmtpCredential, seconds: float) -> None:
    guard._known[credential.user_name].read_at = time.monotonic() - seconds


async def test_habits_are_read_anew_beside_the_mail(watched: tuple[Guard, SmtpCredential], reads: list[asyncio.Event]) -> None:
    guard, credential = watched
    known = guard._known[credential.user_name]
    age(guard, credential, AHEAD_SECONDS + 0.1)
    async with asyncio.timeout(1.0):
        for _ in range(20):
            assert (await guard.admit(credential, HOME, ["bob@x.test"])).held_for is None
    await asyncio.sleep(0.1)
    assert len(reads) == 1  # one for all of them
    reads[0].set()
    while guard._reading:
        await asyncio.sleep(0.01)
    assert time.monotonic() - known.read_at < 1.0
    assert known.untold.recipients == 21  # what was let through meanwhile is counted


async def test_what_is_too_old_is_waited_for(watched: tuple[Guard, SmtpCredential], reads: list[asyncio.Event]) -> None:
    guard, credential = watched
    age(guard, credential, REFRESH_SECONDS + 0.1)
    admitting = asyncio.create_task(guard.admit(credential, HOME, ["bob@x.test"]))
    await asyncio.sleep(0.2)
    assert not admitting.done()
    reads[0].set()
    assert (await admitting).held_for is None


async def test_a_read_that_fails_is_made_again(watched: tuple[Guard, SmtpCredential], monkeypatch: pytest.MonkeyPatch) -> None:
    guard, credential = watched

    async def away(*_: Any) -> Any:
        raise OSError("away")

    age(guard, credential, AHEAD_SECONDS + 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(store.credential_habits, "read_habits", away)
        await guard.admit(credential, HOME, ["bob@x.test"])
        while guard._reading:
            await asyncio.sleep(0.01)
    await guard.admit(credential, HOME, ["bob@x.test"])
    assert guard._reading
    while guard._reading:
        await asyncio.sleep(0.01)
    assert time.monotonic() - guard._known[credential.user_name].read_at < 1.0
