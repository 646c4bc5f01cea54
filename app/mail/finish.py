"""From content to what goes over the wire: add the fields of this recipient, sign, join.

The signature is made last and stands first; after it no octet changes. It is made when the octets are asked for: a receiver that refuses
the envelope, or cannot be reached, costs none. Links have been exchanged and the open pixel added before (tracking); dots are stuffed and
UTF-8 is negotiated after (the transport).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.mail.dkim import Signatures, SigningKey

# What is added to the mail of each recipient, as bits: decided and kept when the message is accepted (admission), done by delivery.
OPENS: Final = 1  # the open pixel
CLICKS: Final = 2  # tokens in place of links
UNSUBSCRIBE: Final = 4  # List-Unsubscribe and List-Unsubscribe-Post
NULL_SENDER: Final = 8  # nothing, and the null reverse path in place of a return path: RFC 5321 §4.5.5, for reports


class Finished:
    """The whole message with CRLF line ends and its signatures. As of bytes: len(), isascii(), and bytes() for the octets, which signs."""

    __slots__ = ("_body", "_head", "_octets", "_signatures", "_size")

    def __init__(self, head: bytes, body: bytes, signatures: Signatures) -> None:
        self._head = head
        self._body = body
        self._signatures = signatures
        self._size = signatures.size + len(head) + 2 + len(body)
        self._octets: bytes | None = None

    def __len__(self) -> int:
        return self._size

    def isascii(self) -> bool:
        return self._head.isascii() and self._body.isascii()

    def __bytes__(self) -> bytes:
        if self._octets is None:
            self._octets = b"".join((self._signatures.write(self._body), self._head, b"\r\n", self._body))
        return self._octets


# What a conversation hands over.
Wire = bytes | Finished


def finish(content_head: bytes, body: bytes, *, added_fields: bytes, keys: Sequence[SigningKey], timestamp: int) -> Finished:
    """The mail of one recipient; the added fields, whole and CRLF ended, are signed too."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # SMTP would add it after the signature
    head = content_head + added_fields
    return Finished(head, body, Signatures(head, keys, timestamp=timestamp))
