"""The envelope: what MAIL FROM and RCPT TO say, apart from what the message says of itself.

Every recipient gets a return path of its own (VERP), so that a bounce is matched by the address it comes to and not by
what it quotes. Its local part is `b-` and 48 characters of base32: account, recipient and a MAC over both and the domain,
without which anybody could make bounces up. Hosts on the way may change case (RFC 5321 §2.4 forbids it, some do):
base32 does not mind. With it comes what a complaint or a wish to leave is matched by, where it is quoted (`find_return_path`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

RETURN_PATH_PURPOSE = "return-path"  # of keyring.mac_key
_PREFIX = "b-"
_MAC_OCTETS = 10  # with account and id 30 octets, which base32 writes without padding
_TOKEN_LENGTH = 48
_QUOTED = re.compile(rb"b-[a-z2-7]{48}@[a-z0-9.\-]{1,253}", re.IGNORECASE)
_MOST_QUOTED = 100


@dataclass(frozen=True, slots=True)
class Envelope:
    """One recipient's transaction; an empty return path is the null sender `<>`. `utf8`: only a host with SMTPUTF8 may have it."""

    return_path: str
    recipient: str
    utf8: bool = False


class Returned(NamedTuple):
    """Whom a return path was made for."""

    account_id: int
    recipient_id: UUID


def encode_return_path(account_id: int, recipient_id: UUID, domain: str, mac_key: bytes) -> str:
    """The return path of one recipient at `domain`; the same on every attempt."""
    whom = account_id.to_bytes(4, "big") + recipient_id.bytes
    token = base64.b32encode(whom + _mac(whom, domain, mac_key)).decode().lower()
    return f"{_PREFIX}{token}@{domain}"


def decode_return_path(return_path: str, mac_keys: Sequence[bytes]) -> Returned | None:
    """Whom it was made for, or None if it is no return path made with one of `mac_keys` (the present one and former ones)."""
    local, _, domain = return_path.rpartition("@")
    token = local.lower().removeprefix(_PREFIX)
    if len(token) != _TOKEN_LENGTH or len(local) != len(_PREFIX) + _TOKEN_LENGTH or not token.isascii():
        return None
    try:
        octets = base64.b32decode(token.upper())
    except binascii.Error:
        return None
    whom, mac = octets[:-_MAC_OCTETS], octets[-_MAC_OCTETS:]
    if any(hmac.compare_digest(mac, _mac(whom, domain, key)) for key in mac_keys):
        return Returned(int.from_bytes(whom[:4], "big"), UUID(bytes=whom[4:]))
    return None


def find_return_path(letter: bytes, mac_keys: Sequence[bytes]) -> Returned | None:
    """The first of our return paths that a mail quotes, whoever sent it: complaints come with the recipient's address taken out."""
    for count, found in enumerate(_QUOTED.finditer(letter)):
        if count >= _MOST_QUOTED:
            return None
        if (returned := decode_return_path(found[0].decode("ascii"), mac_keys)) is not None:
            return returned
    return None


def _mac(whom: bytes, domain: str, mac_key: bytes) -> bytes:
    return hashlib.blake2b(whom + domain.lower().encode(), key=mac_key[:64], digest_size=_MAC_OCTETS, person=b"return-path").digest()
