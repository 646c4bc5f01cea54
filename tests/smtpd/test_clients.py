"""Mail programs as people have them, each through a real socket, TLS and log-in: what they send is what arrives."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import subprocess
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.smtpd.conftest import OpenDoor, in_thread
from tests.smtpd.dialogue import Dialogue, encoded

FROM, TO = "orders@shop.example.test", "ada@example.com"


def a_letter(**fields: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = f"Shop <{FROM}>", TO, "Your order"
    for name, value in fields.items():
        letter[name] = value
    letter.set_content("Thank you, Ada.\n.\n..dots\n")
    return letter


def taken_one(door: OpenDoor) -> EmailMessage:
    """The one message that arrived, read; its envelope is the one that every client here was told."""
    ((sender, raw),) = door.taken
    assert (sender.account_id, sender.key_id) == (door.account_id, door.user)
    assert (raw.envelope_from, [each.address for each in raw.recipients]) == (FROM, [TO])
    return message_from_bytes(raw.raw, policy=policy.default)  # type: ignore[return-value]


async def run(*command: str, given: bytes = b"", **environment: str) -> str:
    """A program that must end well; what it said."""

    def work() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, input=given, env=os.environ | environment, capture_output=True, timeout=30, check=False)

    done: subprocess.CompletedProcess[bytes] = await in_thread(work)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_smtplib(door: OpenDoor, implicit: bool) -> None:
    def send() -> None:
        client: smtplib.SMTP
        if implicit:
            client = smtplib.SMTP_SSL("localhost", door.tls, timeout=10, context=door.trusting)
        else:
            client = smtplib.SMTP("localhost", door.starttls, timeout=10)
            client.starttls(context=door.trusting)
        with client:
            client.login(door.user, door.password)
            assert client.send_message(a_letter()) == {}
            assert client.send_message(a_letter(), to_addrs=["a@example.com", "b@example.com"]) == {}

    await in_thread(send)
    assert [[each.address for each in raw.recipients] for _, raw in door.taken] == [[TO], ["a@example.com", "b@example.com"]]
    for _, raw in door.taken:
        assert raw.raw.endswith(b"\r\n\r\nThank you, Ada.\r\n.\r\n..dots\r\n")


async def test_smtplib_with_addresses_in_utf8(door: OpenDoor) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", door.starttls, timeout=10) as client:
            client.starttls(context=door.trusting)
            client.login(door.user, door.password)
            letter = a_letter()
            del letter["To"]
            letter["To"] = "jörg@bücher.example"
            assert client.send_message(letter) == {}

    await in_thread(send)
    ((_, raw),) = door.taken
    assert [each.address for each in raw.recipients] == ["jörg@xn--bcher-kva.example"]
    assert "To: jörg@bücher.example".encode() in raw.raw


@pytest.mark.parametrize("login", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_swaks(door: OpenDoor, login: str, implicit: bool) -> None:
    port = door.tls if implicit else door.starttls
    way = "--tls-on-connect" if implicit else "--tls"
    said = await run(
        "swaks", "--server", "localhost", "--port", str(port), way, "--tls-verify", "--tls-ca-path", str(door.certificate),
        "--auth", login, "--auth-user", door.user, "--auth-password", door.password, "--from", FROM, "--to", TO, "--pipeline",
        "--header", "Subject: by swaks", "--body", "first\n.\n..second",
    )  # fmt: skip
    assert "250 2.0.0 Accepted as msg_" in said
    letter = taken_one(door)
    assert letter["Subject"] == "by swaks"
    assert letter.get_content().splitlines()[:3] == ["first", ".", "..second"]


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_msmtp(door: OpenDoor, tmp_path: Path, implicit: bool) -> None:
    settings = tmp_path / "msmtprc"
    settings.write_text(
        f"account default\nhost localhost\nport {door.tls if implicit else door.starttls}\nfrom {FROM}\nauth on\nuser {door.user}\n"
        f"password {door.password}\ntls on\ntls_starttls {'off' if implicit else 'on'}\ntls_trust_file {door.certificate}\n"
    )
    settings.chmod(0o600)
    await run("msmtp", f"--file={settings}", "--dsn-notify=failure,delay", "--dsn-return=headers", TO, given=bytes(a_letter()))
    assert taken_one(door)["Subject"] == "Your order"
    ((_, raw),) = door.taken
    assert (raw.ret, raw.recipients[0].notify) == ("HDRS", frozenset({"FAILURE", "DELAY"}))


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_curl(door: OpenDoor, tmp_path: Path, implicit: bool) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_bytes(bytes(a_letter(Date="Tue, 24 Nov 2026 10:00:00 +0000")))
    url = f"smtps://localhost:{door.tls}" if implicit else f"smtp://localhost:{door.starttls}"
    await run(
        "curl", "-sS", "--ssl-reqd", "--cacert", str(door.certificate), "--url", url, "--user", f"{door.user}:{door.password}",
        "--mail-from", FROM, "--mail-rcpt", TO, "--crlf", "--upload-file", str(letter),
    )  # fmt: skip
    assert taken_one(door)["Subject"] == "Your order"


_NODEMAILER = """
const nodemailer = require("nodemailer");
const [options, mail] = JSON.parse(process.env.WHAT);
nodemailer.createTransport(options).sendMail(mail).then(
  (info) => console.log(info.response), (error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_nodemailer(door: OpenDoor, implicit: bool) -> None:
    options = {
        "host": "localhost",
        "port": door.tls if implicit else door.starttls,
        "secure": implicit,
        "requireTLS": True,
        "auth": {"user": door.user, "pass": door.password},
    }
    mail = {
        "from": f"Shop <{FROM}>",
        "to": TO,
        "subject": "Grüße",
        "html": "<p>Invoice</p>" * 200,
        "attachments": [{"filename": "invoice.pdf", "content": "JVBERi0=", "encoding": "base64"}],
        "dsn": {"id": "order+1001", "return": "headers", "notify": ["failure"], "recipient": "ada@example.com"},
    }
    said = await run(
        "node", "-e", _NODEMAILER, WHAT=json.dumps([options, mail]), NODE_EXTRA_CA_CERTS=str(door.certificate),
        NODE_PATH="/usr/share/nodejs",
    )  # fmt: skip
    assert said.startswith("250 2.0.0 Accepted as msg_")
    letter = taken_one(door)
    assert letter["Subject"] == "Grüße"
    assert [part.get_filename() for part in letter.iter_attachments()] == ["invoice.pdf"]
    ((_, raw),) = door.taken
    assert (raw.ret, raw.envelope_id, raw.recipients[0].original) == ("HDRS", "order+1001", "rfc822;ada@example.com")


async def test_a_php_script(door: OpenDoor) -> None:
    """As fsockopen and fputs write it: AUTH LOGIN, bare line feeds in the content, one write per line, no QUIT."""
    client = await Dialogue.open(door)
    assert (await client.ask("EHLO www-data")).startswith("250")
    assert (await client.ask("STARTTLS")).startswith("220")
    await client.shake_hands()
    assert (await client.ask("EHLO www-data")).startswith("250")
    assert await client.ask("auth login") == "334 VXNlcm5hbWU6"
    assert await client.ask(encoded(door.user)) == "334 UGFzc3dvcmQ6"
    assert (await client.ask(encoded(door.password))).startswith("235 2.7.0")
    assert (await client.ask(f"MAIL FROM: <{FROM}>")).startswith("250 2.1.0")
    assert (await client.ask(f"RCPT TO: <{TO}>")).startswith("250 2.1.5")
    assert (await client.ask("DATA")).startswith("354 ")
    for line in (f"From: {FROM}\n", f"To: {TO}\n", "Subject: from PHP\n", "\n", "Hello\n", "World\n", "\r\n.\r\n"):
        client.write(line.encode())
        await asyncio.sleep(0.01)
    assert (await client.reply()).startswith("250 2.0.0 Accepted")
    await client.close()
    assert taken_one(door)["Subject"] == "from PHP"
    assert door.taken[0][1].raw.endswith(b"\r\n\r\nHello\r\nWorld\r\n\r\n")


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_outlook(door: OpenDoor, implicit: bool) -> None:
    """What Outlook says: the bare name of its computer, AUTH LOGIN with its user name on the second line, all recipients at once."""
    client = await Dialogue.open(door, implicit=implicit)
    assert (await client.ask("EHLO DESKTOP_3507CDS")).startswith("250")
    if not implicit:
        assert (await client.ask("STARTTLS")).startswith("220")
        await client.shake_hands()
        assert (await client.ask("EHLO DESKTOP_3507CDS")).endswith("AUTH PLAIN LOGIN")
    assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.ask(encoded(door.user)) == "334 UGFzc3dvcmQ6"
    assert (await client.ask(encoded(door.password))).startswith("235")
    assert (await client.ask(f"MAIL FROM: <{FROM}>")).startswith("250")
    for address in (TO, "cc@example.com", "bcc@example.com"):
        assert (await client.ask(f"RCPT TO: <{address}>")).startswith("250")
    assert (await client.ask("DATA")).startswith("354")
    head = (
        f'From: "Shop" <{FROM}>\r\nTo: "Ada" <{TO}>\r\nCc: <cc@example.com>\r\nSubject: Newsletter\r\n'
        "Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <000001dc$1$2$3@shop.example.test>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: text/html; charset="us-ascii"\r\nX-Mailer: Microsoft Outlook 16.0\r\nThread-Index: AdxY\r\n\r\n'
    )
    # Word's HTML in one line: far over the 1,000 octets of RFC 5321 §4.5.3.1.6.
    client.write(head.encode() + b"<html>" + b"<p class=MsoNormal>news</p>" * 5000 + b"</html>\r\n.\r\n")
    assert (await client.reply()).startswith("250 2.0.0 Accepted as msg_")
    assert (await client.ask("QUIT")).startswith("221 2.0.0")
    assert await client.reply() == ""
    await client.close()
    ((_, raw),) = door.taken
    assert [each.address for each in raw.recipients] == [TO, "cc@example.com", "bcc@example.com"]
    assert raw.raw.startswith(head.encode())
    assert max(map(len, raw.raw.split(b"\r\n"))) > 100_000


@pytest.mark.parametrize("name", ["", " ", "DESKTOP_3507CDS", "[127.0.0.1]", "-", "löcal", "a" * 500, "x y z"])
@pytest.mark.parametrize("word", ["EHLO", "HELO"])
async def test_the_name_in_ehlo_is_never_judged(door: OpenDoor, word: str, name: str) -> None:
    client = await Dialogue.open(door)
    assert (await client.ask(f"{word} {name}")).startswith("250")
    await client.close()
