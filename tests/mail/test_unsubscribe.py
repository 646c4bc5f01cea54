"""The header fields of bulk mail: their form, their bounds, and what the token in them says."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from app.mail.tokens import TokenKind, TokenWriter, read_token
from app.mail.unsubscribe import is_list_id, standing_fields, unsubscribe_fields, unsubscribe_url

KEY = bytes(range(32))
RECIPIENT = UUID("019a6d3e-8f2c-7b14-99d1-a0b3c4d50001")


def standing(**values: object) -> bytes:
    given = {"stream": "bulk", "title": "News", "list_id": None, "is_bulk": True, "domain": "shop.test", "account_id": 7} | values
    return standing_fields(**({"campaign": "", "own": ()} | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", ["bulk", "a" * 64])
def test_the_link_says_who_leaves_what(stream: str) -> None:
    url = unsubscribe_url("https://click.shop.test", TokenWriter(3, KEY, 17, RECIPIENT), stream)
    token = read_token(url.removeprefix("https://click.shop.test/u/"), lambda key_id: KEY if key_id == 3 else None)
    assert token is not None
    assert (token.kind, token.account_id, token.recipient_id, token.payload) == (TokenKind.UNSUBSCRIBE, 17, RECIPIENT, stream.encode())
    first, second, end = unsubscribe_fields(url).split(b"\r\n")
    assert (first, second, end) == (f"List-Unsubscribe: <{url}>".encode(), b"List-Unsubscribe-Post: List-Unsubscribe=One-Click", b"")


def test_the_longest_link_stays_on_a_line() -> None:
    base = "https://" + ".".join(["a" * 62] * 4)
    url = unsubscribe_url(base, TokenWriter(3, KEY, 2**31 - 1, RECIPIENT), "a" * 64)
    assert max(map(len, unsubscribe_fields(url).split(b"\r\n"))) < 998


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("News", b"List-Id: News <bulk.shop.test>\r\n"),
        ("Mr. Smith's", b'List-Id: "Mr. Smith\'s" <bulk.shop.test>\r\n'),
        ('A "B"', b'List-Id: "A \\"B\\"" <bulk.shop.test>\r\n'),
        ("Größe", b"List-Id: =?utf-8?b?R3LDtsOfZQ==?= <bulk.shop.test>\r\n"),
    ],
)
def test_titles_of_all_kinds(title: str, line: bytes) -> None:
    assert standing(title=title).startswith(line)


@pytest.mark.parametrize("title", ["x" * 100, "ß" * 100, "word " * 19 + "word", '"' * 100])
def test_long_titles_stay_within_lines(title: str) -> None:
    assert max(map(len, standing(title=title).split(b"\r\n"))) <= 998


@pytest.mark.parametrize("campaign", ["", "april", "a:b\r\nBcc: x", "ü" * 64, "x" * 64])
def test_feedback_id_has_four_parts(campaign: str) -> None:
    found = re.search(rb"^Feedback-ID: ([A-Za-z0-9_.-]*):bulk:7:([0-9a-f]{5,15})\r\n\Z", standing(campaign=campaign), re.MULTILINE)
    assert found is not None


def test_mail_that_is_not_bulk_is_no_list() -> None:
    assert b"List-" not in standing(is_bulk=False)


def test_the_senders_part_is_of_the_domain() -> None:
    ours, again, theirs = [standing(domain=domain).rsplit(b":", 1)[1] for domain in ("a.test", "a.test", "b.test")]
    assert ours == again != theirs


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("news.shop.test", True),
        ("a.b", True),
        ("a", False),
        ("a b.c", False),
        ("<a.b>", False),
        (".a.b", False),
        ("a.é", False),
        ("a." * 128, False),
    ],
)
def test_list_identifiers(text: str, is_one: bool) -> None:
    assert is_list_id(text) is is_one
