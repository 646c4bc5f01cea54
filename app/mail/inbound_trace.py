"""The trace of a mail that comes in: what is read of it before it is taken, and what is written above it (RFC 5321 §4.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

# RFC 5321 §6.3: a loop is told by the number of Received fields, with a limit of at least 100.
MOST_RECEIVED = 100
_LONGEST_HEAD = 256 * 1024

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)?\S", re.IGNORECASE | re.MULTILINE)
_NOT_IN_A_WORD = re.compile(r"[^!-~]|[()<>\\]")


@dataclass(frozen=True, slots=True)
class Origin:
    """From where a mail came in. `sender` is MAIL FROM, empty for the null sender; `helo` is the client's own word."""

    sender: str
    client_ip: str
    helo: str
    encrypted: bool = False


def goes_in_circles(raw: bytes) -> bool:
    """Whether a mail has passed too many hosts to be on its way to anybody."""
    return len(_RECEIVED.findall(head_of(raw))) > MOST_RECEIVED


def has_message_id(raw: bytes) -> bool:
    return _MESSAGE_ID.search(head_of(raw)) is not None


def trace(origin: Origin, by: str, token: str, recipient: str, at: datetime) -> bytes:
    """The fields that the last host writes above a mail."""
    helo = _NOT_IN_A_WORD.sub("", origin.helo) or "unknown"
    address = f"IPv6:{origin.client_ip}" if ":" in origin.client_ip else origin.client_ip
    protocol = "ESMTPS" if origin.encrypted else "ESMTP"
    return (
        f"Return-Path: <{origin.sender}>\r\n"
        f"Received: from {helo} ([{address}])\r\n\tby {by} with {protocol} id {token}\r\n"
        f"\tfor <{recipient}>; {format_datetime(at)}\r\n"
    ).encode("utf-8", "replace")


def head_of(raw: bytes) -> bytes:
    """The header block, as far as it is looked at."""
    found = _HEAD_END.search(raw, 0, _LONGEST_HEAD)
    return raw[: found.start() if found is not None else _LONGEST_HEAD]
