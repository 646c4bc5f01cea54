"""Tokens: what is written is read, and nothing else is."""

from __future__ import annotations

import random
import string
from uuid import UUID

import pytest

from app.mail.tokens import LONGEST_PAYLOAD, TokenKind, TokenWriter, encode_payload, read_token

KEY = bytes(range(32))
RECIPIENT = UUID("019a6d3e-8f2c-7b14-99d1-a0b3c4d50001")
URL = "https://shop.example/orders/1042?from=mail&x=ü#top".encode()


def key_of(key_id: int) -> bytes | None:
    return KEY if key_id == 3 else None


def write(kind: TokenKind, payload: bytes = b"") -> str:
    return TokenWriter(3, KEY, 17, RECIPIENT).write(kind, [encode_payload(payload)])[0].decode()


@pytest.mark.parametrize("kind", list(TokenKind))
@pytest.mark.parametrize("payload", [b"", b"a", b"ab", b"abc", URL, bytes(range(256))])
def test_what_is_written_is_read(kind: TokenKind, payload: bytes) -> None:
    token = read_token(write(kind, payload), key_of)
    assert token is not None
    assert (token.kind, token.account_id, token.recipient_id, token.payload) == (kind, 17, RECIPIENT, payload)


def test_a_token_needs_no_escape() -> None:
    assert set(write(TokenKind.CLICK, bytes(range(256)))) <= set(string.ascii_letters + string.digits + "-_")


def test_many_links_have_the_tokens_that_each_alone_would_have() -> None:
    payloads = [encode_payload(b"https://a.example/"), encode_payload(b"https://b.example/")]
    many = TokenWriter(3, KEY, 17, RECIPIENT).write(TokenKind.CLICK, payloads)
    assert [t.decode() for t in many] == [write(TokenKind.CLICK, b"https://a.example/"), write(TokenKind.CLICK, b"https://b.example/")]


def test_every_altered_letter_is_noticed() -> None:
    token = write(TokenKind.CLICK, b"https://a.example/")
    for place in range(len(token)):
        for letter in string.ascii_letters + string.digits + "-_=+/ \n":
            altered = token[:place] + letter + token[place + 1 :]
            assert altered == token or read_token(altered, key_of) is None, (place, letter)


def test_ten_thousand_forged_tokens_are_none() -> None:
    chance = random.Random(3)
    token = write(TokenKind.CLICK, URL)
    other = write(TokenKind.UNSUBSCRIBE, b"bulk")
    letters = string.ascii_letters + string.digits + "-_"
    for _ in range(10_000):
        cut, paste = chance.randrange(len(token)), chance.randrange(len(other))
        forged = chance.choice(
            (
                token[:cut] + "".join(chance.choices(letters, k=chance.randrange(1, 9))) + token[cut:],
                token[:cut] + token[cut + 1 :],
                token[:cut] + other[paste:],
                "".join(chance.choices(letters, k=chance.randrange(200))),
                token + chance.choice(("=", "==", "A", "\n", " ", "%00")),
            )
        )
        assert forged in (token, other) or read_token(forged, key_of) is None


@pytest.mark.parametrize("text", ["", "A", "A" * 43, "A" * 44, "A" * 9000, "ü" * 60, "\0" * 60])
def test_what_is_no_token_is_none(text: str) -> None:
    assert read_token(text, lambda _: KEY) is None


def test_another_key_is_another_token() -> None:
    token = write(TokenKind.OPEN)
    assert read_token(token, lambda _: bytes(32)) is None
    assert read_token(token, lambda _: None) is None


def test_a_payload_has_a_limit() -> None:
    assert read_token(write(TokenKind.CLICK, b"x" * LONGEST_PAYLOAD), key_of) is not None
    with pytest.raises(ValueError, match="too long"):
        encode_payload(b"x" * (LONGEST_PAYLOAD + 1))
