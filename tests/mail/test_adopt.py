"""What finished mail becomes: itself, but for what was asked and what sending demands."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mail.adopt import Adopted, adopt, read_finished
from app.mail.dkim import generate_signing_key, load_signing_key
from app.mail.fields import Unfit, has_short_lines
from app.mail.finish import finish

DATE = datetime(2027, 6, 1, 9, tzinfo=UTC)
HEAD = b"From: Shop <a@shop.example.test>\r\nDate: Tue, 1 Jun 2027 09:00:00 +0200\r\nMessage-ID: <1@x.example>\r\n"
MIME = HEAD + b"MIME-Version: 1.0\r\n"


def adopted(raw: bytes) -> Adopted:
    return adopt(read_finished(raw), message_id="ours@x.example", date=DATE)


def whole(raw: bytes) -> bytes:
    content = adopted(raw).content
    return content.head + b"\r\n" + content.body


def parsed(raw: bytes) -> Any:
    mail: Any = message_from_bytes(raw, policy=policy.SMTP)
    assert not mail.defects
    return mail


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"\r\n",
        HEAD + b"\r\nbody without a last line end",
        HEAD + b"\r\n\r\n\r\n.\r\n From: b@c.example\r\n",
        HEAD + b"SUBJECT:no space\r\nX-Empty:\r\nX-Folded: a\r\n\t b \r\n  c\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nx\r\n",
        HEAD + "Subject: Grüße\r\n\r\n8 bits: ü\r\n".encode(),
        HEAD + b"\r\n8 bits of another charset: \xfc\xff\r\n",
        HEAD + b"X-Long: " + b"a " * 495 + b"\r\n\r\n" + b"b" * 998 + b"\r\n",
        MIME + b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno part at all\r\n",
        MIME + b"Content-Type: text/html; charset=utf-7\r\nContent-Transfer-Encoding: x-odd\r\n\r\n+AGE-\r\n",
        HEAD + b"Received: from a by b; Tue\r\nDKIM-Signature: v=1; b=x\r\nReturn-Path: <a@b>\r\n\r\nx\r\n",
        HEAD + b"Disposition-Notification-To: a@shop.example.test\r\nX-Mailer: x\r\n\r\n-- \r\nsignature \r\n",
    ],
)
def test_what_needs_nothing_is_left_alone(raw: bytes) -> None:
    assert whole(raw) == raw


def test_a_mail_may_be_all_header() -> None:
    assert whole(HEAD) == HEAD + b"\r\n"
    assert whole(HEAD.removesuffix(b"\r\n")) == HEAD + b"\r\n"


@pytest.mark.parametrize(
    ("raw", "added"),
    [
        (b"From: a@b.example\r\n\r\nx", [b"Date: Tue, 01 Jun 2027 09:00:00 +0000", b"Message-ID: <ours@x.example>"]),
        (
            b"Date:\r\nMessage-ID: \r\nFrom: a@b.example\r\n\r\nx",
            [b"Date: Tue, 01 Jun 2027 09:00:00 +0000", b"Message-ID: <ours@x.example>"],
        ),
        (HEAD + b"Content-Type: text/plain\r\n\r\nx", [b"MIME-Version: 1.0"]),
        (HEAD + b"content-transfer-encoding: 8bit\r\n\r\nx", [b"MIME-Version: 1.0"]),
        (HEAD + b"\r\nx", []),
        (b"Date: nonsense\r\nMessage-ID: odd\r\nFrom: a@b.example\r\n\r\nx", []),
    ],
)
def test_what_is_missing_is_added(raw: bytes, added: list[bytes]) -> None:
    assert adopted(raw).content.head.splitlines()[-len(added) or 99 :] == added


@pytest.mark.parametrize(
    "field",
    [
        b"Bcc: a@b.example\r\n",
        b"BCC: a@b.example,\r\n\tc@d.example\r\n",
        b"Bcc:\r\n",
        b"Resent-Bcc: a@b.example\r\n",
        b"X-Staffetta-Tag: a\r\n",
        b"x-STAFFETTA-anything: a\r\n b\r\n",
    ],
)
def test_what_nobody_else_is_to_see_is_taken_out(field: bytes) -> None:
    assert whole(field + HEAD + field + b"\r\n" + field) == HEAD + b"\r\n" + field


def test_line_ends_become_those_of_mail() -> None:
    assert whole(HEAD.replace(b"\r\n", b"\n") + b"\na\nb\rc\r\nd\r\r\ne") == HEAD + b"\r\na\r\nb\r\nc\r\nd\r\ne"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n" + HEAD,
        b"no header\r\n\r\nFrom: a@b.example",
        HEAD + b"no field\r\n\r\n",
        HEAD + b"Sp ace: x\r\n\r\n",
        HEAD + b": x\r\n\r\n",
        HEAD + "Ünicode: x\r\n\r\n".encode(),
        HEAD + b"Subject: a\r\nsubject: b\r\n\r\n",
        HEAD + b"To: a@b.example\r\nTo: c@d.example\r\n\r\n",
        HEAD + b"Content-Type: text/plain\r\nContent-type: text/html\r\n\r\n",
        HEAD + b"\r\nNUL: \0",
        HEAD + b"Subject: a\v\r\n\r\n",
        HEAD + b"Subject:\fa\r\n\r\n",
        HEAD + b"In-Reply-To: <" + b"a" * 1000 + b">\r\n\r\n",
        HEAD + b"To: " + b"a" * 1000 + b"@b.example\r\n\r\n",
    ],
)
def test_what_two_programs_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(Unfit):
        adopted(raw)


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        (b"Subject: " + b"word " * 300, "subject", ("word " * 300).strip()),
        (b"Subject: " + b"x" * 1500, "subject", "x" * 1500),
        (b"References: " + b"<a@b.example> " * 100, "references", ("<a@b.example> " * 100).strip()),
        (b"Subject: Gr\xfc\xdfe", "subject", "Grüße"),
        (b"Subject: =?utf-8?q?M=C3=BCller_gr=C3=BC=C3=9Ft?= Z\xfcrich", "subject", "Müller grüßt Zürich"),
        (b"Subject: =?utf-8?q?" + b"=C3=BC" * 400 + b"?=", "subject", "ü" * 400),
        (b"To: =?utf-8?q?M=C3=BCller?= <a@b.example>, J\xfcrgen <c@d.example>", "to", "Müller <a@b.example>, Jürgen <c@d.example>"),
        (b"Subject: " + "ü".encode() * 700, "subject", "ü" * 700),
    ],
)
def test_a_field_that_cannot_be_sent_is_mended(field: bytes, name: str, value: str) -> None:
    raw = HEAD + field + b"\r\nX-Other:  as it was \r\n\r\nx\r\n"
    got = whole(raw)
    assert has_short_lines(got)
    assert b"X-Other:  as it was \r\n" in got
    assert parsed(got)[name].strip() == value


def test_a_name_that_is_not_in_utf8_is_mended() -> None:
    got = whole(HEAD.replace(b"Shop", b"L\xe4den") + b"\r\nx\r\n")
    assert parsed(got)["from"].addresses[0].display_name == "Läden"
    assert got.isascii()


PARTS = (
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n%b\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\nX-A: b\r\n\r\n%b\r\n--x\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--x--\r\n%b"
)  # fmt: skip
LONG = b"0123456789abcdef" * 100


@pytest.mark.parametrize(
    "given",
    [
        (LONG, b"text", b"base64", b"aGk=", b""),
        (b"", LONG + b" \r\n" + LONG, b"base64", b"aGk=", b""),
        (b"", "é".encode() * 999, b"base64", b"aGk=", b""),
        (b"", b"text", b"base64", LONG, b""),
        (b"", b"text", b"quoted-printable", b"=41" * 700 + b"=\r\nb", b""),
        (b"", b"text", b"binary", b"\xff" * 1000, b""),
        (b"", b"text", b"7bit", LONG, LONG),
    ],
)
def test_long_lines_are_mended_where_they_are(given: tuple[bytes, ...]) -> None:
    raw = MIME + PARTS % given
    got = whole(raw)
    assert has_short_lines(got)
    sent, read = parsed(raw), parsed(got)
    for before, after in zip(sent.iter_parts(), read.iter_parts(), strict=True):
        assert before.get_payload(decode=True) == after.get_payload(decode=True)
        fields = [{name: value for name, value in part.items() if name != "Content-Transfer-Encoding"} for part in (before, after)]
        assert fields[0] == fields[1]
    untouched = [b"\r\nX-A: b\r\n", *(piece for piece in (given[1], given[3]) if has_short_lines(piece))]
    assert all(piece in got for piece in untouched)


def test_a_forwarded_mail_is_mended_within() -> None:
    inner = b"Subject: x\r\nContent-Type: text/plain\r\n\r\n" + LONG
    raw = MIME + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--x--\r\n"
    got = parsed(whole(raw))
    (message,) = got.iter_attachments()
    assert message.get_content().get_content().strip().encode() == LONG


@pytest.mark.parametrize(
    "raw",
    [
        MIME + b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n%b\r\n--x--\r\n",
        MIME + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n",
        MIME + b'Content-Type: application/octet-stream; name="smime.p7m"\r\n\r\n%b\r\n',
        MIME + b"Content-Type: multipart/encrypted; boundary=x\r\n\r\n--x\r\n\r\n%b\r\n--x--\r\n",
        HEAD + b"\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n%b\r\n-----BEGIN PGP SIGNATURE-----\r\n",
        HEAD + b"\r\nRead this:\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n%b\r\n",
    ],
)
def test_what_is_sealed_is_left_or_refused_but_never_rewritten(raw: bytes) -> None:
    short = adopted(raw % b"short")
    assert short.sealed
    assert short.content.head + b"\r\n" + short.content.body == raw % b"short"
    with pytest.raises(Unfit, match="signed"):
        adopted(raw % LONG)


def test_what_cannot_be_looked_through_is_left_alone() -> None:
    raw = MIME + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\na\r\n" * 2000 + b"--x--"
    found = adopted(raw)
    assert found.sealed and found.content.parts == ()
    assert found.content.head + b"\r\n" + found.content.body == raw


@pytest.mark.parametrize(
    ("field", "message_id", "subject"),
    [
        (b"Message-ID: <a.b@c.example> (comment)\r\n", "<a.b@c.example>", ""),
        (b"Message-ID:\r\n <a@b>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n", "<a@b>", "Grüße"),
        (b"Message-ID: odd\r\nSubject: a\x07b\r\n", "odd", "a b"),
        (b"Subject: x\r\n", None, "x"),
    ],
)
def test_what_it_is_called(field: bytes, message_id: str | None, subject: str) -> None:
    finished = read_finished(b"From: a@b.example\r\n" + field + b"\r\nx")
    assert (finished.message_id, finished.subject) == (message_id, subject)


NAMES = [b"Subject", b"X-A", b"References", b"Cc", b"Reply-To", b"List-Id", b"Content-ID", b"Feedback-ID", b"In-Reply-To"]
VALUES = [b" ", b"\t", b"\r\n ", b"\r\n\t", b"\r\n \r\n ", b"a", b"B", b"\xc3\xa9", b"\xe9", b":", b";", b"=", b"\x7f", b"\x1b", b"a" * 990]
BODY = [b"a", b" ", b"\t", b"\r\n", b".", b"\xff", b"\v", b"\f", b"a" * 990]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(VALUES), max_size=8).map(b"".join)), unique_by=lambda field: field[0]
    ),
    st.lists(st.sampled_from(BODY), max_size=20).map(b"".join),
)
def test_whatever_is_taken_is_signed_so_that_others_agree(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    try:
        content = adopted(HEAD + b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n" + body).content
    except Unfit:
        return
    wire = bytes(finish(content.head, content.body, added_fields=b"", keys=[KEY], timestamp=1))
    assert dkim.verify(wire, dnsfunc=lambda name, timeout=5: RECORD.encode())


PEM, RECORD = generate_signing_key("ed25519-sha256")
KEY = load_signing_key("shop.example.test", "s", PEM)


@given(st.text(max_size=3000), st.text(max_size=200).filter(str.strip), st.booleans())
def test_what_the_stdlib_writes_reads_the_same(text: str, name: str, attach: bool) -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "a@shop.example.test"
    message["X-Name"] = "".join(character for character in name if character.isprintable())
    message.set_content(text.replace("\0", "").encode("utf-8", "replace").decode())
    if attach:
        message.add_attachment(text.encode("utf-8", "replace"), maintype="application", subtype="x-odd", filename="a.bin")
    raw = bytes(message)
    got = whole(raw)
    assert got.partition(b"\r\n\r\n")[2] == raw.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(
        b"\n", b"\r\n"
    )
    assert got.startswith(raw.partition(b"\r\n\r\n")[0])
