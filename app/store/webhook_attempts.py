"""What came of single posts to webhook endpoints: written in bulk by the poster, read by the API, dropped by the week.

Bodies are not kept: a post's events are named, and the same body is made from them again. Only a test post, whose event is in
no log, carries its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, Integer, LargeBinary, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from app.store.db import HotConnection, metadata
from app.store.events import FEED_COLUMNS, FEED_JOINS, FeedRow

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7: its time is the post's
    Column("webhook_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # why it was posted: event, retry, replay, test
    Column("outcome", Text, nullable=False),  # taken, refused, unanswered
    Column("status", SmallInteger),
    Column("latency_ms", Integer, nullable=False),
    Column("error", Text),
    Column("answer", Text, nullable=False),  # the beginning of the answer's body
    Column("batch_size", SmallInteger, nullable=False),  # 0: the event alone
    Column("event_xids", ARRAY(Text), nullable=False),
    Column("event_ids", ARRAY(Uuid), nullable=False),
    Column("body", LargeBinary),  # of a test
    PrimaryKeyConstraint("account_id", "endpoint_id", "id"),
    postgresql_partition_by="RANGE (id)",
)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One post and its answer. `xids` and `event_ids` are its events' keys in the log, in the post's order."""

    account_id: int
    endpoint_id: UUID
    id: UUID
    webhook_id: str
    kind: str
    outcome: str
    status: int | None
    latency_ms: int
    error: str | None
    answer: str
    batch_size: int
    xids: Sequence[str]
    event_ids: Sequence[UUID]
    body: bytes | None = None


# Arrays of different lengths cannot be an array of arrays: each goes as text that PostgreSQL reads.
_INSERT = """
INSERT INTO webhook_attempts (account_id, endpoint_id, id, webhook_id, kind, outcome, status, latency_ms, error, answer, batch_size,
                              event_xids, event_ids, body)
SELECT i.account_id, i.endpoint_id, i.id, i.webhook_id, i.kind, i.outcome, i.status, i.latency_ms, i.error, i.answer, i.batch_size,
       i.xids::text[], i.event_ids::uuid[], i.body
FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::int[], $9::text[], $10::text[],
            $11::smallint[], $12::text[], $13::text[], $14::bytea[])
AS i(account_id, endpoint_id, id, webhook_id, kind, outcome, status, latency_ms, error, answer, batch_size, xids, event_ids, body)
CROSS JOIN (SELECT set_config('synchronous_commit', 'off', true)) quick
ON CONFLICT DO NOTHING
"""

_OF_ENDPOINT = """
SELECT account_id, endpoint_id, id, webhook_id, kind, outcome, status, latency_ms, error, answer, batch_size, event_xids, event_ids, body
FROM webhook_attempts WHERE account_id = $1 AND endpoint_id = $2
"""

_LIST = f"""
{_OF_ENDPOINT} AND id < $3 AND id >= $4 AND ($5::text[] IS NULL OR outcome = ANY ($5))
  AND ($6::text IS NULL OR webhook_id = $6 OR $7 = ANY (event_ids))
ORDER BY id DESC LIMIT $8
"""

_ONE = f"{_OF_ENDPOINT} AND id = $3"

_EVENTS = f"""
SELECT {FEED_COLUMNS}
FROM unnest($2::text[], $3::uuid[]) WITH ORDINALITY AS u(xid, id, place)
JOIN events v ON v.account_id = $1 AND v.xid = u.xid::xid8 AND v.id = u.id
{FEED_JOINS}
ORDER BY u.place
"""  # noqa: S608  (constants)


async def insert_attempts(connection: HotConnection, rows: Sequence[AttemptRow]) -> None:
    """One statement, and a transaction of its own that need not wait for the disk."""
    await connection.execute(
        _INSERT,
        [r.account_id for r in rows],
        [r.endpoint_id for r in rows],
        [r.id for r in rows],
        [r.webhook_id for r in rows],
        [r.kind for r in rows],
        [r.outcome for r in rows],
        [r.status for r in rows],
        [r.latency_ms for r in rows],
        [r.error for r in rows],
        [r.answer for r in rows],
        [r.batch_size for r in rows],
        [_array(r.xids) for r in rows],
        [_array(map(str, r.event_ids)) for r in rows],
        [r.body for r in rows],
    )


def _array(values: Iterable[str]) -> str:
    """Numbers and ids as an array of PostgreSQL."""
    return "{" + ",".join(values) + "}"


async def list_attempts(
    connection: HotConnection,
    account_id: int,
    endpoint_id: UUID,
    *,
    before: UUID,
    floor: UUID,
    limit: int,
    outcomes: Sequence[str] | None = None,
    webhook_id: str | None = None,
    event_id: UUID | None = None,
) -> list[AttemptRow]:
    """Newest first, by the primary key: those made before an id and not before `floor`; of one post or event when it is named."""
    rows = await connection.fetch(_LIST, account_id, endpoint_id, before, floor, outcomes, webhook_id, event_id, limit)
    return [AttemptRow(*row) for row in rows]


async def find_attempt(connection: HotConnection, account_id: int, endpoint_id: UUID, attempt_id: UUID) -> AttemptRow | None:
    row = await connection.fetchrow(_ONE, account_id, endpoint_id, attempt_id)
    return None if row is None else AttemptRow(*row)


async def read_attempt_events(connection: HotConnection, attempt: AttemptRow) -> list[FeedRow]:
    """The events of a post, in its order; fewer when some are no longer kept."""
    rows = await connection.fetch(_EVENTS, attempt.account_id, list(attempt.xids), list(attempt.event_ids))
    return [FeedRow(*row) for row in rows]
