"""A mail as fields and pages of text, however it is written."""

from __future__ import annotations

import time

import pytest

from app.mail import words
from app.mail.letter import read_fields, read_letter


def test_fields_are_unfolded_and_decoded() -> None:
    letter = read_letter(
        b"Subject: =?utf-8?q?caf=C3=A9?=\r\n =?iso-8859-1?b?6Q==?= x\r\nTo: a@b.co\r\nTo: c@d.co\r\nnonsense\r\n\r\nbody\r\n"
    )
    assert letter.fields.first("subject") == "caféé x"
    assert letter.fields.every("to") == ["a@b.co", "c@d.co"]
    assert letter.fields.first("none", "to") == "a@b.co"
    assert [page.text for page in letter.pages] == ["body\n"]


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        (b"Content-Transfer-Encoding: base64", b"Y2Fm\r\nw6kg\r\n", "café "),
        (b"Content-Transfer-Encoding: base64", b"Y2Fmw6kgY", "café "),  # a letter too many
        (b"Content-Transfer-Encoding: quoted-printable", b"caf=C3=A9 a=\r\nb", "café ab"),
        (b"Content-Type: text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        (b"Content-Type: text/plain; charset=no-such", b"caf\xe9", "café"),
        (b"Content-Type: text/plain", b"\x1b$B%(%i!<\x1b(B", "エラー"),
        (b"Content-Type: text/html", b"<style>x</style>a<br>b<!-- c --><p>&eacute;</p>", " a\nb \né\n"),
        (b"Content-Type: multipart/mixed; boundary=none", b"--x\r\nContent-Type: text/plain\r\n\r\nwords", "--x\n\n\nwords"),
    ],
)
def test_a_page_is_decoded(head: bytes, body: bytes, text: str) -> None:
    (page,) = read_letter(head + b"\r\n\r\n" + body).pages
    assert page.text.split() == text.split()


def test_what_has_no_words_is_no_page() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: image/png\r\n\r\npng\r\n--x\r\n\r\nwords\r\n--x--\r\n"
    assert [page.text for page in read_letter(raw).pages] == ["words"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?x", "=?x"),
        ("=?utf-8?b?!?=", ""),
        ("=?no-such?q?a_b?=", "a b"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?UTF-8?B?5pc=?= =?UTF-8?B?pQ==?=", "日"),  # one letter in two words
        ("=?UTF-8?B?4pyTIG9r?", "=?UTF-8?B?4pyTIG9r?"),
        ("=?UTF-8?B?4pyTIG9rA?=", "✓ ok"),  # a letter too many
    ],
)
def test_encoded_words(text: str, expected: str) -> None:
    assert words.decode_words(text) == expected == read_letter(f"Subject: {text}\r\n\r\n".encode()).fields.first("subject")


def test_fields_of_a_report_are_not_decoded() -> None:
    assert read_fields("A: =?utf-8?q?b?=\n c\n").first("a") == "=?utf-8?q?b?= c"


@pytest.mark.parametrize("charset", ["punycode", "-Punycode!", "idna", "unicode-escape"])
def test_a_charset_that_computes_is_none(charset: str) -> None:
    part = f"--b\r\nContent-Type: text/plain; charset={charset}\r\n\r\n".encode() + b"b9c" * 80_000 + b"\r\n"
    raw = f"Subject: =?{charset}?q?{'b9' * 900}?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".encode() + part * 4 + b"--b--\r\n"
    started = time.process_time()
    letter = read_letter(raw)
    assert letter.fields.first("subject") == words.decode_words(f"=?{charset}?q?{'b9' * 900}?=") == "b9" * 900
    assert [page.text.rstrip() for page in letter.pages] == ["b9c" * 80_000] * 4
    assert time.process_time() - started < 1


def test_what_a_charset_makes_of_octets_can_be_stored() -> None:
    page = read_letter(b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-x +2D3eAA- +AOk-\r\n").pages[0]
    assert page.text == "\ufffdx \U0001f600 é\n"
