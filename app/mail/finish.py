"""From content to what goes over the wire: add the fields of this recipient, sign, join.

The signature is made last and stands first; after it no octet changes. Links have been exchanged and the open pixel
added before (tracking); dots are stuffed and UTF-8 is negotiated after (the transport).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.mail.dkim import SigningKey, sign

# What is added to the mail of each recipient, as bits: decided and kept when the message is accepted (admission), done by delivery.
OPENS: Final = 1  # the open pixel
CLICKS: Final = 2  # tokens in place of links
UNSUBSCRIBE: Final = 4  # List-Unsubscribe and List-Unsubscribe-Post
NULL_SENDER: Final = 8  # nothing, and the null reverse path in place of a return path: RFC 5321 §4.5.5, for reports


def finish(content_head: bytes, body: bytes, *, added_fields: bytes, keys: Sequence[SigningKey], timestamp: int) -> bytes:
    """The whole message with CRLF line ends and its signatures; the added fields, whole and CRLF ended, are signed too."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # SMTP would add it after the signature
    head = content_head + added_fields
    return b"".join((sign(head, body, keys, timestamp=timestamp), head, b"\r\n", body))
