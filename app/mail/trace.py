"""The Received field of mail that was handed in: when, by which door, as what (RFC 5321 §4.4).

It goes on top of the header block, is never signed (every host adds its own), and tells of its sender no more than must be told: never the
IP address, and of the name in EHLO only what is written like the name of a host. That name is the client's word: nothing believes it.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal

# RFC 3848 §1 and RFC 6531 §4.3: under TLS and logged in, without and with SMTPUTF8.
Protocol = Literal["ESMTPSA", "UTF8SMTPSA", "HTTP"]

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
# Not all digits at its end: that is an IP address, or nothing.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.){{0,30}}(?![0-9]+\Z){_LABEL}", re.ASCII | re.IGNORECASE)
_LONGEST_NAME = 255
_format = lru_cache(maxsize=2)(format_datetime)  # the mails of a second share it


def received_field(*, greeted_as: str | None, by: str, protocol: Protocol, message_id: str, date: datetime) -> bytes:
    """With its line end. `greeted_as`: what the client said in EHLO, None where nobody greets; `message_id`: ours, not the field."""
    said = "" if greeted_as is None else f"from {_host_name(greeted_as)}\r\n "
    return f"Received: {said}by {by} (Staffetta) with {protocol}\r\n id {message_id}; {_format(date.replace(microsecond=0))}\r\n".encode(
        "ascii", "replace"
    )


def _host_name(said: str) -> str:
    """The name if it is one, else "unknown": an address literal is the client's address."""
    return said if len(said) <= _LONGEST_NAME and _HOST_NAME.fullmatch(said) is not None else "unknown"
