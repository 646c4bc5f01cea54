"""From content to what goes over the wire: add the fields of this recipient, sign, join.

The signature is made last and stands first; after it no octet changes. Links have been exchanged and the open pixel
added before (tracking); dots are stuffed and UTF-8 is negotiated after (the transport).
"""

from __future__ import annotations

from collections.abc import Sequence

from app.mail.dkim import SigningKey, sign
from app.mail.header import check_text, format_field, is_field_name


def finish(
    content_head: bytes, body: bytes, *, added_headers: Sequence[tuple[str, str]], keys: Sequence[SigningKey], timestamp: int
) -> bytes:
    """The whole message with CRLF line ends and its signatures; the added fields are signed too."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # SMTP would add it after the signature
    head = content_head + b"".join([_added_field(name, value) for name, value in added_headers])
    return b"".join((sign(head, body, keys, timestamp=timestamp), head, b"\r\n", body))


def _added_field(name: str, value: str) -> bytes:
    if not is_field_name(name):
        raise ValueError(f"The header name {name!r} is not valid.")
    check_text(value, f"header {name}")
    return format_field(name, value)
