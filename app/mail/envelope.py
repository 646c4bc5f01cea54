"""The envelope: what MAIL FROM and RCPT TO say, apart from what the message says of itself.

Every recipient gets a return path of its own (VERP), so that a bounce is matched by the address it comes to and not by
what it quotes. Its local part is `b-` and 40 characters of base32: the recipient's id and a MAC over id and domain,
without which anybody could make bounces up. Hosts on the way may change case (RFC 5321 §2.4 forbids it, some do):
base32 does not mind.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

_PREFIX = "b-"
_MAC_OCTETS = 9  # 72 bits; with the id 25 octets, which base32 writes without padding
_TOKEN_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Envelope:
    """One recipient's transaction; an empty return path is the null sender `<>`. `utf8`: only a host with SMTPUTF8 may have it."""

    return_path: str
    recipient: str
    utf8: bool = False


def encode_return_path(recipient_id: UUID, domain: str, mac_key: bytes) -> str:
    """The return path of one recipient at `domain`; the same on every attempt."""
    token = base64.b32encode(recipient_id.bytes + _mac(recipient_id.bytes, domain, mac_key)).decode().lower()
    return f"{_PREFIX}{token}@{domain}"


def decode_return_path(return_path: str, mac_keys: Sequence[bytes]) -> UUID | None:
    """The recipient's id, or None if it is no return path made with one of `mac_keys` (the present one and former ones)."""
    local, _, domain = return_path.rpartition("@")
    token = local.lower().removeprefix(_PREFIX)
    if len(token) != _TOKEN_LENGTH or len(local) != len(_PREFIX) + _TOKEN_LENGTH or not token.isascii():
        return None
    try:
        octets = base64.b32decode(token.upper())
    except binascii.Error:
        return None
    raw_id, mac = octets[:16], octets[16:]
    if any(hmac.compare_digest(mac, _mac(raw_id, domain, key)) for key in mac_keys):
        return UUID(bytes=raw_id)
    return None


def _mac(raw_id: bytes, domain: str, mac_key: bytes) -> bytes:
    return hashlib.blake2b(raw_id + domain.lower().encode(), key=mac_key[:64], digest_size=_MAC_OCTETS, person=b"return-path").digest()
