"""Sending domains: one owner each, keys that only their account's keyring entry opens, records that verify."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dkim
import pytest

from app import store
from app.accounts import domains
from app.accounts.credentials import Authenticator
from app.accounts.domains import DomainBook, add_domain, find_dkim_record, list_domains, remove_domain
from app.accounts.first import ensure_first_account, renew_first_key
from app.errors import Conflict, NotFound, Unavailable
from app.keyring import Keyring, KeyringError
from app.mail.finish import finish
from app.store.db import Database


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keyring.json")


@pytest.fixture
async def accounts(database: Database) -> tuple[int, int]:
    async with database.transaction() as connection:
        return await store.accounts.insert_account(connection, "shop"), await store.accounts.insert_account(connection, "rival")


async def _add(database: Database, keyring: Keyring, account_id: int, name: str, *algorithms: Any) -> Any:
    async with database.transaction() as connection:
        return await add_domain(connection, keyring, account_id, name, algorithms or ("ed25519-sha256",))


async def test_a_domain_has_one_owner(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    ours, theirs = accounts
    await _add(database, keyring, ours, "Shop.Example.COM.")
    for account_id in accounts:
        with pytest.raises(Conflict):
            await _add(database, keyring, account_id, "shop.example.com")
    book = DomainBook(database, keyring)
    found = await book.find(ours, "shop.example.com")
    assert found is not None
    assert (found.account_id, found.name) == (ours, "shop.example.com")
    for account_id, name in ((theirs, "shop.example.com"), (ours, "example.com"), (ours, "a.shop.example.com"), (ours, "SHOP.example.com")):
        assert await book.find(account_id, name) is None


@pytest.mark.parametrize(
    "name", ["", "localhost", "a b.com", "exa mple.com", "-a.com", "a..b", "a@b.com", "192.0.2.1\n", "a.com/", "x" * 250 + ".com"]
)
async def test_what_is_no_domain(database: Database, keyring: Keyring, accounts: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError):
        await _add(database, keyring, accounts[0], name)


async def test_international_names_are_kept_as_they_travel(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    added = await _add(database, keyring, accounts[0], "Größe.example")
    assert added.name == "xn--gre-6ka8i.example"
    with pytest.raises(Conflict):
        await _add(database, keyring, accounts[1], "xn--gre-6ka8i.example")


async def test_the_record_verifies_what_the_keys_sign(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    added = await _add(database, keyring, accounts[0], "shop.example.com", "rsa-sha256", "ed25519-sha256")
    keys = (await DomainBook(database, keyring).signing(added.id)).keys
    assert [key.selector for key in keys] == ["stf1", "stf2"]
    head, body = b"From: a@shop.example.com\r\nTo: b@example.com\r\nSubject: s\r\n", b"hello\r\n"
    signed = bytes(finish(head, body, added_fields=b"", keys=keys, timestamp=1_700_000_000))
    async with database.reading() as connection:
        ((_, records),) = await list_domains(connection, accounts[0], "relay.example.net")
    published = {record.name: record.value for record in records}
    for place in range(2):
        assert dkim.DKIM(signed).verify(idx=place, dnsfunc=lambda name, timeout=5: published[name.decode().rstrip(".")].encode())
    assert await find_dkim_record(database, "stf2", "Shop.Example.Com.") == published["stf2._domainkey.shop.example.com"]
    assert await find_dkim_record(database, "stf9", "shop.example.com") is None
    assert published["_dmarc.shop.example.com"].startswith("v=DMARC1")


async def test_a_private_key_opens_for_its_account_alone(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    added = await _add(database, keyring, accounts[0], "shop.example.com")
    async with database.hot() as connection:
        sealed = await connection.fetchval("SELECT private_key FROM dkim_keys")
        assert b"PRIVATE KEY" not in sealed
        # A row moved to another account (by a bug, or by hand) does not sign for it.
        await connection.execute("UPDATE domains SET account_id = $1", accounts[1])
    with pytest.raises(KeyringError):
        await DomainBook(database, keyring).signing(added.id)


async def test_keys_are_parsed_once(
    database: Database, keyring: Keyring, accounts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = await _add(database, keyring, accounts[0], "shop.example.com")
    parsed = 0
    load = domains.load_signing_key

    def counting(*given: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return load(*given)

    monkeypatch.setattr(domains, "load_signing_key", counting)
    book = DomainBook(database, keyring)
    book._signing.seconds = 0.0
    first = (await book.signing(added.id)).keys
    assert (await book.signing(added.id)).keys == first
    assert parsed == 1


async def test_removing_and_taking_over(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    ours, theirs = accounts
    added = await _add(database, keyring, ours, "shop.example.com")
    book = DomainBook(database, keyring)
    assert await book.find(ours, "shop.example.com") is not None
    await book.signing(added.id)
    async with database.transaction() as connection:
        with pytest.raises(NotFound):
            await remove_domain(connection, theirs, "shop.example.com")
        await remove_domain(connection, ours, "shop.example.com")
    book.forget(ours, "shop.example.com")
    assert await book.find(ours, "shop.example.com") is None
    with pytest.raises(NotFound):
        await book.signing(added.id)
    await _add(database, keyring, theirs, "shop.example.com")


async def test_no_removal_while_mail_waits(database: Database, keyring: Keyring, accounts: tuple[int, int]) -> None:
    added = await _add(database, keyring, accounts[0], "shop.example.com")
    other = await _add(database, keyring, accounts[0], "other.example.com")
    message_id = store.ids.new_message_id()
    async with database.hot() as connection:
        await connection.execute(
            "INSERT INTO messages (account_id, id, stream, domain_id, from_address, subject, rfc_message_id, tags, metadata, expires_at,"
            " purge_on, size_bytes) VALUES ($1, $2, 'transactional', $3, '', '', '', '[]', '{}', now(), now(), 1)",
            accounts[0],
            message_id,
            added.id,
        )
        await connection.execute(
            "INSERT INTO queue (recipient_id, due_at, account_id, site_id, bytes, class, ready) VALUES ($1, now(), $2, 0, 1, 0, true)",
            store.ids.recipient_id(message_id, 1),
            accounts[0],
        )
    async with database.transaction() as connection:
        with pytest.raises(Conflict):
            await remove_domain(connection, accounts[0], "shop.example.com")
        await remove_domain(connection, accounts[0], other.name)
        await remove_domain(connection, accounts[0], "shop.example.com", even_with_mail=True)


async def test_an_unreachable_database_is_said(keyring: Keyring) -> None:
    database = Database("postgresql://staffetta@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await DomainBook(database, keyring).find(1, "shop.example.com")
    await database.close()


async def test_the_first_account_is_made_once(database: Database, keyring: Keyring) -> None:
    made = await asyncio.gather(*(ensure_first_account(database, keyring) for _ in range(3)))
    tokens = [each.api_token for each in made if each.api_token]
    assert len(tokens) == 1
    assert len({(each.account_id, each.from_address) for each in made}) == 1
    sender = await Authenticator(database, keyring).authenticate(tokens[0])
    domain = await DomainBook(database, keyring).find(sender.account_id, made[0].from_address.partition("@")[2])
    assert domain is not None
    assert (await Authenticator(database, keyring).authenticate(await renew_first_key(database, keyring, sender.account_id))) is not None
