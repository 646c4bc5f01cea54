"""Events: what became of every message. Written by events.record alone, read by cursor.

The cursor is (xid, id): `xid` is the writing transaction, and readers see only rows below the oldest transaction still under
way. A cursor on a plain sequence loses rows whose transaction commits after a later number was read.
The primary key is the feed's own index; the second index gives a message's timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from app.store.db import HotConnection, metadata
from app.store.ids import floor_of, last_of_message, time_of


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id; read and given as text."""

    cache_ok = True

    def get_col_spec(self, **_kw: Any) -> str:
        return "xid8"


# So that reflection (alembic check) knows the type.
ischema_names["xid8"] = Xid8

events = Table(
    "events",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("xid", Xid8, nullable=False, server_default=text("feed_xid()")),
    Column("id", Uuid, nullable=False),  # UUIDv7: its time is occurred_at
    Column("about", Uuid, nullable=False),  # the recipient's id; of `accepted` the message's
    Column("type", Text, nullable=False),
    Column("number", SmallInteger, nullable=False),  # the recipient's own count of events
    Column("facts", JSON, nullable=False),
    PrimaryKeyConstraint("account_id", "xid", "id"),
    Index("ix_events_about", "account_id", "about"),
    postgresql_partition_by="RANGE (id)",
)


@dataclass(slots=True)
class EventRow:
    account_id: int
    id: UUID
    about: UUID
    type: str
    number: int
    facts: str  # JSON text


_INSERT = """
INSERT INTO events (account_id, id, about, type, number, facts)
SELECT account_id, id, about, type, number, facts::json
FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::text[]) AS i(account_id, id, about, type, number, facts)
"""


async def insert_events(connection: HotConnection, rows: Sequence[EventRow]) -> None:
    await connection.execute(
        _INSERT,
        [r.account_id for r in rows],
        [r.id for r in rows],
        [r.about for r in rows],
        [r.type for r in rows],
        [r.number for r in rows],
        [r.facts for r in rows],
    )


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an account's feed: everything up to it has been read."""

    xid: str
    id: UUID


@dataclass(slots=True)
class FeedRow:
    xid: str
    id: UUID
    about: UUID
    type: str
    number: int
    facts: str  # JSON text, as written
    address: str | None  # the recipient's; None for `accepted`
    stream: str | None
    tags: str | None  # JSON text
    metadata: str | None  # JSON text

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.xid, self.id)


# What a FeedRow is made of, where `v` is an event of the account $1. A message's low 16 bits are zero (store.ids).
FEED_COLUMNS = "v.xid::text, v.id, v.about, v.type, v.number, v.facts::text, r.address, m.stream, m.tags::text, m.metadata::text"
FEED_JOINS = """
LEFT JOIN messages m ON m.account_id = $1 AND m.id = overlay(v.about::text placing '0000' from 33)::uuid
LEFT JOIN recipients r ON r.account_id = $1 AND r.id = v.about
"""

# Ids are made by the clocks of several machines and their rows commit in another order: the bound that spares old partitions is
# taken well before the cursor's time.
CLOCK_SLACK = timedelta(days=1)

# The innermost query is one range of the primary key; only what it found is joined. What is summed up are the octets of facts (an
# account's own words beside them have 4 KB at most); those that would be too many are not sent.
_FEED = f"""
SELECT * FROM (
    SELECT {FEED_COLUMNS}, lead(true, 1, false) OVER w AS has_next, row_number() OVER w AS place,
           sum(octet_length(v.facts::text)) OVER w AS octets
    FROM (
        SELECT * FROM events
        WHERE account_id = $1 AND (xid, id) > ($2::text::xid8, $3) AND id >= $4 AND xid < feed_horizon()
        ORDER BY xid, id LIMIT $5
    ) v
    {FEED_JOINS}
    WINDOW w AS (ORDER BY v.xid, v.id ROWS UNBOUNDED PRECEDING)
) s
WHERE s.octets <= $6 OR s.place = 1 ORDER BY s.place
"""  # noqa: S608  (constants above)

BEGINNING = Cursor("0", UUID(int=0))
# Of what is read at once: the event of a mail that came in may have 80 KB, and readers ask for thousands.
MOST_OCTETS = 4 * 1024 * 1024


class FeedSlice(NamedTuple):
    """Events in the order of the cursor. `has_more`: the slice is full, by number or by octets."""

    rows: list[FeedRow]
    has_more: bool


async def read_feed(
    connection: HotConnection, account_id: int, after: Cursor | None, limit: int, most_octets: int = MOST_OCTETS
) -> FeedSlice:
    """The next events of an account after a cursor; one at least, if there is any, however large it is.

    Of every type: a reader that wants some types filters what it gets and moves its cursor over the rest.
    """
    start = after or BEGINNING
    floor = floor_of(time_of(start.id) - CLOCK_SLACK) if start.id.int else start.id
    found = await connection.fetch(_FEED, account_id, start.xid, start.id, floor, limit, most_octets)
    return FeedSlice([FeedRow(*row[:10]) for row in found], len(found) == limit or bool(found and found[-1][10]))


@dataclass(frozen=True, slots=True)
class TimelineRow:
    id: UUID
    about: UUID
    type: str
    number: int
    facts: str  # JSON text


async def read_timeline(connection: HotConnection, account_id: int, message_id: UUID, limit: int) -> list[TimelineRow]:
    """What happened to a message and its recipients, oldest first (ix_events_about)."""
    query = (
        "SELECT id, about, type, number, facts::text FROM events"
        " WHERE account_id = $1 AND about BETWEEN $2 AND $3 AND id >= $4 ORDER BY id LIMIT $5"
    )
    floor = floor_of(time_of(message_id) - CLOCK_SLACK)
    return [TimelineRow(*row) for row in await connection.fetch(query, account_id, message_id, last_of_message(message_id), floor, limit)]


@dataclass(frozen=True, slots=True)
class HitCount:
    """How often a recipient opened, or clicked, as far as is known now."""

    about: UUID
    type: str
    all: int
    by_persons: int


# Of the corrections of a hit the last one holds.
_COUNT_HITS = """
WITH told AS MATERIALIZED (
    SELECT about, type, number, facts FROM events
    WHERE account_id = $1 AND about BETWEEN $2 AND $3 AND id >= $4
      AND type IN ('message.opened', 'message.clicked', 'message.reclassed')
), last AS (
    SELECT DISTINCT ON (about, hit) about, hit, by FROM (
        SELECT about, (facts->>'event_number')::int AS hit, facts->>'by' AS by, number FROM told WHERE type = 'message.reclassed'
    ) c ORDER BY about, hit, number DESC
)
SELECT t.about, t.type, count(*), count(*) FILTER (WHERE coalesce(l.by, t.facts->>'by') = 'person')
FROM told t LEFT JOIN last l ON l.about = t.about AND l.hit = t.number
WHERE t.type <> 'message.reclassed' GROUP BY t.about, t.type
"""


async def count_hits(connection: HotConnection, account_id: int, message_id: UUID) -> list[HitCount]:
    """Opens and clicks of a message's recipients (ix_events_about)."""
    floor = floor_of(time_of(message_id) - CLOCK_SLACK)
    return [HitCount(*row) for row in await connection.fetch(_COUNT_HITS, account_id, message_id, last_of_message(message_id), floor)]
