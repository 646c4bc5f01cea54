"""Mail that came in, read: by shapes of mail programs, and by shapes of those who mean harm."""

from __future__ import annotations

import base64
import time

import orjson
import pytest

from app.mail.inbound import MOST_ATTACHMENTS, Inbound, read_attachment, read_inbound
from app.mail.inbound_trace import MOST_RECEIVED, Origin, goes_in_circles, has_message_id, trace
from app.store.ids import new_id, time_of

HEAD = "From: Ada <ada@x.test>\nTo: support@shop.example\nSubject: Hello\n"


def read(text: str) -> Inbound:
    return read_inbound(text.replace("\n", "\r\n").encode())


def multipart(kind: str, *parts: str, head: str = HEAD) -> Inbound:
    body = "".join(f"--b\n{part}\n" for part in parts)
    return read(f'{head}Content-Type: multipart/{kind}; boundary="b"\n\n{body}--b--\n')


def test_a_plain_mail() -> None:
    mail = read(f"{HEAD}Message-ID: <1@x.test>\nIn-Reply-To: <0@shop.example>\nReferences: <a@b> <0@shop.example>\n\nHello\n")
    assert (mail.text, mail.reply_text, mail.html, mail.subject) == ("Hello\n", "Hello", "", "Hello")
    assert (mail.message_id, mail.in_reply_to, mail.references) == ("1@x.test", ("0@shop.example",), ("a@b", "0@shop.example"))
    assert [(one.mailbox, one.name) for one in mail.authors] == [("ada@x.test", "Ada")]
    assert (mail.attachments, mail.automatic, mail.complete) == ((), False, True)


def test_people_in_every_spelling() -> None:
    head = (
        'From: =?utf-8?q?Ada_=22L=2C_evil=40x=2Etest=22?= <ada@x.test>\nTo: "Shop, Support" <support@shop.example>, b@x.test (Bob)\n'
        "Cc: Team: a@x.test, b@x.test;\nReply-To: <ada+home@x.test>\nSubject: x\n"
    )
    mail = read(f"{head}\nx\n")
    assert [(one.mailbox, one.name) for one in mail.authors] == [("ada@x.test", 'Ada "L, evil@x.test"')]
    assert [(one.mailbox, one.name) for one in mail.to] == [("support@shop.example", "Shop, Support"), ("b@x.test", "")]
    assert [one.mailbox for one in mail.cc] == ["a@x.test", "b@x.test"]
    assert [one.mailbox for one in mail.reply_to] == ["ada+home@x.test"]


def test_two_authors_are_both_told() -> None:
    assert len(read("From: a@x.test\nFrom: b@y.test\n\nx\n").authors) == 2


def test_an_alternative() -> None:
    mail = multipart("alternative", "Content-Type: text/plain\n\nwords", "Content-Type: text/html\n\n<p>words</p>")
    assert (mail.text.strip(), mail.html.strip(), mail.attachments) == ("words", "<p>words</p>", ())


def test_html_alone_gives_a_text() -> None:
    html = '<p>Yes &amp; no<br>thanks</p><div class="gmail_quote">On x wrote: <blockquote>old</blockquote></div>'
    mail = read(f"{HEAD}Content-Type: text/html\n\n{html}\n")
    assert mail.text.strip().startswith("Yes & no\nthanks") and "old" in mail.text
    assert mail.reply_text.strip() == "Yes & no\nthanks"


@pytest.mark.parametrize(
    ("charset", "encoding", "octets"),
    [
        ("iso-8859-1", "8bit", "Grüße".encode("cp1252")),
        ("utf-8", "quoted-printable", b"Gr=C3=BC=C3=9Fe"),
        ("utf-8", "base64", base64.b64encode("Grüße".encode())),
        ("", "8bit", "Grüße".encode()),
        ("no-such-charset", "8bit", "Grüße".encode()),
    ],
)
def test_charsets_and_encodings(charset: str, encoding: str, octets: bytes) -> None:
    head = f"{HEAD}Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    assert read_inbound(head + octets).text == "Grüße"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="invoice.pdf"', "invoice.pdf"),
        ("attachment; filename*=utf-8''Rechnung%20%E2%82%AC.pdf", "Rechnung €.pdf"),
        ('attachment; filename*0="in"; filename*1="voice.pdf"', "invoice.pdf"),
        ('attachment; filename="=?utf-8?q?Rechnung_=E2=82=AC.pdf?="', "Rechnung €.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\Windows\\\\a.exe"', "a.exe"),
        ("attachment; filename=my order.pdf; size=5", "my order.pdf"),
        ('attachment; filename="a;b;c.pdf"; size=5', "a;b;c.pdf"),
        ('attachment; filename="evil\u202efdp.exe"', "evilfdp.exe"),
        ("attachment", "attachment-1"),
    ],
)
def test_the_names_of_files(disposition: str, name: str) -> None:
    part = f"Content-Type: application/pdf\nContent-Disposition: {disposition}\nContent-Transfer-Encoding: base64\n\naGVsbG8="
    raw = f'{HEAD}Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nwords\n--b\n{part}\n--b--\n'.replace("\n", "\r\n").encode()
    mail = read_inbound(raw)
    (file,) = mail.attachments
    assert (file.name, file.content_type, file.size_bytes, read_attachment(raw, file)) == (name, "application/pdf", 5, b"hello")
    assert mail.text.strip() == "words"


def test_an_inline_image_and_a_forwarded_mail() -> None:
    image = "Content-Type: image/png\nContent-ID: <logo@x>\nContent-Disposition: inline\nContent-Transfer-Encoding: base64\n\naGk="
    forwarded = "Content-Type: message/rfc822\n\nSubject: in\n\nold"
    mail = multipart("related", "Content-Type: text/html\n\n<img src=cid:logo@x>", image, forwarded)
    assert [(one.content_id, one.name, one.size_bytes) for one in mail.attachments] == [
        ("logo@x", "attachment-1", 2),
        ("", "attachment-2.eml", 18),
    ]


def test_a_mail_that_is_one_file() -> None:
    mail = read(f"{HEAD}Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\naGk=\n")
    assert ([one.name for one in mail.attachments], mail.text) == (["a.pdf"], "")


@pytest.mark.parametrize(
    "fields",
    [
        "Auto-Submitted: auto-replied\n",
        "Auto-Submitted: auto-generated (x)\n",
        "X-Autoreply: yes\n",
        "Precedence: bulk\n",
        "Return-Path: <>\n",
    ],
)
def test_what_programs_write(fields: str) -> None:
    assert read(f"{fields}{HEAD}\nx\n").automatic
    assert not read(f"Auto-Submitted: no\nPrecedence: first-class\n{HEAD}\nx\n").automatic
    assert not read("From: a@x.test\nSubject: Re: We have received your order, out of office\n\nx\n").automatic


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\r\r\n\xff",
        b"\r\n\r\n",
        b"Subject: =?utf-7?b?2AAAAA==?= =?utf-8?q?" + b"=" * 5000 + b"\r\n\r\n+2AA-",
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-\x00x",
        b"From: " + b"(" * 30_000 + b"\r\n\r\n",
        b"From: " + b'"' * 30_001 + b"@x.test\r\nTo: " + b"<" * 30_000 + b"\r\n\r\n",
        b"References: " + b"<" * 100_000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 20_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Disposition: attachment; filename*9*=x''%\r\n\r\nx\r\n" * 900,
        b"Content-Disposition: attachment; filename*=nocharset''%ff%fe; filename*0*=utf-7'x'+2AA-\r\nContent-Type: a/b\r\n\r\nx",
        b"Content-Type: a/b; name=" + b";" * 100_000 + b"\r\n\r\nx",
        b"Content-Type: a/b\r\nContent-Disposition: attachment; filename=" + b";=" * 50_000 + b"\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + (b"--b\r\nContent-Disposition: attachment; filename=" + b';"' * 3900 + b"\r\n\r\nx\r\n") * 200,
        b"Content-Type: text/html\r\n\r\n" + b"<div class='" * 50_000,
        b"Content-Type: text/html\r\n\r\n" + b"<" * 500_000,
        b"Content-Type: text/plain\r\n\r\n" + b"On 1 a wrote\r\n" * 50_000,
        b"Content-Type: text/plain\r\n\r\nOn 1 " + b"wrote " * 100_000 + b":",
        b"Subject: x\r\n" * 20_000 + b"\r\nx",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUFB" * 1_000_000,
    ],
    ids=range(21),
)
def test_what_is_meant_to_hurt_is_read_in_little_time_and_can_be_stored(raw: bytes) -> None:
    began = time.process_time()
    mail = read_inbound(raw)
    assert time.process_time() - began < 3.0
    told = orjson.dumps(mail)
    assert b"\\u0000" not in told
    assert len(mail.attachments) <= MOST_ATTACHMENTS and len(told) < 8_000_000


def test_the_trace() -> None:
    at = time_of(new_id(1767607200.0))
    origin = Origin("ada@x.test", "2001:db8::1", "mx.(evil)\r\n x", encrypted=True)
    assert trace(origin, "relay.example", "abc", "support@shop.example", at) == (
        b"Return-Path: <ada@x.test>\r\nReceived: from mx.evilx ([IPv6:2001:db8::1])\r\n\tby relay.example with ESMTPS id abc\r\n"
        b"\tfor <support@shop.example>; Mon, 05 Jan 2026 10:00:00 +0000\r\n"
    )
    assert goes_in_circles(b"Received: x\r\n" * (MOST_RECEIVED + 1) + b"\r\n") and not goes_in_circles(b"Received: x\r\n" * MOST_RECEIVED)
    assert not goes_in_circles(b"Subject: x\r\n\r\n" + b"Received: x\r\n" * 200)
    assert has_message_id(b"MESSAGE-ID : <1@x>\n\n") and not has_message_id(b"Subject: x\n\nMessage-ID: <1@x>\n")
