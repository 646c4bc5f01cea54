"""API keys: what they look like, how they are kept, how long they live."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import store
from app.accounts import credentials, memory
from app.accounts.credentials import SCOPES, Authenticator, Sender, create_key, read_token, revoke_key
from app.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from app.keyring import Keyring
from app.store.db import Database


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keyring.json")


@pytest.fixture
async def account_id(database: Database) -> int:
    async with database.transaction() as connection:
        return await store.accounts.insert_account(connection, "shop")


async def _create(database: Database, keyring: Keyring, account_id: int, **options: Any) -> tuple[str, str]:
    async with database.transaction() as connection:
        return await create_key(connection, keyring, account_id, **{"name": "key", "scopes": ["*"]} | options)


async def test_a_key_is_recognised_and_its_typos_too(database: Database, keyring: Keyring, account_id: int) -> None:
    key_id, token = await _create(database, keyring, account_id)
    assert token.startswith(f"stf_{key_id}_")
    read = read_token(token)
    assert read is not None
    assert read[0] == key_id
    assert 62 ** len(read[1]) >= 2**192
    for place in range(len(token)):
        other = token[:place] + ("a" if token[place] != "a" else "b") + token[place + 1 :]
        assert read_token(other) is None
    for wrong in (token[:-1], token + "0", token.upper(), " " + token, token + "\n", "", "stf_", token.replace("_", "-")):
        assert read_token(wrong) is None
    assert len({(await _create(database, keyring, account_id))[1] for _ in range(20)}) == 20


async def test_a_dump_of_the_database_holds_no_key(database: Database, keyring: Keyring, account_id: int, tmp_path: Path) -> None:
    _, token = await _create(database, keyring, account_id)
    secret = token.split("_")[2]
    async with database.hot() as connection:
        row = await connection.fetchrow("SELECT * FROM api_keys")
    assert secret not in repr(dict(row))
    assert len(row["secret_hash"]) == 32
    # With another keyring the same row is worth nothing.
    with pytest.raises(Unauthenticated):
        await Authenticator(database, Keyring.create(tmp_path / "other.json")).authenticate(token)


async def test_a_key_gives_its_sender_and_scopes(database: Database, keyring: Keyring, account_id: int) -> None:
    key_id, token = await _create(database, keyring, account_id, scopes=["messages:send", "events:read"])
    authenticator = Authenticator(database, keyring)
    assert authenticator.cached(token) is None
    sender = await authenticator.authenticate(token)
    assert sender == Sender(account_id, key_id, frozenset({"messages:send", "events:read"}))
    assert authenticator.cached(token) is sender
    sender.require("events:read")
    with pytest.raises(Forbidden):
        sender.require("keys:write")
    with pytest.raises(ValueError, match="Unknown scope"):
        await _create(database, keyring, account_id, scopes=["root"])
    with pytest.raises(ValueError, match="Unknown scope"):
        await _create(database, keyring, account_id, scopes=[])
    for scope in SCOPES:
        Sender(1, "k", frozenset("*")).require(scope)


async def test_an_old_pepper_stays_valid(database: Database, keyring: Keyring, account_id: int) -> None:
    _, token = await _create(database, keyring, account_id)
    keyring.rotate()
    assert (await Authenticator(database, keyring).authenticate(token)).account_id == account_id
    _, newer = await _create(database, keyring, account_id)
    assert (await Authenticator(database, Keyring.load(keyring.path)).authenticate(newer)).account_id == account_id


async def test_revoked_expired_and_wrong_keys(
    database: Database, keyring: Keyring, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(database, keyring)
    revoked_id, revoked = await _create(database, keyring, account_id)
    await authenticator.authenticate(revoked)
    async with database.transaction() as connection:
        await revoke_key(connection, account_id, revoked_id)
        await revoke_key(connection, account_id, revoked_id)
        with pytest.raises(NotFound):
            await revoke_key(connection, account_id + 1, revoked_id)
        with pytest.raises(NotFound):
            await revoke_key(connection, None, "none")
    assert (await authenticator.authenticate(revoked)).account_id == account_id  # still remembered
    monkeypatch.setattr(memory, "monotonic", lambda: time.monotonic() + memory.KNOWN_SECONDS)
    _, expired = await _create(database, keyring, account_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    swapped = _swap_secret((await _create(database, keyring, account_id))[1], expired)
    for token in (revoked, expired, swapped):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await authenticator.authenticate(token)


def _swap_secret(token: str, other: str) -> str:
    """The id of one key with the secret of another, and the right checksum."""
    unchecked = "_".join((*token.split("_")[:2], other.split("_")[2][:-6]))
    return unchecked + credentials._checksum(unchecked)


async def test_forgetting_makes_a_revocation_immediate(database: Database, keyring: Keyring, account_id: int) -> None:
    key_id, token = await _create(database, keyring, account_id)
    authenticator = Authenticator(database, keyring)
    await authenticator.authenticate(token)
    async with database.transaction() as connection:
        await revoke_key(connection, account_id, key_id)
    authenticator.forget(key_id)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(token)


async def test_many_requests_ask_once(database: Database, keyring: Keyring, account_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = await _create(database, keyring, account_id)
    asked = 0
    find = store.accounts.find_key

    async def counting(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return await find(*given)

    monkeypatch.setattr(store.accounts, "find_key", counting)
    authenticator = Authenticator(database, keyring)
    senders = await asyncio.gather(*(authenticator.authenticate(token) for _ in range(50)))
    assert len(set(senders)) == 1
    assert asked == 1
    unchecked = "stf_" + "0" * 12 + "_" + "0" * 36
    wrong = unchecked + credentials._checksum(unchecked)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(wrong)
    for garbage in ("", "x", "stf_" + "é" * 60):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(garbage)
    assert asked == 2


async def test_one_caller_that_goes_away_takes_no_other_with_it(database: Database, keyring: Keyring, account_id: int) -> None:
    _, token = await _create(database, keyring, account_id)
    authenticator = Authenticator(database, keyring)
    first = asyncio.create_task(authenticator.authenticate(token))
    second = asyncio.create_task(authenticator.authenticate(token))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).account_id == account_id


async def test_use_is_stamped(database: Database, keyring: Keyring, account_id: int) -> None:
    key_id, token = await _create(database, keyring, account_id)
    await Authenticator(database, keyring).authenticate(token)
    async with database.reading() as connection:
        (row,) = await store.accounts.list_keys(connection, account_id)
    assert row.id == key_id
    assert row.last_used_at is not None


async def test_an_unreachable_database_is_not_a_wrong_key(keyring: Keyring) -> None:
    database = Database("postgresql://staffetta@127.0.0.1:1/none")
    unchecked = "stf_" + "0" * 12 + "_" + "0" * 36
    authenticator = Authenticator(database, keyring)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await authenticator.authenticate(unchecked + credentials._checksum(unchecked))
    await database.close()


async def test_the_memory_is_quick(database: Database, keyring: Keyring, account_id: int) -> None:
    _, token = await _create(database, keyring, account_id)
    authenticator = Authenticator(database, keyring)
    await authenticator.authenticate(token)
    started = time.process_time()
    for _ in range(10_000):
        authenticator.cached(token)
    assert (time.process_time() - started) / 10_000 < 5e-6
