"""Finished mail through the house: it leaves as it came, but for what was asked, and signed."""

from __future__ import annotations

import datetime
import subprocess
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from app.feedback.erasure import erase
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.store.ids import public_id
from tests.doubles.sink import DEFAULT_OFFER
from tests.flows.conftest import DOMAIN, House, until
from tests.flows.test_opened_and_clicked import tracked_paths
from tests.flows.test_order_confirmation import dkim_key

OURS = (b"DKIM-Signature", b"Received", b"Feedback-ID", b"List-Unsubscribe", b"List-Unsubscribe-Post", b"List-Id")
HEAD = f"From: Shop <orders@{DOMAIN}>\r\nTo: Ada <ada@x.test>\r\nSubject: Your order\r\nDate: Tue, 01 Jun 2027 09:00:00 +0200\r\n"
HEAD += f"Message-ID: <1042@{DOMAIN}>\r\nX-Odd:  two  spaces \r\n and\ta tab\r\n"
PLAIN = f"{HEAD}\r\nThank you.\r\n.\r\n..two dots\r\n\r\nRegards \r\n\r\n".encode()
HTML = b'<html><body><p>Danke</p><a href="https://shop.example/orders/1042?a=1&amp;b=2">Bestellung</a></body></html>\r\n'


def newsletter(html: bytes = HTML) -> bytes:
    """What a mail program makes of an HTML mail with an invoice."""
    return (
        HEAD.encode() + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"----=_Part 1\"\r\n\r\n"
        b"This is a multi-part message in MIME format.\r\n\r\n------=_Part 1\r\nContent-Type: multipart/alternative; boundary=alt\r\n\r\n"
        b"--alt\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n"
        b"--alt\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + html + b"\r\n--alt--\r\n\r\n"
        b"------=_Part 1\r\nContent-Type: application/pdf; name=invoice.pdf\r\nContent-Disposition: attachment; filename=invoice.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n------=_Part 1--\r\nepilogue\r\n"
    )  # fmt: skip


def without_ours(raw: bytes) -> bytes:
    """What was received without the fields that the relay says it adds."""
    head, empty, body = raw.partition(b"\r\n\r\n")
    kept: list[bytes] = []
    dropping = False
    for line in head.split(b"\r\n"):
        if line[:1] not in b" \t":
            dropping = line.partition(b":")[0] in OURS
        if not dropping:
            kept.append(line)
    return b"\r\n".join(kept) + empty + body


async def post(house: House, raw: bytes, **parameters: Any) -> dict[str, Any]:
    answer = await house.api.post("/v1/messages/raw", content=raw, params=parameters, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def received(house: House, number: int = 1) -> bytes:
    """The last mail at the sink, whose signature is right."""
    await until(lambda: len(house.sink.messages), lambda count: count >= number)
    raw = house.sink.messages[-1]
    keys = await dkim_key(house)
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
    return raw


async def track(house: House, *, on: bool) -> None:
    answer = await house.api.patch("/v1/streams/transactional", json={"track_clicks": on, "track_opens": on})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("raw", [PLAIN, newsletter()], ids=["plain", "newsletter"])
async def test_untracked_mail_leaves_octet_for_octet(house: House, raw: bytes) -> None:
    await track(house, on=False)
    accepted = await post(house, raw)
    assert accepted["message_id"] == f"<1042@{DOMAIN}>"
    await house.until_states(accepted["id"], "delivered")
    assert without_ours(await received(house)) == raw


async def test_tracking_changes_the_links_and_adds_the_pixel_and_nothing_else(house: House) -> None:
    raw = newsletter()
    await post(house, raw)
    got = without_ours(await received(house))
    (click,), (pixel,) = tracked_paths(house, got.decode("latin-1").replace("\r\n", ""))
    before, _, rest = raw.partition(b"https://shop.example/orders/1042?a=1&amp;b=2")
    between, _, after = rest.partition(b"</body>")
    assert got.startswith(before)
    assert got.endswith(b"</body>" + after)
    assert between in got
    assert click.encode() in got and pixel.encode() in got
    base = len(house.settings.public_url)
    assert len(got) < len(raw) + len(click) + len(pixel) + 2 * base + 100


async def test_what_was_asked_is_done_and_leaves_no_trace(house: House) -> None:
    raw = PLAIN.replace(b"Date: Tue, 01 Jun 2027 09:00:00 +0200\r\n", b"").replace(f"Message-ID: <1042@{DOMAIN}>\r\n".encode(), b"")
    asked = b"Bcc: secret@x.test,\r\n eve@x.test\r\nx-staffetta-tag: one\r\n"
    asked += b"X-Staffetta-Tag: =?utf-8?q?zw=C3=B6lf?=\r\nX-STAFFETTA-Metadata: a=b\r\n"
    accepted = await post(house, asked + raw)
    assert [(one["email"], one["kind"]) for one in accepted["recipients"]] == [
        ("ada@x.test", "to"),
        ("secret@x.test", "bcc"),
        ("eve@x.test", "bcc"),
    ]
    message = await house.until_states(accepted["id"], "delivered", "delivered", "delivered")
    assert (message["tags"], message["metadata"], message["subject"]) == (["one", "zwölf"], {"a": "b"}, "Your order")
    for got in house.sink.messages:
        assert b"secret" not in got
        assert b"staffetta-tag" not in got.lower()
        head, _, body = without_ours(got).partition(b"\r\n\r\n")
        assert body == raw.partition(b"\r\n\r\n")[2]
        lines = (head + b"\r\n").removeprefix(raw.partition(b"\r\n\r\n")[0] + b"\r\n").split(b"\r\n")
        assert [line.partition(b":")[0] for line in lines] == [b"Date", b"Message-ID", b""]
        assert lines[1] == f"Message-ID: {accepted['message_id']}".encode()


async def test_long_lines_are_mended_in_their_part_alone(house: House) -> None:
    raw = newsletter(HTML.replace(b"<p>Danke</p>", "<p>Dänke</p>".encode() + b"<b></b>" * 3000)).replace(
        b"charset=utf-8\r\nContent-Transfer-Encoding: 7bit", b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit"
    )
    await track(house, on=False)
    await post(house, raw)
    got = without_ours(await received(house))
    assert max(map(len, got.split(b"\r\n"))) <= 998
    start, end = got.index(b"<html>"), got.index(b"\r\n--alt--")
    assert got[end:] == raw[raw.index(b"\r\n--alt--") :]
    fields = raw.index(b"Content-Type: text/html")
    assert got[:fields] == raw[:fields]
    assert got[fields:start] == b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    sent: Any = message_from_bytes(raw, policy=policy.SMTP)
    read: Any = message_from_bytes(got, policy=policy.SMTP)
    assert read.get_body(("html",)).get_content() == sent.get_body(("html",)).get_content()


@pytest.fixture(scope="module")
def smime(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A mail that its author has signed, with a link that would be tracked."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"orders@{DOMAIN}")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    inner = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + HTML
    options = [pkcs7.PKCS7Options.DetachedSignature]
    builder = pkcs7.PKCS7SignatureBuilder().set_data(inner).add_signer(certificate, key, hashes.SHA256())
    signed = builder.sign(serialization.Encoding.SMIME, options)
    return HEAD.encode() + signed.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def test_signed_mail_is_never_rewritten(house: House, smime: bytes, tmp_path: Path) -> None:
    assert b"multipart/signed" in smime
    await post(house, smime)
    got = without_ours(await received(house))
    assert got == smime
    path = tmp_path / "mail.eml"
    path.write_bytes(got)
    command = ["openssl", "smime", "-verify", "-noverify", "-in", str(path), "-out", str(tmp_path / "inner")]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert verified.returncode == 0, verified.stderr
    assert HTML.strip() in (tmp_path / "inner").read_bytes()


@pytest.mark.parametrize("sealed", [False, True], ids=["mail", "sealed"])
async def test_eight_bits_for_a_server_of_seven(house: House, smime: bytes, sealed: bool) -> None:
    house.sink.offer = tuple(word for word in DEFAULT_OFFER if word not in ("8BITMIME", "SMTPUTF8"))
    await track(house, on=False)
    inner = newsletter().replace(b"epilogue", "Fußnote".encode())
    forwarded = b"Content-Type: message/rfc822\r\n\r\n" + "Subject: für dich\r\n".encode() + inner
    raw = HEAD.replace("Shop <", "Läden <").encode() + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n"
    raw += b"--out\r\n" + forwarded + b"\r\n--out--\r\n"
    if sealed:
        raw = smime.replace(b"<p>Danke</p>", "<p>Dänke</p>".encode())
        accepted = await post(house, raw)
        message = await house.until_states(accepted["id"], "bounced")
        assert "signed" in message["recipients"][0]["attempts"][-1]["reply"]
        assert house.sink.messages == []
        return
    await post(house, raw)
    got = await received(house)
    assert got.isascii()
    mail: Any = message_from_bytes(got, policy=policy.default)
    assert mail["from"].addresses[0].display_name == "Läden"
    (within,) = mail.iter_attachments()
    message = within.get_content()
    assert message.get_body(("plain",)).get_content().strip() == "Grüße"
    assert next(message.iter_attachments()).get_payload(decode=True) == b"%PDF-1.4\n"


async def test_what_the_sender_wants_to_be_told_is_kept(house: House) -> None:
    intake, sender = house.intake, house.sender
    to = EnvelopeRecipient("ada@x.test", frozenset({"FAILURE", "DELAY"}), "rfc822;Ada@x.test")
    raw = RawSubmission(
        PLAIN, f"orders@{DOMAIN}", (to, EnvelopeRecipient("bob@x.test")), ret="HDRS", envelope_id="QQ314159", tells_failures=True
    )
    receipt = await intake.submit_raw(sender, raw)
    quiet = await intake.submit_raw(sender, RawSubmission(PLAIN, "", (EnvelopeRecipient("ada@x.test"),)))
    async with house.database.hot() as connection:
        rows = await connection.fetch(
            "SELECT address, dsn FROM recipients WHERE id = ANY($1::uuid[]) ORDER BY id",
            [r.id for r in (*receipt.recipients, *quiet.recipients)],
        )
    kept = [(row["address"], row["dsn"]) for row in rows]
    common = '"ret":"HDRS","envelope_id":"QQ314159","tells_failures":true,"from":"orders@shop.example.test"}'
    assert kept == [
        ("ada@x.test", '{"notify":["DELAY","FAILURE"],"original":"rfc822;Ada@x.test",' + common),
        ("bob@x.test", "{" + common),
        ("ada@x.test", None),
    ]
    await house.until_states(public_id("msg", receipt.message_id), "delivered", "delivered")
    await erase(house.database, house.account_id, "ada@x.test")
    async with house.database.hot() as connection:
        left = await connection.fetchval("SELECT count(*) FROM recipients WHERE dsn::text LIKE '%Ada@x.test%'")
    assert left == 0
    assert [(r.address, r.kind) for r in receipt.recipients] == [("ada@x.test", "to"), ("bob@x.test", "bcc")]
