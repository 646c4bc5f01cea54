"""MIME that is made to hurt: read, adopted, planned and downgraded within two seconds and 256 MB, refused or taken, never a traceback."""

from __future__ import annotations

import random
import time
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mail.address_list import find_mailboxes
from app.mail.adopt import adopt, read_finished
from app.mail.downgrade import downgrade
from app.mail.fields import LONGEST_HEAD, Unfit
from app.mail.tracking import plan_tracking

HEAD = b"From: a@shop.example.test\r\nDate: x\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\n"
MIXED = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n"
NOW = datetime(2027, 6, 1, tzinfo=UTC)
MOST_SECONDS, MOST_BYTES = 2.0, 256 * 1024 * 1024


def nested(depth: int, *, same: bool = False, ends: bool = False) -> bytes:
    names = [b"x" if same else b"b%dx" % level for level in range(depth)]
    start = b"".join(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (name, name) for name in names)
    return start + b"\r\nend" + (b"".join(b"\r\n--%b--" % name for name in reversed(names)) if ends else b"")


def wrapped(depth: int) -> bytes:
    """Messages in messages."""
    return (b"Content-Type: message/rfc822\r\n\r\n" * depth) + b"Subject: \xc3\xa9\r\n\r\n" + "é".encode() * 600


BOMBS: dict[str, bytes] = {
    "depth 100": nested(100),
    "depth 10,000": nested(10_000),
    "depth 10,000, ended": nested(10_000, ends=True),
    "depth 10,000, one boundary": nested(10_000, same=True),
    "10,000 parts": MIXED + b"--x\r\n\r\na\r\n" * 10_000 + b"--x--",
    "900 parts of HTML": MIXED + (b"--x\r\n" + HTML + b'<a href="https://a.example/">a</a>\r\n') * 900 + b"--x--",
    "100,000 delimiters that are none": MIXED + b"\r\n--xy" * 100_000,
    "no end boundary": MIXED + b"--x\r\n" + HTML + b"<p>",
    "no boundary at all": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"a" * 5000,
    "no boundary parameter": b"Content-Type: multipart/alternative\r\n\r\n--x\r\n\r\na",
    "boundary of 100 KB": b"Content-Type: multipart/mixed; boundary=" + b"x" * 100_000 + b"\r\n\r\n--x",
    "header of 1 MB": b"X-A: " + b"y" * 1_000_000 + b"\r\n\r\nx",
    "header of 1 MB, folded": b"X-A: y" + b"\r\n y" * 300_000 + b"\r\n\r\nx",
    "header of 200 KB in one word": b"Subject: " + b"y" * 200_000 + b"\r\n\r\nx",
    "header of 200 KB of UTF-8": "Subject: é".encode() + "é ".encode() * 80_000 + b"\r\n\r\nx",
    "header of 200 KB not in UTF-8": b"Subject: " + b"\xe9 " * 100_000 + b"\r\n\r\nx",
    "60,000 fields": b"a:b\r\n" * 50_000 + b"\r\nx",
    "To of 200 KB": b"To: " + b"a@b.example, " * 15_000 + b"\r\n\r\nx",
    "To of spaces": "To: é".encode() + b" " * 200_000 + b"\xc3\xa9\r\n\r\n" + "é".encode(),
    "To of quotes": b'To: "' + b'\\"' * 100_000 + b"\\\r\n\r\nx",
    "To of open quotes": b"To: " + b'"\\" ' * 50_000 + b"\r\n\r\nx",
    "To of brackets": b"To: " + b"<a" * 100_000 + b"\r\n\r\nx",
    "To of comments": b"To: " + b"(" * 200_000 + b"\r\n\r\nx",
    "To of escaped comments": b"To: (" + b"\\(" * 100_000 + b"\r\n\r\nx",
    "encoded words": b"Subject: " + b"=?utf-8?q?=C3=A9?= " * 12_000 + b"\r\n\r\nx",
    "encoded words of unknown charsets": b"Subject: " + b"=?x-none?b?////?= " * 12_000 + b"\r\n\r\nx",
    "parameters": b"Content-Type: text/plain" + b";a=" * 60_000 + b"\r\n\r\nx",
    "quoted parameters": b'Content-Type: text/plain;a="' + b"\\" * 200_000 + b"\r\n\r\n\xe9",
    "unknown charset": b"Content-Type: text/html; charset=x-none\r\n\r\n<a href='https://a.example/'>\xff\xfe</a>",
    "charset that computes": b"Content-Type: text/html; charset=zlib_codec\r\n\r\n<a href='https://a.example/\xe9'>a</a>",
    "wrong charset": b"Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + b"<a href=x>\xff" * 1000,
    "broken base64": b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"=A=" * 100_000,
    "broken quoted-printable": b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=Z=\r\n" * 100_000,
    "unknown encoding": b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-uue\r\n\r\n" + b"a" * 5000,
    "one line of 5 MB": b"Content-Type: text/plain\r\n\r\n" + b"a" * 5_000_000,
    "one line of 5 MB in 8 bits": b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "é ".encode() * 1_500_000,
    "one line of HTML": HTML + b'<a href="https://a.example/">a</a>' * 20_000,
    "tags that do not end": HTML + b"<a href=" * 100_000,
    "messages in messages": wrapped(5),
    "1,000 messages in messages": wrapped(1_000),
    "signed, with a long line": b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n" + b"a" * 2000,
    "bare CR": b"Content-Type: text/plain\r\n\r\n" + b"a\rb\r\r\nc\n" * 100_000,
    "only line ends": b"\r\n" * 1_000_000,
    "only LF": b"Content-Type: text/plain\n\n" + b"\n" * 1_000_000,
    "text armour": b"\r\n" + b"-----BEGIN PGP " * 100_000,
    "octets": b"\r\n" + random.Random(1).randbytes(1_000_000).replace(b"\0", b""),
}  # fmt: skip


def pass_through(raw: bytes) -> str:
    """All that is done with a finished mail on its way through the house; how it ends."""
    try:
        finished = read_finished(raw)
        find_mailboxes(finished.value_of("to"))
        _ = finished.subject, finished.message_id
        adopted = adopt(finished, message_id="2@x", date=NOW)
    except Unfit as unfit:
        return "refused" if 10 < len(str(unfit)) < 300 else "refused without good words"
    content = adopted.content
    assert all(len(line) <= 998 for line in (content.head + b"\r\n" + content.body).split(b"\r\n"))
    assert b"\r" not in (content.head + content.body).replace(b"\r\n", b"")
    plan_tracking(content.body, content.parts, sealed=adopted.sealed)
    try:
        head, body = downgrade(content.head, content.body)
        assert (head + body).isascii()
    except ValueError:
        return "taken, for eight bits"
    return "taken"


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_takes_long_or_much(name: str) -> None:
    raw = HEAD + BOMBS[name]
    began = time.process_time()
    fate = pass_through(raw)
    assert time.process_time() - began < MOST_SECONDS, fate
    tracemalloc.start()
    try:
        assert pass_through(raw) == fate != "refused without good words"
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_a_header_that_is_too_long_is_told() -> None:
    with pytest.raises(Unfit, match=str(LONGEST_HEAD)):
        read_finished(HEAD + BOMBS["header of 1 MB"])


PIECES = [
    *(b"From: a@shop.example.test\r\n", b"Content-Type: multipart/mixed; boundary=x\r\n", b"Content-Type: message/rfc822\r\n"),
    *(b"Content-Type: text/html\r\n", b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n"),
    *(b"--x\r\n", b"--x--", b"\r\n", b"\n", b"\r", b"a", b":", b'"', b"; ", b"\xe9", "é".encode(), b"=", b"<a href='https://a.example/'>"),
    *(b"b" * 1000, b"c " * 600, b"To: ", b"Subject: ", b" ", b"X-Staffetta-Tag: a\r\n"),
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    pass_through(PIECES[0] + raw)
