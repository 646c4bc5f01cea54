"""The queue: one narrow row per recipient that is still to be decided. PostgreSQL is the queue.

Inserted at accept, claimed by setting `owner` (a worker's id; ids are never used twice, so the owner is also the fence),
deleted at settle or put back with a new `due_at`. Of a ready row `due_at` says since when it is ready: claims walk on from there, so
whatever makes a row ready (again) or moves it sets it to now. A held row is due at 'infinity'.

Two partial indexes: what is ready, by lane and account; what waits, by time. Neither names what a claim changes, and pages are half
empty, so a claimed row stays on its page (HOT) and no index is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, Index, Integer, SmallInteger, Table, Uuid, text

from app.store.db import HotConnection, metadata

UNKNOWN_SITE = 0  # nobody has looked the domain up yet
NO_SITE = -1  # the domain has no route now, or another each time: delivery finds out why and says so
SUSPECT_SITE = -2  # workers died with it: a few at once are claimed
ALONE_SITE = -3  # … again and again: claimed alone

# Poison: a row that makes its worker die. What the deaths of workers that had a row in hand, since it was last settled (`claims`), make
# of it:
#     0, 1   nothing: workers are killed, and then hundreds of rows were in hand
#     2, 3   SUSPECT_SITE: few such rows are in a worker's hands at once, so few will be tried alone when that worker dies too
#     4, 5   ALONE_SITE: claimed with nothing else in the worker's hands
#     6      held, with the reason
# So a poisonous row costs six workers, and no row is held for its company's sake: that counts for the first four only.
SUSPECT_FROM_CLAIMS = 2
ALONE_FROM_CLAIMS = 4
HELD_FROM_CLAIMS = 6

queue = Table(
    "queue",
    metadata,
    Column("recipient_id", Uuid, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("account_id", Integer, nullable=False),
    Column("site_id", Integer, nullable=False),  # a hint: 0 = not yet known, below: lanes of exceptions
    Column("bytes", Integer, nullable=False),
    Column("owner", Integer),
    Column("class", SmallInteger, nullable=False),  # 0 transactional, 1 bulk
    Column("claims", SmallInteger, nullable=False, server_default="0"),  # since the last settle
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("ready", Boolean, nullable=False),
    Column("maybe_sent", Boolean, nullable=False, server_default="false"),
    Index(
        "ix_queue_ready",
        "site_id",
        "class",
        "account_id",
        "due_at",
        postgresql_where=text("ready"),
    ),
    Index("ix_queue_due", "due_at", postgresql_where=text("NOT ready")),
    # Short lives, many dead rows: vacuum by count, without the pauses meant for large cold tables.
    postgresql_with={
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "20000",
        "autovacuum_vacuum_insert_scale_factor": "0",
        "autovacuum_vacuum_insert_threshold": "200000",
        "autovacuum_analyze_scale_factor": "0",
        "autovacuum_analyze_threshold": "500000",
        "autovacuum_vacuum_cost_delay": "0",
    },
)


class Share(NamedTuple):
    """What an account has ready in a lane: the unit of a fair claim."""

    site_id: int
    lane_class: int
    account_id: int


@dataclass(slots=True)
class Ask:
    """Take up to `take` rows of a share, from those ready since `after`."""

    share: Share
    after: datetime
    take: int


@dataclass(slots=True)
class Claimed:
    """A row in a worker's hands."""

    recipient_id: UUID
    account_id: int
    site_id: int
    lane_class: int
    bytes: int
    due_at: datetime
    claims: int
    attempts: int
    maybe_sent: bool

    @property
    def share(self) -> Share:
        return Share(self.site_id, self.lane_class, self.account_id)


# The worker's own row is locked against its deletion: a worker that was given up cannot claim any more, and one that is being
# given up has its last claims seen (workers.take_over).
_CLAIM = """
WITH alive AS MATERIALIZED (
    SELECT id FROM workers WHERE id = $1 FOR KEY SHARE
), picked AS MATERIALIZED (
    SELECT q.place
    FROM alive
    CROSS JOIN unnest($2::int[], $3::smallint[], $4::int[], $5::timestamptz[], $6::int[]) AS a(site_id, class, account_id, after, take)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM queue
        WHERE site_id = a.site_id AND class = a.class AND account_id = a.account_id AND ready AND owner IS NULL AND due_at >= a.after
        ORDER BY due_at LIMIT a.take FOR UPDATE SKIP LOCKED
    ) q
    LIMIT $7
)
UPDATE queue q SET owner = $1, claims = claims + 1
WHERE q.ctid = ANY (ARRAY(SELECT place FROM picked)::tid[])
RETURNING q.recipient_id, q.account_id, q.site_id, q.class, q.bytes, q.due_at, q.claims, q.attempts, q.maybe_sent
"""


async def claim(connection: HotConnection, owner: int, asks: Sequence[Ask], limit: int | None = None) -> list[Claimed]:
    """Take ready rows of several shares at once, oldest first in each; rows that another worker is taking are passed over.

    At most `limit` rows in all: the asks are met in their order, and those after it are not looked at.

    Walks ix_queue_ready from `after` of each share: without that bound every claim would wade through the dead entries of all
    rows claimed before it, as long as some old snapshot keeps vacuum from removing them.
    """
    rows = await connection.fetch(
        _CLAIM,
        owner,
        [a.share.site_id for a in asks],
        [a.share.lane_class for a in asks],
        [a.share.account_id for a in asks],
        [a.after for a in asks],
        [a.take for a in asks],
        limit,
    )
    return [Claimed(*row) for row in rows]


# A loose index scan: one probe of ix_queue_ready per share, however many rows it has.
_SURVEY = """
WITH RECURSIVE share AS (
    (SELECT site_id, class, account_id FROM queue
     WHERE ready AND owner IS NULL AND (site_id, class, account_id) > ($1, $2, $3)
     ORDER BY site_id, class, account_id LIMIT 1)
    UNION ALL
    SELECT n.site_id, n.class, n.account_id FROM share s CROSS JOIN LATERAL (
        SELECT site_id, class, account_id FROM queue
        WHERE ready AND owner IS NULL AND (site_id, class, account_id) > (s.site_id, s.class, s.account_id)
        ORDER BY site_id, class, account_id LIMIT 1
    ) n
)
SELECT site_id, class, account_id FROM share LIMIT $4
"""

FIRST_SHARE = Share(-32768, -1, -1)


async def survey_shares(connection: HotConnection, after: Share, limit: int) -> list[Share]:
    """The shares that have ready rows, in key order from `after`; fewer than `limit` means that the end was reached."""
    return [Share(*row) for row in await connection.fetch(_SURVEY, *after, limit)]


_PROMOTE = """
UPDATE queue q SET ready = true, due_at = now()
FROM (SELECT recipient_id FROM queue WHERE NOT ready AND due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) d
WHERE q.recipient_id = d.recipient_id
RETURNING q.site_id, q.class, q.account_id
"""


async def promote_due(connection: HotConnection, limit: int) -> list[Share]:
    """Make rows ready whose time has come (send_at, retry); returns the shares they lie in, one per row."""
    return [Share(*row) for row in await connection.fetch(_PROMOTE, limit)]


async def release(connection: HotConnection, owner: int, recipient_ids: Sequence[UUID], site_id: int | None = None) -> None:
    """Give claimed rows back untried, to another lane if one is named: a worker that stops, or that finds their domain elsewhere."""
    await connection.execute(
        "UPDATE queue SET owner = NULL, claims = claims - 1, due_at = now(), site_id = coalesce($3, site_id)"
        " WHERE recipient_id = ANY($1::uuid[]) AND owner = $2",
        recipient_ids,
        owner,
        site_id,
    )


async def release_strays(connection: HotConnection, owner: int, held: Sequence[UUID]) -> list[Share]:
    """Give back what is in a worker's name but not in its hands; returns their shares, one per row. Scans the queue."""
    rows = await connection.fetch(
        "UPDATE queue SET owner = NULL, claims = claims - 1, due_at = now() WHERE owner = $1 AND recipient_id <> ALL($2::uuid[])"
        " RETURNING site_id, class, account_id",
        owner,
        held,
    )
    return [Share(*row) for row in rows]


_FREE = f"""
UPDATE queue
SET owner = NULL, maybe_sent = true, ready = claims < {HELD_FROM_CLAIMS},
    due_at = CASE WHEN claims < {HELD_FROM_CLAIMS} THEN clock_timestamp() ELSE 'infinity' END,
    site_id = CASE WHEN claims < {SUSPECT_FROM_CLAIMS} THEN site_id
                   WHEN claims < {ALONE_FROM_CLAIMS} THEN {SUSPECT_SITE} ELSE {ALONE_SITE} END
WHERE owner = ANY($1::int[])
RETURNING recipient_id, account_id, site_id, class, bytes, due_at, claims, attempts, maybe_sent
"""  # noqa: S608  (the constants above)


async def free_rows_of(connection: HotConnection, owners: Sequence[int]) -> list[Claimed]:
    """Take every row away from workers that were given up. The receiver may have got these mails: each is marked so.

    Scans the queue: it happens when a worker dies, and an index on owner would cost every claim.
    """
    return [Claimed(*row) for row in await connection.fetch(_FREE, owners)]


async def place(connection: HotConnection, recipient_ids: Sequence[UUID], site_ids: Sequence[int]) -> None:
    """Move rows that nobody has claimed to the lanes of the sites that were found for them."""
    await connection.execute(
        "UPDATE queue q SET site_id = p.site_id, due_at = now() FROM unnest($1::uuid[], $2::int[]) AS p(recipient_id, site_id)"
        " WHERE q.recipient_id = p.recipient_id AND q.owner IS NULL",
        recipient_ids,
        site_ids,
    )


async def delete_rows(connection: HotConnection, owner: int, recipient_ids: Sequence[UUID]) -> None:
    """Drop claimed rows whose message no longer exists (its partition was dropped by age)."""
    await connection.execute("DELETE FROM queue WHERE recipient_id = ANY($1::uuid[]) AND owner = $2", recipient_ids, owner)


async def withdraw(connection: HotConnection, account_id: int, recipient_ids: Sequence[UUID]) -> list[UUID]:
    """Take rows that nobody has claimed out of the queue; returns which. A row that is just being claimed is left to its claim."""
    rows = await connection.fetch(
        """
        DELETE FROM queue WHERE recipient_id IN (
            SELECT recipient_id FROM queue WHERE recipient_id = ANY($2::uuid[]) AND account_id = $1 AND owner IS NULL FOR UPDATE SKIP LOCKED
        ) RETURNING recipient_id
        """,
        account_id,
        recipient_ids,
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of a class lies in the queue in one state: ready, claimed, waiting (for its time) or held."""

    lane_class: int
    state: str
    rows: int
    oldest_seconds: float


async def read_depths(connection: HotConnection) -> list[Depth]:
    """Reads the whole queue: for scrapes, not for paths of mail."""
    rows = await connection.fetch(
        """
        SELECT class,
               CASE WHEN owner IS NOT NULL THEN 'claimed' WHEN ready THEN 'ready' WHEN due_at = 'infinity' THEN 'held' ELSE 'waiting' END,
               count(*), coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float8
        FROM queue GROUP BY 1, 2
        """
    )
    return [Depth(row[0], row[1], row[2], row[3]) for row in rows]
