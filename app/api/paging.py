"""Pages: opaque cursors, bounded limits.

A cursor is a place in one list, as base64url of a letter for the list and the sort key. It carries no account: every query names
the caller's own, so that a cursor of somebody else is only a place in time. It may be kept and used again later.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.errors import FieldError, InvalidRequest
from app.store.events import Cursor
from app.store.ids import floor_of, milliseconds_of
from app.store.suppressions import Place

_EVENTS = b"e"
_MESSAGES = b"m"
_SUPPRESSIONS = b"s"
_ATTEMPTS = b"a"
_TEMPLATES = b"t"
_INBOUND = b"i"
# Ids outside of these years were not made here, and reckoning with their times could overflow.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SANE_MS = range(10**12, 10**14)


def write_event_cursor(cursor: Cursor) -> str:
    return _write(_EVENTS + int(cursor.xid).to_bytes(8, "big") + cursor.id.bytes)


def read_event_cursor(text: str | None, name: str) -> Cursor | None:
    if text is None:
        return None
    key = _read(text, _EVENTS, 24, name)
    some_id = UUID(bytes=key[8:])
    if some_id.int and milliseconds_of(some_id) not in _SANE_MS:
        raise _no_cursor(name)
    return Cursor(str(int.from_bytes(key[:8], "big")), some_id)


def write_message_cursor(last: UUID) -> str:
    return _write(_MESSAGES + last.bytes)


def read_message_cursor(text: str | None, name: str) -> UUID | None:
    return None if text is None else UUID(bytes=_read(text, _MESSAGES, 16, name))


def write_suppression_cursor(place: Place) -> str:
    microseconds = (place.created_at - _EPOCH) // timedelta(microseconds=1)
    return _write(_SUPPRESSIONS + microseconds.to_bytes(8, "big") + f"{place.address}\0{place.stream}".encode())


def read_suppression_cursor(text: str | None, name: str) -> Place | None:
    if text is None:
        return None
    key = _decode(text, _SUPPRESSIONS, name)
    microseconds = int.from_bytes(key[:8], "big")
    try:
        address, stream = key[8:].decode().split("\0")
    except ValueError as error:  # what is no UTF-8 among them
        raise _no_cursor(name) from error
    if microseconds // 1000 not in _SANE_MS:
        raise _no_cursor(name)
    return Place(_EPOCH + timedelta(microseconds=microseconds), address, stream)


def write_attempt_cursor(last: UUID) -> str:
    return _write(_ATTEMPTS + last.bytes)


def read_attempt_cursor(text: str | None, name: str) -> UUID | None:
    return None if text is None else UUID(bytes=_read(text, _ATTEMPTS, 16, name))


def write_template_cursor(last: UUID) -> str:
    return _write(_TEMPLATES + last.bytes)


def read_template_cursor(text: str | None, name: str) -> UUID | None:
    return None if text is None else UUID(bytes=_read(text, _TEMPLATES, 16, name))


def write_inbound_cursor(last: UUID) -> str:
    return _write(_INBOUND + last.bytes)


def read_inbound_cursor(text: str | None, name: str) -> UUID | None:
    return None if text is None else UUID(bytes=_read(text, _INBOUND, 16, name))


def bound_of(at: datetime) -> UUID:
    """The least id of a time; times before all ids are the beginning."""
    return floor_of(max(at, _EPOCH))


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
    detail = "It is not a cursor of this list."
    return InvalidRequest(detail, errors=[FieldError(f"?{name}", "invalid_cursor", detail)])
