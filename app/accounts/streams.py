"""Streams as the way in asks for them: which there are, and what holds in each.

The StreamBook answers from memory (accounts.memory): the streams of an account are few, and all of them are read at once. `transactional`
and `bulk` are always there; a stream never changes its class, and is archived, not deleted: its mail and its suppressions go by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts.memory import Remembered
from app.errors import Conflict, FieldError, NotFound
from app.store.streams import FIRST_STREAMS, StreamRow

LANE_CLASSES = {"transactional": 0, "bulk": 1}
CLASS_NAMES = {number: name for name, number in LANE_CLASSES.items()}
STREAM_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)
MOST_STREAMS = 100
_ALWAYS_THERE = frozenset(name for name, _, _ in FIRST_STREAMS)


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
        self._found = Remembered(self._ask)

    async def of_account(self, account_id: int) -> Mapping[str, Stream]:
        """The streams of an account that take mail, by name."""
        return await self._found.find(account_id) or {}

    def forget(self, account_id: int) -> None:
        """The account's streams were changed here."""
        self._found.forget(account_id)

    async def _ask(self, account_id: int) -> Mapping[str, Stream] | None:
        async with store.db.refusing_while_away("nothing was accepted"), self._database.reading() as connection:
            rows = await store.streams.list_streams(connection, account_id)
            tracking = await store.accounts.is_tracking(connection, account_id)
        return {row.name: _stream(row, tracking) for row in rows if row.archived_at is None} or None


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
