"""Ids: UUIDv7 (RFC 9562 §5.7), so that a range of ids is a range of time and partitions can be dropped by age.

The twelve bits after the millisecond are its fraction (RFC 9562 §6.2, method 3), so that ids which one process makes one after the
other are in that order.

A message's id has its lowest 16 bits zero; recipient n of it (n from 1) is that id + n. So a message's recipients are one
range of the primary key, and the message is known from any of its recipients without a column or an index for it.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811  (a uuid.UUID made in C: ids are made and read per message)


def new_id(at: float | None = None) -> UUID:
    """A fresh UUIDv7 of now, or of `at` (Unix seconds, heeded to the microsecond)."""
    tail = bytearray(os.urandom(8))
    tail[0] = 0x80 | (tail[0] & 0x3F)
    made: UUID = FastUUID(_time_octets(at) + tail)
    return made


def new_message_id(at: float | None = None) -> UUID:
    """A fresh id with room for the recipients' ordinals."""
    tail = bytearray(os.urandom(6))
    tail[0] = 0x80 | (tail[0] & 0x3F)
    made: UUID = FastUUID(_time_octets(at) + tail + b"\0\0")
    return made


def _time_octets(at: float | None) -> bytes:
    """The first half: milliseconds, version 7, and the fraction in units of 1/4096 ms."""
    ms, us = divmod(time.time_ns() // 1000 if at is None else round(at * 1_000_000), 1000)
    return (ms << 16 | 0x7000 | us * 4096 // 1000).to_bytes(8, "big")


def recipient_id(message_id: UUID, ordinal: int) -> UUID:
    """The id of recipient `ordinal` (1 to 65,535) of a message."""
    made: UUID = FastUUID(message_id.bytes[:14] + ordinal.to_bytes(2, "big"))
    return made


def message_of(recipient: UUID) -> UUID:
    """The message that a recipient id (or a message id) belongs to."""
    made: UUID = FastUUID(recipient.bytes[:14] + b"\0\0")
    return made


def is_message(some_id: UUID) -> bool:
    return some_id.bytes[14:] == b"\0\0"


def last_of_message(message_id: UUID) -> UUID:
    """The upper bound of the ids of a message's recipients."""
    made: UUID = FastUUID(message_id.bytes[:14] + b"\xff\xff")
    return made


def milliseconds_of(some_id: UUID) -> int:
    return int.from_bytes(some_id.bytes[:6], "big")


def time_of(some_id: UUID) -> datetime:
    """When the id was made, to the millisecond, UTC."""
    return datetime.fromtimestamp(milliseconds_of(some_id) / 1000, UTC)


def floor_of(at: datetime) -> UUID:
    """The least id that could have been made at `at`: a bound for range scans and partitions."""
    made: UUID = FastUUID(int(at.timestamp() * 1000).to_bytes(6, "big") + bytes(10))
    return made


def public_id(prefix: str, some_id: UUID) -> str:
    """The form that leaves the house: msg_…, rcp_…, evt_…, whk_…"""
    return f"{prefix}_{some_id.hex}"


def askable(text: str) -> str:
    """A name or id as a request has it; one that PostgreSQL could not even be asked for (NUL, half a surrogate pair) is "": nobody's."""
    return text if text.isascii() and "\0" not in text else ""


def parse_public_id(prefix: str, text: str) -> UUID | None:
    """The id in a public form, or None when it is not one of that kind."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != 32 or not digits.isascii() or not digits.isalnum():
        return None
    try:
        made: UUID = FastUUID(bytes.fromhex(digits))
    except ValueError:
        return None
    return made
