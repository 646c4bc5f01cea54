"""The DKIM verdict, on signatures made by dkimpy and by our own signer."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from app.accounts.domains import DomainBook, add_domain
from app.inbox import Inbox
from app.keyring import Keyring
from app.mail.finish import finish
from app.store.accounts import insert_account
from app.store.db import Database
from tests.inbox.client import RECORDS, Client, running_process

DOMAIN = "shop.example.test"
HEAD = b"From: Shop <shop@shop.example.test>\r\nTo: jane@example.net\r\nSubject: Order\r\nDate: Mon, 23 Nov 2026 19:00:00 +0000\r\n"
MESSAGE = HEAD + b"\r\nTotal: 42.00\r\n"


@pytest.fixture(scope="module")
def rsa_key() -> tuple[bytes, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def sign(raw: bytes, pem: bytes, selector: str = "s1", algorithm: bytes = b"rsa-sha256") -> bytes:
    fields = dkim.sign(raw, selector.encode(), DOMAIN.encode(), pem, canonicalize=(b"relaxed", b"relaxed"), signature_algorithm=algorithm)
    return bytes(fields) + raw


async def test_a_good_signature_passes(inbox: Client, rsa_key: tuple[bytes, str]) -> None:
    pem, record = rsa_key
    RECORDS["s1", DOMAIN] = record
    await inbox.send(sign(MESSAGE, pem))
    assert (await inbox.get("/api/messages")).json["messages"][0]["dkim"] == "pass"
    assert (await inbox.newest())["dkim_signatures"] == [
        {"result": "pass", "domain": DOMAIN, "selector": "s1", "algorithm": "rsa-sha256", "reason": None}
    ]


async def test_ed25519_beside_rsa_passes(inbox: Client, rsa_key: tuple[bytes, str]) -> None:
    pem, record = rsa_key
    key = ed25519.Ed25519PrivateKey.generate()
    seed = base64.b64encode(key.private_bytes_raw())
    RECORDS["s1", DOMAIN] = record
    RECORDS["s2", DOMAIN] = f"v=DKIM1; k=ed25519; p={base64.b64encode(key.public_key().public_bytes_raw()).decode()}"
    await inbox.send(sign(sign(MESSAGE, pem), seed, "s2", b"ed25519-sha256"))
    opened = await inbox.newest()
    assert opened["dkim"] == "pass"
    assert [found["algorithm"] for found in opened["dkim_signatures"]] == ["ed25519-sha256", "rsa-sha256"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Total: 42.00", b"Total: 43.00", "body hash mismatch"),
        (b"Subject: Order", b"Subject: Orders", "does not match the signed headers"),
        (b"a=rsa-sha256", b"a=rsa-md5", "unknown signature algorithm"),
    ],
)
async def test_a_change_on_the_way_fails(inbox: Client, rsa_key: tuple[bytes, str], old: bytes, new: bytes, reason: str) -> None:
    pem, record = rsa_key
    RECORDS["s1", DOMAIN] = record
    await inbox.send(sign(MESSAGE, pem).replace(old, new))
    opened = await inbox.newest()
    assert opened["dkim"] == "fail"
    assert reason in opened["dkim_signatures"][0]["reason"]


async def test_a_missing_key_fails_until_it_is_there(running: Inbox, inbox: Client, rsa_key: tuple[bytes, str]) -> None:
    pem, record = rsa_key
    await inbox.send(sign(MESSAGE, pem))
    opened = await inbox.newest()
    assert opened["dkim"] == "fail"
    assert opened["dkim_signatures"][0]["reason"] == f"no key is known here for s1._domainkey.{DOMAIN}"
    RECORDS["s1", DOMAIN] = record
    running._verifier._keys._remembered.clear()  # two seconds later
    assert (await inbox.newest())["dkim"] == "pass"


async def test_run_asks_the_house_for_the_keys_that_our_signer_uses(database: Database, tmp_path: Path) -> None:
    keyring = Keyring.create(tmp_path / "keyring.json")
    async with database.transaction() as connection:
        account_id = await insert_account(connection, "shop")
        domain = await add_domain(connection, keyring, account_id, DOMAIN, ("rsa-sha256", "ed25519-sha256"))
    keys = (await DomainBook(database, keyring).signing(domain.id)).keys
    wire = bytes(finish(HEAD, b"Ciao\r\n", added_fields=b"", keys=keys, timestamp=int(time.time())))
    async with running_process(tmp_path / "inbox", database_url=database.url) as (_, client):
        await client.send(wire)
        opened = await client.newest()
    assert opened["dkim"] == "pass"
    assert {found["algorithm"] for found in opened["dkim_signatures"]} == {"rsa-sha256", "ed25519-sha256"}


async def test_keys_that_cannot_be_asked_for_are_a_failure_that_says_so(tmp_path: Path, rsa_key: tuple[bytes, str]) -> None:
    async with running_process(tmp_path, database_url="postgresql://localhost:1/none") as (_, client):
        await client.send(sign(MESSAGE, rsa_key[0]))
        opened = await client.newest()
    assert opened["dkim"] == "fail"
    assert "could not be asked for" in opened["dkim_signatures"][0]["reason"]


async def test_one_bad_signature_of_two_is_shown_as_a_failure(inbox: Client, rsa_key: tuple[bytes, str]) -> None:
    pem, record = rsa_key
    RECORDS["s1", DOMAIN] = record
    await inbox.send(sign(sign(MESSAGE, pem), pem, "unknown"))
    opened = await inbox.newest()
    assert opened["dkim"] == "fail"
    assert [found["result"] for found in opened["dkim_signatures"]] == ["fail", "pass"]


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: garbage",
        b"DKIM-Signature:",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=\xff\xfe; s=\x00; h=from; bh=x; b=x",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.example.test; s=s1; h=from; bh=AAAA; b=AAAA",
        b"DKIM-Signature: v=1; a=ed25519-sha256; d=shop.example.test; s=s1; h=from; bh=AAAA; b=AAAA; l=99999999999",
        b"DKIM-Signature: v=1; d=shop.example.test",
        b"\tfolded before any name\r\nDKIM-Signature: v=1; d=<script>alert(1)</script>",
    ],
)
async def test_a_malformed_signature_is_a_failure_with_a_reason(inbox: Client, rsa_key: tuple[bytes, str], field: bytes) -> None:
    RECORDS["s1", DOMAIN] = rsa_key[1]
    await inbox.send(field + b"\r\n" + MESSAGE)
    opened = await inbox.newest()
    assert opened["dkim"] == "fail"
    assert opened["dkim_signatures"][0]["reason"]
    page = await inbox.get(f"/messages/{opened['id']}")
    assert page.status == 200
    assert "<script>alert" not in page.text
