"""Recipients as they come back: by the id that stands in a token. Who was erased does not come back (store.erasure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.store.db import HotConnection
from app.store.erasure import ERASED
from app.store.ids import message_of

# A recipient's count of events is a smallint. Whoever holds a token could go on for ever: what would pass this is not counted.
_MOST_EVENTS = 30_000


async def find_address(connection: HotConnection, account_id: int, recipient_id: UUID) -> str | None:
    """By primary key."""
    query = "SELECT address FROM recipients WHERE account_id = $1 AND id = $2"
    address: str | None = await connection.fetchval(query, account_id, recipient_id)
    return address if address != ERASED else None


async def find_sender(connection: HotConnection, account_id: int, recipient_id: UUID) -> str | None:
    """The address in From of the recipient's message; by primary key. None when the message is no longer kept."""
    query = "SELECT from_address FROM messages WHERE account_id = $1 AND id = $2"
    sender: str | None = await connection.fetchval(query, account_id, message_of(recipient_id))
    return sender


async def number_event(connection: HotConnection, account_id: int, recipient_id: UUID) -> int | None:
    """The number of the recipient's next event; None when there is no such recipient (any more), or too many events of it."""
    number: int | None = await connection.fetchval(
        "UPDATE recipients SET events = events + 1 WHERE account_id = $1 AND id = $2 AND events < $3 AND address <> $4 RETURNING events",
        account_id,
        recipient_id,
        _MOST_EVENTS,
        ERASED,
    )
    return number


async def find_stream(connection: HotConnection, account_id: int, recipient_id: UUID) -> str | None:
    """The stream of the recipient's message; by primary key."""
    query = "SELECT stream FROM messages WHERE account_id = $1 AND id = $2"
    stream: str | None = await connection.fetchval(query, account_id, message_of(recipient_id))
    return stream


async def find_leavable_stream(connection: HotConnection, account_id: int, recipient_id: UUID) -> str | None:
    """The same, if it is one that its reader can leave: a bulk stream."""
    query = """
    SELECT m.stream FROM messages m JOIN streams s ON s.account_id = m.account_id AND s.name = m.stream
    WHERE m.account_id = $1 AND m.id = $2 AND s.class = 1
    """
    stream: str | None = await connection.fetchval(query, account_id, message_of(recipient_id))
    return stream


@dataclass(frozen=True, slots=True)
class Engagement:
    """An open, or a click, by a person or a machine."""

    account_id: int
    recipient_id: UUID
    at: datetime
    is_click: bool
    by_person: bool


class Numbered(NamedTuple):
    """The number of its event; whether it is the recipient's first open, or click, by a person."""

    number: int
    address: str
    is_first: bool


# Ids carry their time: the bounds leave out the partitions of other weeks. Rows are locked in the order of their keys.
_MARK = """
WITH i AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[])
         AS i(account_id, id, events, opened_at, clicked_at)
), before AS MATERIALIZED (
    SELECT r.account_id, r.id, r.address, r.events, r.opened_at, r.clicked_at
    FROM recipients r JOIN i ON r.account_id = i.account_id AND r.id = i.id
    WHERE r.id BETWEEN $6 AND $7 AND r.events < $8 AND r.address <> $9
    ORDER BY r.account_id, r.id FOR UPDATE OF r
)
UPDATE recipients r
SET events = r.events + i.events, opened_at = coalesce(r.opened_at, i.opened_at), clicked_at = coalesce(r.clicked_at, i.clicked_at)
FROM before b JOIN i ON i.account_id = b.account_id AND i.id = b.id
WHERE r.account_id = b.account_id AND r.id = b.id AND r.id BETWEEN $6 AND $7
RETURNING b.account_id, b.id, b.address, b.events, b.opened_at IS NULL, b.clicked_at IS NULL
"""


async def mark_engagements(connection: HotConnection, rows: Sequence[Engagement]) -> list[Numbered | None]:
    """Number an event for each, in their order, and mark what is first; None where there is no such recipient, or too many events of it."""
    if not rows:
        return []
    keys = sorted({(r.account_id, r.recipient_id) for r in rows})
    of_key: dict[tuple[int, UUID], list[Engagement]] = {key: [] for key in keys}
    for row in rows:
        of_key[row.account_id, row.recipient_id].append(row)
    found = await connection.fetch(
        _MARK,
        [account_id for account_id, _ in keys],
        [recipient_id for _, recipient_id in keys],
        [len(of_key[key]) for key in keys],
        [_first(of_key[key], is_click=False) for key in keys],
        [_first(of_key[key], is_click=True) for key in keys],
        min(recipient_id for _, recipient_id in keys),
        max(recipient_id for _, recipient_id in keys),
        _MOST_EVENTS,
        ERASED,
    )
    there = {(row[0], row[1]): row for row in found}
    numbered: list[Numbered | None] = []
    told: dict[tuple[int, UUID], int] = {}
    marked: set[tuple[int, UUID, bool]] = set()
    for row in rows:
        key = (row.account_id, row.recipient_id)
        if (one := there.get(key)) is None:
            numbered.append(None)
            continue
        told[key] = told.get(key, 0) + 1
        is_first = row.by_person and one[5 if row.is_click else 4] and (*key, row.is_click) not in marked
        if is_first:
            marked.add((*key, row.is_click))
        numbered.append(Numbered(one[3] + told[key], one[2], is_first))
    return numbered


def _first(rows: Sequence[Engagement], *, is_click: bool) -> datetime | None:
    """When a person did it first among these."""
    return min((row.at for row in rows if row.by_person and row.is_click is is_click), default=None)
