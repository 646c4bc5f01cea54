"""TLS: nothing that was said in the clear counts under it, and nothing is offered without it that needs it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from app.smtpd.certificate import Certificate, CertificateError, development_certificate
from tests.doubles.certificate import a_certificate
from tests.smtpd.conftest import OpenDoor
from tests.smtpd.dialogue import Dialogue, plain


@pytest.mark.parametrize(
    "injected",
    [
        "NOOP\r\n",
        "EHLO evil\r\nAUTH PLAIN {plain}\r\nMAIL FROM:<evil@shop.example.test>\r\nRCPT TO:<v@example.com>\r\nDATA\r\nx\r\n.\r\n",
        "NO",
        "NOOP\r\n" * 5000,
    ],
    ids=["a command", "a message", "half a command", "a flood"],
)
async def test_what_came_in_the_clear_is_thrown_away(door: OpenDoor, injected: str) -> None:
    client = await Dialogue.open(door)
    await client.ask("EHLO client")
    client.write(b"STARTTLS\r\n" + injected.format(plain=plain(door.user, door.password)).encode())
    assert (await client.reply()).startswith("220 ")
    await client.shake_hands()
    # The first reply under TLS is the first command's, and the state is that of a new connection.
    assert (await client.ask("MAIL FROM:<orders@shop.example.test>")).startswith("530 5.7.0 Log in")
    assert (await client.ask("EHLO client")).endswith("250 AUTH PLAIN LOGIN")
    assert door.taken == []
    await client.close()


async def test_nothing_that_needs_tls_goes_without_it(door: OpenDoor) -> None:
    client = await Dialogue.open(door)
    offers = await client.ask("EHLO client")
    assert "250 STARTTLS" in offers and "AUTH" not in offers
    assert (await client.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("538 5.7.11 ")
    assert (await client.ask("AUTH LOGIN")).startswith("538 5.7.11 ")
    assert (await client.ask("MAIL FROM:<orders@shop.example.test>")).startswith("530 5.7.0 ")
    assert (await client.ask("DATA")).startswith("530 5.7.0 ")
    await client.begin_tls()
    assert (await client.ask("STARTTLS")).startswith("503 5.5.1 ")
    await client.close()


async def test_old_tls_is_not_spoken(door: OpenDoor) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    client = await Dialogue.open(door)
    await client.ask("EHLO client")
    await client.ask("STARTTLS")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await client.writer.start_tls(old, server_hostname="localhost")
    await client.close()


async def test_no_tls_after_starttls_ends_the_connection(door: OpenDoor) -> None:
    client = await Dialogue.open(door)
    await client.ask("EHLO client")
    await client.ask("STARTTLS")
    client.write(b"MAIL FROM:<orders@shop.example.test>\r\n")
    assert "250" not in " ".join(await client.rest())
    await client.close()
    assert not door.server.door.crowd.guests


def test_a_changed_certificate_is_read_again_and_a_broken_one_is_not(tmp_path: Path) -> None:
    a_certificate(tmp_path, "one.test", 10)
    file = tmp_path / "certificate.pem"
    served = Certificate(file, None)
    assert not served.reload()
    a_certificate(tmp_path, "other.test", 20)
    assert served.reload()
    file.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    assert not served.reload()
    file.unlink()
    assert not served.reload()
    a_certificate(tmp_path, "again.test", 30)
    assert served.reload()
    with pytest.raises(CertificateError, match=r"nowhere\.pem"):
        Certificate(tmp_path / "nowhere.pem", None)


def test_the_development_certificate_is_made_once_and_kept_to_ourselves(tmp_path: Path) -> None:
    made = development_certificate(tmp_path, "relay.test")
    assert development_certificate(tmp_path, "relay.test").read_bytes() == made.read_bytes()
    assert made.stat().st_mode & 0o077 == 0
    assert Certificate(made, None).context.minimum_version == ssl.TLSVersion.TLSv1_2
    elsewhere = development_certificate(tmp_path / "not there", "relay.test")
    assert elsewhere.exists()
