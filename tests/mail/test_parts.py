import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import Address
from app.mail.compose import Attachment, Draft, compose
from app.mail.parts import read_parts

MIXED = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
FILES = (Attachment("a.png", "image/png", b"png", "a@x"), Attachment("b.eml", "message/rfc822", b"Subject: x\r\n\r\n--x\r\n"))


@given(st.none() | st.text("aé\n-", max_size=50), st.none() | st.text("aé\n-", max_size=50), st.lists(st.sampled_from(FILES), max_size=3))
def test_what_we_compose_is_mapped_as_we_mapped_it(html: str | None, text: str | None, files: list[Attachment]) -> None:
    draft = Draft(Address("a@b.co"), (Address("c@d.ee"),), (), (), (), "Hi", html, text, (), tuple(files))
    content = compose(draft, message_id="1@b.co", date=datetime(2026, 1, 1, tzinfo=UTC), boundary_seed=b"s")
    found = read_parts(content.head + b"\r\n" + content.body)
    assert found.body_start == len(content.head) + 2
    assert found.complete
    assert not found.sealed
    assert [(part.path, part.content_type, part.encoding, part.start) for part in found.parts] == [
        (part.path, part.content_type, part.encoding, part.start) for part in content.parts
    ]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_what_the_stdlib_writes_is_mapped(line_end: bytes) -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = "x"
    message.set_content("text é\n")
    message.add_alternative("<p>html é</p>\n", subtype="html")
    message.add_attachment(b"bytes" * 100, maintype="application", subtype="x-odd", filename="x")
    raw = bytes(message).replace(b"\r\n", line_end)
    found = read_parts(raw)
    assert [(part.path, part.content_type, part.charset) for part in found.parts] == [
        ("1.1", "text/plain", "utf-8"),
        ("1.2", "text/html", "utf-8"),
        ("2", "application/x-odd", ""),
    ]
    leaves = [part for part in message_from_bytes(raw).walk() if not part.is_multipart()]
    for part, leaf in zip(found.parts, leaves, strict=True):
        payload = leaf.get_payload()
        assert isinstance(payload, str)
        assert raw[found.body_start + part.start : found.body_start + part.end].decode().strip() == payload.strip()


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"", [("1", "text/plain", "")]),
        (b"\r\nbody", [("1", "text/plain", "body")]),
        (b"Subject: x\r\n", [("1", "text/plain", "")]),
        (b"Content-Type: nonsense\r\n\r\nbody", [("1", "text/plain", "body")]),
        (b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\na", [("1", "multipart/mixed", "--x\r\n\r\na")]),
        (MIXED + b"--x\r\n\r\na\r\n--x--\r\nepilogue", [("1", "text/plain", "a")]),
        (MIXED + b"--x\r\n\r\na\r\n--x\r\n\r\nb", [("1", "text/plain", "a"), ("2", "text/plain", "b")]),
        (
            b'Content-Type: multipart/mixed;\r\n\tBOUNDARY="x y"\r\n\r\npre\r\n--x y  \r\n\r\n--x yz\r\n--x y--',
            [("1", "text/plain", "--x yz")],
        ),
        (b"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: y\r\n--x--", [("1", "message/rfc822", "Subject: y")]),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x--", [("1", "text/plain", "")]),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx", [("1", "text/plain", "x")]),
    ],
)
def test_odd_structures(raw: bytes, parts: list[tuple[str, str, str]]) -> None:
    found = read_parts(raw)
    body = raw[found.body_start :].decode()
    assert [(part.path, part.content_type, body[part.start : part.end]) for part in found.parts] == parts


@pytest.mark.parametrize(
    "raw",
    [
        b'Content-Type: multipart/signed; boundary=x; protocol="application/pgp-signature"\r\n\r\n--x\r\n\r\na\r\n--x--',
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nMII",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/encrypted; boundary=y\r\n\r\na\r\n--x--",
        b"Subject: x\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n",
    ],
)
def test_what_is_signed_or_encrypted_is_told(raw: bytes) -> None:
    assert read_parts(raw).sealed


def nested(depth: int, *, same: bool) -> bytes:
    lines = []
    for level in range(depth):
        boundary = b"x" if same else b"b%dx" % level
        lines.append(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (boundary, boundary))
    return b"".join(lines) + b"\r\nend"


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (nested(15, same=False), True),
        (nested(10_000, same=False), False),
        (nested(900, same=True), True),
        (nested(10_000, same=True), False),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\na\r\n" * 10_000 + b"--x--", False),
        (b"X: " + b"y" * 1_000_000, True),
        (b"X:\r\n y" * 100_000, True),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"\r\n--xy" * 100_000, True),
        (b"Content-Type: text/plain" + b";a=" * 50_000 + b"\r\n\r\nx", True),
        (b'Content-Type: text/plain;a="' + b"\\" * 200_000 + b"\r\n\r\nx", True),
    ],
)
def test_bombs_are_bounded(raw: bytes, complete: bool) -> None:
    started = time.perf_counter()
    found = read_parts(raw)
    assert time.perf_counter() - started < 1
    assert found.complete is complete
    assert len(found.parts) <= 1000


@given(
    st.lists(
        st.sampled_from([b"Content-Type: multipart/mixed; boundary=x\r\n", b"--x\r\n", b"--x--", b"\r\n", b"\n", b"a", b":", b'"', b"; "])
    ).map(b"".join)
)
def test_any_bytes_are_mapped_within_themselves(raw: bytes) -> None:
    found = read_parts(raw)
    done = 0
    for part in found.parts:
        assert done <= part.start <= part.end <= len(raw) - found.body_start
        done = part.end
