"""Opens and clicks that are to be looked at a second time, when it is known what came with them.

A row is written with its hit and goes in two steps: it is *seen* in the transaction that corrects what was said, and stays for a little as
company of those beside it (a crowd is counted here), then it is deleted. One that cannot be judged is put off (store.tries). It holds when,
whose and which event, and of who asked one number (feedback.hindsight.asker_of); no address of anybody. A HEAD has a row too, though no
event: its number is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid

from app.store.db import HotConnection, metadata
from app.store.erasure import ERASED
from app.store.events import CLOCK_SLACK
from app.store.ids import floor_of, time_of
from app.store.tries import GIVEN_UP, MOST_TRIES, growing

second_looks = Table(
    "second_looks",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("recipient_id", Uuid, nullable=False),
    Column("number", SmallInteger, nullable=False),  # of the hit's event; 0: a HEAD
    Column("at", DateTime(timezone=True), nullable=False),
    Column("kind", Text, nullable=False),  # open, click, head
    Column("asker", BigInteger, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),  # to be looked at; once seen: to be deleted
    Column("seen", Boolean, nullable=False, server_default="false"),
    Column("tries", SmallInteger, nullable=False, server_default="0"),  # that failed
    PrimaryKeyConstraint("account_id", "recipient_id", "number", "at"),
    Index("ix_second_looks_due", "due_at"),
    Index("ix_second_looks_asker", "account_id", "asker", "at"),
)

# Who has more events than this is not looked at: no person opens and follows so often, and each look reads them all.
MOST_EVENTS = 200
_MOST_HEADS = 1000
_MOST_COMPANY = 200  # clicks that are counted as one's company
# For so long what was seen is still company of what is looked at later; and what is there for company alone.
_COMPANY_SECONDS = 60.0
_ONLY_COMPANY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Look:
    account_id: int
    recipient_id: UUID
    number: int
    at: datetime
    kind: str
    asker: int
    company: bool = False  # there to be counted with others, not to be looked at


_ADD = """
INSERT INTO second_looks (account_id, recipient_id, number, at, kind, asker, seen, due_at)
SELECT i.*, clock_timestamp() + make_interval(secs => CASE WHEN i.company THEN $9 ELSE $8::float8 END)
FROM unnest($1::int[], $2::uuid[], $3::smallint[], $4::timestamptz[], $5::text[], $6::bigint[], $7::bool[])
     AS i(account_id, recipient_id, number, at, kind, asker, company)
ON CONFLICT (account_id, recipient_id, number, at) DO UPDATE
SET seen = second_looks.seen AND excluded.seen, tries = 0, due_at = CASE
    WHEN NOT excluded.seen THEN excluded.due_at
    WHEN second_looks.seen THEN greatest(second_looks.due_at, excluded.due_at)
    ELSE second_looks.due_at END
"""


async def add_looks(connection: HotConnection, rows: Sequence[Look], seconds: float) -> None:
    """Have these looked at in so many seconds; those that are there already too."""
    ordered = sorted({(r.account_id, r.recipient_id, r.number, r.at): r for r in rows}.items())
    columns = zip(*((r.account_id, r.recipient_id, r.number, r.at, r.kind, r.asker, r.company) for _, r in ordered), strict=True)
    if ordered:
        await connection.execute(_ADD, *(list(column) for column in columns), seconds, _ONLY_COMPANY_SECONDS)


_TAKE = """
SELECT account_id, recipient_id, number, at FROM second_looks
WHERE due_at <= now() AND NOT seen ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""


class Taken(NamedTuple):
    account_id: int
    recipient_id: UUID
    number: int
    at: datetime


async def take_looks(connection: HotConnection, limit: int) -> list[Taken]:
    """What is due and nobody has in hand, until the caller's transaction ends."""
    return [Taken(*row) for row in await connection.fetch(_TAKE, limit)]


async def end_looks(connection: HotConnection, rows: Sequence[Taken]) -> None:
    """These were looked at."""
    await connection.execute(
        "UPDATE second_looks l SET seen = true, due_at = now() + make_interval(secs => $5)"
        " FROM unnest($1::int[], $2::uuid[], $3::smallint[], $4::timestamptz[]) AS i(account_id, recipient_id, number, at)"
        " WHERE l.account_id = i.account_id AND l.recipient_id = i.recipient_id AND l.number = i.number AND l.at = i.at",
        *_columns(rows),
        _COMPANY_SECONDS,
    )


def _columns(rows: Sequence[Taken]) -> list[list[Any]]:
    return [[r.account_id for r in rows], [r.recipient_id for r in rows], [r.number for r in rows], [r.at for r in rows]]


_PUT_OFF = f"""
UPDATE second_looks l SET tries = l.tries + 1,
    due_at = CASE WHEN l.tries + 1 >= {MOST_TRIES} THEN {GIVEN_UP} ELSE now() + {growing("60", "l.tries")} END
FROM unnest($1::int[], $2::uuid[], $3::smallint[], $4::timestamptz[]) AS i(account_id, recipient_id, number, at)
WHERE l.account_id = i.account_id AND l.recipient_id = i.recipient_id AND l.number = i.number AND l.at = i.at
RETURNING l.tries
"""  # noqa: S608  (expressions of our own)


async def put_off_looks(connection: HotConnection, rows: Sequence[Taken]) -> int:
    """These could not be judged: not now, or not again. How often that was tried."""
    tries: int = max(row[0] for row in await connection.fetch(_PUT_OFF, *_columns(rows)))
    return tries


@dataclass(frozen=True, slots=True)
class LooksDue:
    rows: int
    oldest_seconds: float
    given_up: int


_DUE = f"""
SELECT count(*), coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8,
       (SELECT count(*) FROM second_looks WHERE due_at = {GIVEN_UP})
FROM second_looks WHERE due_at <= now() AND NOT seen
"""  # noqa: S608  (a constant)


async def read_due(connection: HotConnection) -> LooksDue:
    """What waits for workers (ix_second_looks_due)."""
    return LooksDue(*await connection.fetchrow(_DUE))


async def drop_seen(connection: HotConnection) -> None:
    """Those that are nobody's company any more."""
    await connection.execute(
        "DELETE FROM second_looks WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM second_looks WHERE seen AND due_at <= now() FOR UPDATE SKIP LOCKED))"
    )


# Locked in the order of their keys, as by everybody who writes them.
_LOCK = """
SELECT r.account_id, r.id, r.address, r.maybe_sent
FROM recipients r JOIN unnest($1::int[], $2::uuid[]) AS i(account_id, id) ON r.account_id = i.account_id AND r.id = i.id
WHERE r.id BETWEEN $3 AND $4 AND r.events <= $5 AND r.address <> $6
ORDER BY r.account_id, r.id FOR UPDATE OF r
"""
# An attempt's id is its start, to the millisecond.
_DELIVERED = """
SELECT a.account_id, a.recipient_id, min(a.id::text)::uuid, min(a.total_ms)
FROM attempts a JOIN unnest($1::int[], $2::uuid[]) AS i(account_id, id) ON a.account_id = i.account_id AND a.recipient_id = i.id
WHERE a.recipient_id BETWEEN $3 AND $4 AND a.outcome = 'delivered' AND NOT a.stale
GROUP BY a.account_id, a.recipient_id HAVING count(*) = 1
"""
Key = tuple[int, UUID]


async def lock_recipients(connection: HotConnection, keys: Sequence[Key]) -> dict[Key, tuple[str, UUID | None, int]]:
    """(address, the attempt that delivered, how long it took) of the recipients that are still there and may be looked at, locked."""
    accounts, ids = [account_id for account_id, _ in keys], [recipient_id for _, recipient_id in keys]
    found = await connection.fetch(_LOCK, accounts, ids, min(ids), max(ids), MOST_EVENTS, ERASED)
    attempts = {(row[0], row[1]): (row[2], row[3]) for row in await connection.fetch(_DELIVERED, accounts, ids, min(ids), max(ids))}
    nothing: tuple[UUID | None, int] = (None, 0)
    return {(row[0], row[1]): (row[2], *(nothing if row[3] else attempts.get((row[0], row[1]), nothing))) for row in found}


class Told(NamedTuple):
    """An open, a click, or a correction of one."""

    account_id: int
    about: UUID
    id: UUID
    type: str
    number: int
    facts: str  # JSON text


_TOLD = """
SELECT e.account_id, e.about, e.id, e.type, e.number, e.facts::text
FROM events e JOIN unnest($1::int[], $2::uuid[]) AS i(account_id, id) ON e.account_id = i.account_id AND e.about = i.id
WHERE e.id >= $3 AND e.type = ANY ($4::text[]) ORDER BY e.account_id, e.about, e.number
"""


async def read_told(connection: HotConnection, keys: Sequence[Key], types: Sequence[str]) -> list[Told]:
    """The events of these types about recipients, of each in the order of their numbers (ix_events_about)."""
    ids = [recipient_id for _, recipient_id in keys]
    floor = floor_of(time_of(min(ids)) - CLOCK_SLACK)
    return [Told(*row) for row in await connection.fetch(_TOLD, [account_id for account_id, _ in keys], ids, floor, types)]


_CROWDS = """
SELECT l.account_id, l.recipient_id, l.number, (
    SELECT count(DISTINCT c.recipient_id) FROM (
        SELECT o.recipient_id FROM second_looks o
        WHERE o.account_id = l.account_id AND o.asker = l.asker AND o.kind = 'click'
          AND o.at BETWEEN l.at - make_interval(secs => $3 / 2) AND l.at + make_interval(secs => $3 / 2)
        LIMIT $4
    ) c
)
FROM second_looks l JOIN unnest($1::int[], $2::uuid[]) AS i(account_id, id) ON l.account_id = i.account_id AND l.recipient_id = i.id
WHERE l.kind = 'click'
"""


async def count_crowds(connection: HotConnection, keys: Sequence[Key], seconds: float) -> dict[tuple[int, UUID, int], int]:
    """How many recipients of the account a click's asker followed links of in the same seconds, by the click."""
    accounts, ids = [account_id for account_id, _ in keys], [recipient_id for _, recipient_id in keys]
    return {(row[0], row[1], row[2]): row[3] for row in await connection.fetch(_CROWDS, accounts, ids, seconds, _MOST_COMPANY)}


async def read_heads(connection: HotConnection, keys: Sequence[Key]) -> list[tuple[int, UUID, datetime, int]]:
    """(account, recipient, when, asker) of the HEADs that are still kept."""
    query = (
        "SELECT l.account_id, l.recipient_id, l.at, l.asker FROM second_looks l"
        " JOIN unnest($1::int[], $2::uuid[]) AS i(account_id, id) ON l.account_id = i.account_id AND l.recipient_id = i.id"
        " WHERE l.number = 0 LIMIT $3"
    )
    rows = await connection.fetch(query, [account_id for account_id, _ in keys], [one for _, one in keys], _MOST_HEADS)
    return [(row[0], row[1], row[2], row[3]) for row in rows]


@dataclass(frozen=True, slots=True)
class Marks:
    """How many events are told more of a recipient, and what its marks become; None: that mark stays."""

    account_id: int
    recipient_id: UUID
    events: int
    opened: tuple[datetime | None] | None
    clicked: tuple[datetime | None] | None


_MARK = """
UPDATE recipients r SET events = r.events + i.events,
    opened_at = CASE WHEN i.moves_opened THEN i.opened_at ELSE r.opened_at END,
    clicked_at = CASE WHEN i.moves_clicked THEN i.clicked_at ELSE r.clicked_at END
FROM unnest($1::int[], $2::uuid[], $3::int[], $4::bool[], $5::timestamptz[], $6::bool[], $7::timestamptz[])
     AS i(account_id, id, events, moves_opened, opened_at, moves_clicked, clicked_at)
WHERE r.account_id = i.account_id AND r.id = i.id AND r.id BETWEEN $8 AND $9
RETURNING r.account_id, r.id, r.events - i.events
"""


async def move_marks(connection: HotConnection, rows: Sequence[Marks]) -> dict[Key, int]:
    """Write them, and number the events: of each recipient how many there were before."""
    found = await connection.fetch(
        _MARK,
        [r.account_id for r in rows],
        [r.recipient_id for r in rows],
        [r.events for r in rows],
        [r.opened is not None for r in rows],
        [r.opened[0] if r.opened else None for r in rows],
        [r.clicked is not None for r in rows],
        [r.clicked[0] if r.clicked else None for r in rows],
        min(r.recipient_id for r in rows),
        max(r.recipient_id for r in rows),
    )
    return {(row[0], row[1]): row[2] for row in found}


_HITS = """
WITH slice AS MATERIALIZED (
    SELECT xid, id, about, type, number, facts FROM events
    WHERE account_id = $1 AND (xid, id) > ($2::text::xid8, $3) AND id >= $4 AND id < $5 ORDER BY xid, id LIMIT $6
)
(SELECT xid::text, id, NULL, NULL, NULL, NULL FROM slice ORDER BY xid DESC, id DESC LIMIT 1)
UNION ALL
SELECT xid::text, id, about, type, number, facts::text FROM slice WHERE type = ANY ($7::text[])
"""


class HitSlice(NamedTuple):
    """How far the log was read (None: there is no more), and the hits in it."""

    end: tuple[str, UUID] | None
    hits: list[Told]


async def read_hits(
    connection: HotConnection, account_id: int, after: tuple[str, UUID], span: tuple[UUID, UUID], types: Sequence[str], limit: int
) -> HitSlice:
    """The hits among the next `limit` events of an account that were told in a span."""
    rows = await connection.fetch(_HITS, account_id, *after, *span, limit, types)
    end = next(((row[0], row[1]) for row in rows if row[2] is None), None)
    return HitSlice(end, [Told(account_id, row[2], row[1], row[3], row[4], row[5]) for row in rows if row[2] is not None])
