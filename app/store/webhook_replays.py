"""Replays: events of the past that are posted to an endpoint once more, a slice at a time.

A replay has a cursor of its own on the log, so that it goes on where it was when a worker dies, and never moves the endpoint's.
Its writes are fenced by the endpoint's owner, as those of a round are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, Table, Text, Uuid, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import HotConnection, metadata
from app.store.events import FEED_COLUMNS, FEED_JOINS, Cursor, FeedRow, Xid8
from app.store.ids import floor_of
from app.store.webhook_rounds import RetryRow, write_retries
from app.store.webhooks import webhook_endpoints

webhook_replays = Table(
    "webhook_replays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False, server_default="running"),  # running, done, cancelled
    # What is wanted: events by name, or all of a time narrowed by the rest. None narrows nothing.
    Column("event_ids", ARRAY(Uuid)),
    Column("from_at", DateTime(timezone=True), nullable=False),
    Column("to_at", DateTime(timezone=True), nullable=False),
    Column("event_types", ARRAY(Text)),
    Column("states", ARRAY(Text)),  # where the events' recipients stand now
    Column("cursor_xid", Xid8, nullable=False, server_default="0"),
    Column("cursor_id", Uuid, nullable=False),
    Column("most_events", Integer, nullable=False),
    Column("posted_events", Integer, nullable=False, server_default="0"),
    Column("failed_posts", Integer, nullable=False, server_default="0"),  # they are tried again like all others
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_webhook_replays_endpoint", "endpoint_id", "id"),
    Index("ix_webhook_replays_running", "endpoint_id", postgresql_where=text("state = 'running'")),
)

KEPT_PER_ENDPOINT = 100  # replays that are over; older ones are forgotten


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as its account sees it."""

    id: UUID
    endpoint_id: UUID
    state: str
    event_ids: Sequence[UUID] | None
    from_at: datetime
    to_at: datetime
    event_types: Sequence[str] | None
    states: Sequence[str] | None
    most_events: int
    posted_events: int
    failed_posts: int
    created_at: datetime
    finished_at: datetime | None


_SHOWN = [webhook_replays.c[name] for name in Replay.__dataclass_fields__]


async def insert_replay(
    connection: AsyncConnection,
    *,
    replay_id: UUID,
    account_id: int,
    endpoint_id: UUID,
    event_ids: Sequence[UUID] | None,
    from_at: datetime,
    to_at: datetime,
    event_types: Sequence[str] | None,
    states: Sequence[str] | None,
    most_events: int,
) -> Replay | None:
    """A new replay; None while one of the endpoint runs (the endpoint's row decides between two at once)."""
    await connection.execute(select(webhook_endpoints.c.id).where(webhook_endpoints.c.id == endpoint_id).with_for_update(key_share=True))
    columns = webhook_replays.c
    running = select(columns.id).where(columns.endpoint_id == endpoint_id, columns.state == "running")
    if (await connection.execute(running)).first() is not None:
        return None
    forget = (
        "DELETE FROM webhook_replays WHERE id IN (SELECT id FROM webhook_replays WHERE endpoint_id = :id ORDER BY id DESC OFFSET :kept)"
    )
    await connection.execute(text(forget), {"id": endpoint_id, "kept": KEPT_PER_ENDPOINT})
    statement = webhook_replays.insert().values(
        id=replay_id,
        account_id=account_id,
        endpoint_id=endpoint_id,
        event_ids=event_ids,
        from_at=from_at,
        to_at=to_at,
        event_types=event_types,
        states=states,
        cursor_id=UUID(int=0),
        most_events=most_events,
    )
    return Replay(*(await connection.execute(statement.returning(*_SHOWN))).one())


async def list_replays(connection: AsyncConnection, account_id: int, endpoint_id: UUID) -> list[Replay]:
    """Newest first (ix_webhook_replays_endpoint)."""
    columns = webhook_replays.c
    query = select(*_SHOWN).where(columns.account_id == account_id, columns.endpoint_id == endpoint_id)
    return [Replay(*row) for row in await connection.execute(query.order_by(columns.id.desc()).limit(KEPT_PER_ENDPOINT))]


async def cancel_replay(connection: AsyncConnection, account_id: int, endpoint_id: UUID, replay_id: UUID) -> Replay | None:
    """End it before its time; one that is over stays as it is. None when there is none."""
    columns = webhook_replays.c
    where = (columns.account_id == account_id, columns.endpoint_id == endpoint_id, columns.id == replay_id)
    await connection.execute(
        webhook_replays.update().where(*where, columns.state == "running").values(state="cancelled", finished_at=func.now())
    )
    row = (await connection.execute(select(*_SHOWN).where(*where))).one_or_none()
    return None if row is None else Replay(*row)


# --- the poster's


@dataclass(frozen=True, slots=True)
class DueReplay:
    """A replay in the hands of its endpoint's owner."""

    id: UUID
    endpoint_id: UUID
    event_ids: Sequence[UUID] | None
    from_at: datetime
    to_at: datetime
    event_types: frozenset[str] | None
    states: frozenset[str] | None
    cursor: Cursor
    left: int


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What a slice of a replay came to. `over`: there is nothing left of it."""

    replay_id: UUID
    endpoint_id: UUID
    account_id: int
    owner: int
    cursor: Cursor | None
    events: int
    taken: Sequence[str]
    retries: Sequence[RetryRow]
    over: bool


# Not while the receiver is down or asked for rest: the endpoint's own events come first, and find out when it is back.
_DUE = """
SELECT DISTINCT ON (r.endpoint_id) r.id, r.endpoint_id, r.event_ids, r.from_at, r.to_at, r.event_types, r.states, r.cursor_xid::text,
       r.cursor_id, r.most_events - r.posted_events
FROM webhook_replays r JOIN webhook_endpoints e ON e.id = r.endpoint_id
WHERE e.owner = $1 AND e.enabled AND r.state = 'running' AND e.down_since IS NULL AND (e.resume_at IS NULL OR e.resume_at <= now())
  AND NOT (e.id = ANY ($2::uuid[]))
ORDER BY r.endpoint_id, r.id
"""

# The bounds on the id are looked at within the index; what is left out on the way costs an index entry each.
_SLICE = f"""
SELECT {FEED_COLUMNS}, r.state
FROM (
    SELECT * FROM events
    WHERE account_id = $1 AND (xid, id) > ($2::text::xid8, $3) AND id >= $4 AND id < $5 AND xid < feed_horizon()
      AND ($6::uuid[] IS NULL OR id = ANY ($6))
    ORDER BY xid, id LIMIT $7
) v
{FEED_JOINS}
ORDER BY v.xid, v.id
"""  # noqa: S608  (constants)

_SETTLE = """
WITH o AS (
    SELECT id FROM webhook_endpoints WHERE id = $2 AND owner = $3 FOR UPDATE
)
UPDATE webhook_replays r
SET cursor_xid = coalesce($4::text::xid8, cursor_xid), cursor_id = coalesce($5, cursor_id), posted_events = posted_events + $6,
    failed_posts = failed_posts + $7,
    state = CASE WHEN r.state = 'running' AND $8 THEN 'done' ELSE r.state END,
    finished_at = CASE WHEN r.state = 'running' AND $8 THEN now() ELSE r.finished_at END
FROM o WHERE r.id = $1 RETURNING r.state = 'running'
"""


async def find_due_replays(connection: HotConnection, worker_id: int, busy: Sequence[UUID]) -> list[DueReplay]:
    """The oldest running replay of each owned endpoint, but for busy ones."""
    rows = await connection.fetch(_DUE, worker_id, busy)
    return [DueReplay(row[0], row[1], row[2], row[3], row[4], _set(row[5]), _set(row[6]), Cursor(row[7], row[8]), row[9]) for row in rows]


def _set(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


async def read_slice(connection: HotConnection, account_id: int, replay: DueReplay, limit: int) -> list[tuple[FeedRow, str | None]]:
    """The next events of a replay's time, each with its recipient's state; what is wanted of them the caller decides."""
    rows: list[Any] = await connection.fetch(
        _SLICE,
        account_id,
        replay.cursor.xid,
        replay.cursor.id,
        floor_of(replay.from_at),
        floor_of(replay.to_at),
        replay.event_ids,
        limit,
    )
    return [(FeedRow(*row[:10]), row[10]) for row in rows]


async def settle_slice(connection: HotConnection, result: SliceResult) -> bool:
    """Write a slice, within the caller's transaction; whether the replay goes on (not when it is over, cancelled or another's)."""
    cursor = result.cursor
    going_on = await connection.fetchval(
        _SETTLE,
        result.replay_id,
        result.endpoint_id,
        result.owner,
        cursor.xid if cursor else None,
        cursor.id if cursor else None,
        result.events,
        len(result.retries),
        result.over,
    )
    if going_on is None:
        return False
    # A post that waits already keeps its place in the schedule.
    await write_retries(connection, result.endpoint_id, result.account_id, result.taken, result.retries, anew=False)
    return bool(going_on)
