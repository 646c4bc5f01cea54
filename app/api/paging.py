"""Pages: opaque cursors, and the times that a list lies between.

A cursor is a place in one list, as base64url of a letter for the list and the sort key. It carries no account: every query names
the caller's own, so that a cursor of somebody else is only a place in time. It may be kept and used again later.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.errors import FieldError, InvalidRequest
from app.mail.times import read_time
from app.store.events import Cursor
from app.store.ids import floor_of, milliseconds_of
from app.store.suppressions import Place

_EVENTS = b"e"
_SUPPRESSIONS = b"s"
# Lists in the order of their ids.
MESSAGES = b"m"
ATTEMPTS = b"a"
TEMPLATES = b"t"
INBOUND = b"i"
# Ids outside of these years were not made here, and reckoning with their times could overflow.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SANE_MS = range(10**12, 10**14)


def write_id_cursor(kind: bytes, last: UUID) -> str:
    return _write(kind + last.bytes)


def read_id_cursor(kind: bytes, text: str | None) -> UUID | None:
    return None if text is None else UUID(bytes=_read(text, kind, 16, "cursor"))


def write_event_cursor(cursor: Cursor) -> str:
    return _write(_EVENTS + int(cursor.xid).to_bytes(8, "big") + cursor.id.bytes)


def read_event_cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    key = _read(text, _EVENTS, 24, "after")
    some_id = UUID(bytes=key[8:])
    if some_id.int and milliseconds_of(some_id) not in _SANE_MS:
        raise _no_cursor("after")
    return Cursor(str(int.from_bytes(key[:8], "big")), some_id)


def write_suppression_cursor(place: Place) -> str:
    microseconds = (place.created_at - _EPOCH) // timedelta(microseconds=1)
    return _write(_SUPPRESSIONS + microseconds.to_bytes(8, "big") + f"{place.address}\0{place.stream}".encode())


def read_suppression_cursor(text: str | None) -> Place | None:
    if text is None:
        return None
    key = _decode(text, _SUPPRESSIONS, "cursor")
    microseconds = int.from_bytes(key[:8], "big")
    try:
        address, stream = key[8:].decode().split("\0")
    except ValueError as error:  # what is no UTF-8 among them
        raise _no_cursor("cursor") from error
    if microseconds // 1000 not in _SANE_MS:
        raise _no_cursor("cursor")
    return Place(_EPOCH + timedelta(microseconds=microseconds), address, stream)


def read_moment(text: str | None, name: str) -> datetime | None:
    """The time in the parameter `name`."""
    try:
        return read_time(text) if text is not None else None
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError(f"?{name}", "invalid_time", str(error))]) from error


def bound_of(at: datetime | None, unbounded: UUID) -> UUID:
    """The least id of a time; times before all ids are the beginning."""
    return floor_of(max(at, _EPOCH)) if at is not None else unbounded


def _write(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def _read(text: str, kind: bytes, length: int, name: str) -> bytes:
    key = _decode(text, kind, name)
    if len(key) != length:
        raise _no_cursor(name)
    return key


def _decode(text: str, kind: bytes, name: str) -> bytes:
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _no_cursor(name) from error
    if key[:1] != kind:
        raise _no_cursor(name)
    return key[1:]


def _no_cursor(name: str) -> InvalidRequest:
    return InvalidRequest.of_fields([FieldError(f"?{name}", "invalid_cursor", "It is not a cursor of this list.")])
