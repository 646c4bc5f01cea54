"""Tokens of the links that a mail carries home: who it was sent to, what the link is for, where it leads, and a MAC over all.

    token = base64url(head · 24 octets) base64url(payload) base64url(MAC · 9 octets)
    head  = kind (1), key id (3), account id (4), recipient id (16)

The parts are written one by one, so that a payload (the URL of a link) is written once for all recipients of a message and the
head once for all links of a recipient: what is left for each link of each mail is one MAC. Letters, digits, "-" and "_" alone: a token
needs no escape in a URL, in HTML or in quoted-printable.

A token is all that a redirect needs; nobody without the key can make one that leads anywhere (no open redirect). What a token may do
follows from its kind, which is under the MAC: a click token opens no unsubscribe page.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

MAC_PURPOSE = "tracking token"  # of keyring.mac_key
LONGEST_TOKEN = 8192
LONGEST_PAYLOAD = (LONGEST_TOKEN - 44) * 3 // 4

HEAD_LETTERS = 32
_MAC_OCTETS = 9  # 72 bits, as in return paths
MAC_LETTERS = 12
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class TokenKind(IntEnum):
    """What a token is for. The numbers are in mails that were sent: none is ever used for something else."""

    OPEN = 1  # the pixel; no payload
    CLICK = 2  # payload: the URL, UTF-8
    UNSUBSCRIBE = 3  # payload: the name of the stream
    PREFERENCES = 4  # no payload


@dataclass(frozen=True, slots=True)
class Token:
    """What a valid token says."""

    kind: TokenKind
    account_id: int
    recipient_id: UUID
    payload: bytes


def encode_payload(payload: bytes) -> bytes:
    """The middle of a token: the same for all recipients. ValueError when it is too long for a URL that programs still follow."""
    if len(payload) > LONGEST_PAYLOAD:
        raise ValueError("The payload of a token is too long.")
    return _encode(payload)


class TokenWriter:
    """Writes the tokens of one recipient. `key` is `Keyring.mac_key(MAC_PURPOSE, key_id)`."""

    __slots__ = ("_account_id", "_key", "_key_id", "_recipient_id")

    def __init__(self, key_id: int, key: bytes, account_id: int, recipient_id: UUID) -> None:
        self._key_id = key_id
        self._key = key
        self._account_id = account_id
        self._recipient_id = recipient_id

    def write(self, kind: TokenKind, payloads: list[bytes]) -> list[bytes]:
        """A token for each of the payloads (as `encode_payload` wrote them)."""
        head, macs = self.write_ends(kind, payloads)
        return [head + payload + mac for payload, mac in zip(payloads, macs, strict=True)]

    def write_ends(self, kind: TokenKind, payloads: list[bytes]) -> tuple[bytes, list[bytes]]:
        """What stands before and behind the payloads in their tokens: one head for all, and the MAC of each."""
        head = _encode(
            kind.to_bytes(1, "big") + self._key_id.to_bytes(3, "big") + self._account_id.to_bytes(4, "big") + self._recipient_id.bytes
        )
        begun = hashlib.blake2b(head, key=self._key, digest_size=_MAC_OCTETS, person=b"token")
        macs = []
        for payload in payloads:
            mac = begun.copy()
            mac.update(payload)
            macs.append(binascii.b2a_base64(mac.digest(), newline=False).translate(_TO_URL))
        return head, macs


def read_token(text: str, key_of: Callable[[int], bytes | None]) -> Token | None:
    """What a token says, or None if it is none of ours; `key_of` gives the MAC key of a key id, None if there is no such key."""
    if not HEAD_LETTERS + MAC_LETTERS <= len(text) <= LONGEST_TOKEN or not text.isascii():
        return None
    octets = text.encode()
    # Each token has one spelling: padding, line ends and the other alphabet, which decoders would pass over, are refused.
    if not _LETTERS.issuperset(octets):
        return None
    signed, written_mac = octets[:-MAC_LETTERS], octets[-MAC_LETTERS:]
    try:
        head, payload = _decode(signed[:HEAD_LETTERS]), _decode(signed[HEAD_LETTERS:])
    except binascii.Error:
        return None
    key = key_of(int.from_bytes(head[1:4], "big"))
    if key is None:
        return None
    mac = hashlib.blake2b(signed, key=key, digest_size=_MAC_OCTETS, person=b"token").digest()
    if not hmac.compare_digest(_encode(mac), written_mac):
        return None
    try:
        kind = TokenKind(head[0])
    except ValueError:  # of a newer release
        return None
    return Token(kind, int.from_bytes(head[4:8], "big"), UUID(bytes=head[8:]), payload)


def _encode(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False).translate(_TO_URL).rstrip(b"=")


def _decode(letters: bytes) -> bytes:
    return binascii.a2b_base64(letters.translate(_FROM_URL) + b"=" * (-len(letters) % 4), strict_mode=True)
