"""Signatures verified by Mail::DKIM, which shares nothing with us or with dkimpy, by keys from a name server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.mail.address import Address
from app.mail.compose import Attachment, Draft, compose
from app.mail.dkim import SigningKey, generate_signing_key, load_signing_key
from app.mail.finish import finish
from tests.doubles.dns import DnsServer

DOMAIN = "shop.test"
_VERIFY = Path(__file__).with_name("verify.pl")


@pytest.fixture(scope="module")
def made() -> tuple[SigningKey, str]:
    pem, record = generate_signing_key("rsa-sha256")
    return load_signing_key(DOMAIN, "stf1", pem), record


DRAFTS = {
    "plain": {"text": "Thank you."},
    "both parts": {"text": "Grazie: 12 €", "html": "<p>Grazie: <b>12 €</b>  </p>\n\n\n"},
    "trailing space and dots": {"text": ".\n..\n.leading \t \n\n \n"},
    "empty": {"text": ""},
    "long header": {"text": "x", "subject": "Ordine " * 200},
    "scripts": {"text": "日本語 العربية हिन्दी 🧦", "subject": "ご注文 ✓ تأكيد"},
    "attachment": {"text": "x", "attachments": (Attachment("rechnung für märz.pdf", "application/pdf", bytes(range(256)) * 40),)},
}


@pytest.mark.parametrize("name", DRAFTS)
async def test_mail_dkim_says_pass(name: str, made: tuple[SigningKey, str]) -> None:
    key, record = made
    wire = signed(name, key)
    assert await verdicts(wire, record) == [f"pass rsa-sha256 {DOMAIN} stf1"]
    altered = b"Subject: another one\r\n" + wire
    assert not any(verdict.startswith("pass") for verdict in await verdicts(altered, record))


def signed(name: str, key: SigningKey) -> bytes:
    fields = {"subject": "Your order", "html": None, "text": None} | DRAFTS[name]
    draft = Draft(Address(f"orders@{DOMAIN}", "Shop"), (Address("ada@x.test"),), (), (), (), **fields)  # type: ignore[arg-type]
    content = compose(draft, message_id=f"m@{DOMAIN}", date=datetime(2026, 1, 2, tzinfo=UTC), boundary_seed=b"s" * 16)
    return bytes(finish(content.head, content.body, added_fields=b"", keys=(key,), timestamp=1_767_312_000))


async def verdicts(wire: bytes, record: str) -> list[str]:
    async with DnsServer({f"stf1._domainkey.{DOMAIN}": {"TXT": [record]}}) as dns:
        process = await asyncio.create_subprocess_exec(
            "perl", str(_VERIFY), str(dns.port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(wire)
        assert process.returncode == 0
        return out.decode().splitlines()
