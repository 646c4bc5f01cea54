"""Streams as the way in asks for them: which there are, and what holds in each.

The StreamBook answers from memory: the streams of an account are few, and all of them are read at once. A change is seen by other
processes within CACHE_SECONDS. `transactional` and `bulk` are always there; a stream never changes its class, and is archived, not
deleted: its mail and its suppressions go by its name.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.errors import Conflict, FieldError, NotFound, Unavailable
from app.store.streams import FIRST_STREAMS, StreamRow

LANE_CLASSES = {"transactional": 0, "bulk": 1}
CLASS_NAMES = {number: name for name, number in LANE_CLASSES.items()}
STREAM_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)
MOST_STREAMS = 100
CACHE_SECONDS = 10.0
_REMEMBERED = 10_000
_GRACE_SECONDS = 1.0
_ALWAYS_THERE = frozenset(name for name, _, _ in FIRST_STREAMS)
_AWAY: tuple[type[BaseException], ...] = (*store.db.CONNECTION_ERRORS, DBAPIError, PoolTimeout)


@dataclass(frozen=True, slots=True)
class Stream:
    """What holds for the mail of a stream; None where the settings hold. `tracking` is the account's switch: off is off."""

    name: str
    lane_class: int
    title: str
    description: str
    tracking: bool
    track_opens: bool
    track_clicks: bool
    content_retention_days: int | None
    max_age_hours: float | None
    list_id: str | None


class StreamBook:
    """Streams as the hot path asks for them, remembered for a few seconds."""

    def __init__(self, database: store.db.Database) -> None:
        self._database = database
        self._found: OrderedDict[int, tuple[Mapping[str, Stream], float]] = OrderedDict()

    async def of_account(self, account_id: int) -> Mapping[str, Stream]:
        """The streams of an account that take mail, by name."""
        remembered = self._found.get(account_id)
        now = time.monotonic()
        if remembered is not None:
            if remembered[1] > now:
                return remembered[0]
            # One asks; the others go on with what was known, for the moment that takes.
            self._found[account_id] = (remembered[0], now + _GRACE_SECONDS)
        try:
            async with self._database.reading() as connection:
                rows = await store.streams.list_streams(connection, account_id)
                tracking = await store.accounts.is_tracking(connection, account_id)
        except _AWAY as error:
            self._found.pop(account_id, None)
            raise Unavailable("The database is not reachable; nothing was accepted.", retry_after_seconds=2) from error
        found = {row.name: _stream(row, tracking) for row in rows if row.archived_at is None}
        self._found[account_id] = (found, time.monotonic() + CACHE_SECONDS)
        self._found.move_to_end(account_id)
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return found

    def forget(self, account_id: int) -> None:
        """The account's streams were changed here."""
        self._found.pop(account_id, None)


def _stream(row: StreamRow, tracking: bool) -> Stream:
    return Stream(
        row.name,
        row.lane_class,
        row.title,
        row.description,
        tracking,
        row.track_opens,
        row.track_clicks,
        row.content_retention_days,
        row.max_age_hours,
        row.list_id,
    )


def unknown_stream(pointer: str, known: Iterable[str], also: str = "") -> FieldError:
    """The refusal of a name that no stream has; `also` is said before those that there are."""
    return FieldError(pointer, "unknown_stream", f"There is no such stream; {also}there are {', '.join(sorted(known))}.")


async def add_stream(connection: AsyncConnection, account_id: int, name: str, values: Mapping[str, Any]) -> StreamRow:
    """Add a stream; Conflict when the name is taken (by an archived one too) or there are MOST_STREAMS."""
    made = await store.streams.insert_stream(connection, account_id, {"name": name, **values}, MOST_STREAMS)
    if made is None:
        raise Conflict(f"The account has a stream of this name already, or has {MOST_STREAMS} of them.")
    return made


async def change_stream(connection: AsyncConnection, account_id: int, name: str, changes: Mapping[str, Any]) -> StreamRow:
    """Change a stream. NotFound when there is none; Conflict when one that is always there would be archived."""
    if changes.get("archived") and name in _ALWAYS_THERE:
        raise Conflict(f"The stream {name} is always there: it cannot be archived.")
    changed = await store.streams.update_stream(connection, account_id, name, changes)
    if changed is None:
        raise NotFound("There is no such stream.")
    return changed
