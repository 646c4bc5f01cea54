"""The statements of a webhook round: what is due, what it posts, what came of it.

Every write of a round is fenced by the endpoint's owner (store.webhook_owners). A round that was overtaken writes nothing: the new owner
posts the same events again, under the same webhook-ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.store.db import HotConnection
from app.store.events import FEED_COLUMNS, FEED_JOINS, Cursor, FeedRow


@dataclass(frozen=True, slots=True)
class OwnedEndpoint:
    """An endpoint in its owner's hands, as a round begins. `clock` is the database's time, Unix seconds."""

    id: UUID
    account_id: int
    url: str
    secret: bytes
    event_types: frozenset[str] | None
    batch_size: int
    cursor: Cursor
    old_secret: bytes | None  # signs too, after a rotation
    streams: frozenset[str] | None
    tags: frozenset[str] | None
    failures: int
    down_since: datetime | None
    retries_due: bool
    retries_waiting: int  # counted up to the bound that was given
    clock: float


@dataclass(frozen=True, slots=True)
class WaitingPost:
    webhook_id: str
    batch: bool
    attempts: int
    rows: tuple[FeedRow, ...]


@dataclass(frozen=True, slots=True)
class RetryRow:
    """A post to be tried again `in_seconds`."""

    webhook_id: str
    batch: bool
    events: Sequence[Cursor]
    attempts: int
    in_seconds: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round found out. `failures` counts those after the last success, or all when there was none."""

    endpoint_id: UUID
    account_id: int
    owner: int
    cursor: Cursor | None  # None: it stays
    success: bool
    failures: int
    rest_seconds: float | None
    error: str | None
    disabled_reason: str | None
    given_up: int
    taken: Sequence[str]  # webhook-ids that need not wait any longer: taken, or given up
    retries: Sequence[RetryRow]

    @property
    def lone(self) -> bool:
        """Whether the endpoint's row is all that is written. A failure may have consequences: its account is told of them."""
        return not self.taken and not self.retries and self.error is None


@dataclass(frozen=True, slots=True)
class DownRule:
    """store's share of events.patience: when a receiver is taken for down, how long the next probe waits, and when that ends."""

    after_failures: int
    probe_first_seconds: float
    probe_most_seconds: float
    tell_after_seconds: float  # down for so long: its account is told …
    disable_after_seconds: float  # … and then that it is disabled


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint stands after a round. The last two say what this round made of it."""

    failures: int
    down_since: datetime | None
    resume_at: datetime | None
    told_failing: bool
    disabled_for: str | None


# A down receiver is probed when there is anything to probe it with. Each look is for the first of an order, which only an index
# gives at once: for EXISTS the planner, which cannot see how far a cursor has come, would read a whole partition.
_DUE = """
SELECT e.id FROM webhook_endpoints e
WHERE e.owner = $1 AND e.enabled AND NOT (e.id = ANY ($2::uuid[])) AND (e.resume_at IS NULL OR e.resume_at <= now())
  AND (
    (SELECT e.down_since IS NOT NULL OR r.due_at <= now() FROM webhook_retries r WHERE r.endpoint_id = e.id ORDER BY r.due_at LIMIT 1)
    OR (
        SELECT true FROM events v
        WHERE v.account_id = e.account_id AND (v.xid, v.id) > (e.cursor_xid, e.cursor_id)
          AND v.xid < feed_horizon()
        ORDER BY v.xid, v.id LIMIT 1
    )
  )
"""

_READ = """
SELECT e.id, e.account_id, e.url, e.secret, e.event_types, e.batch_size, e.cursor_xid::text, e.cursor_id,
       CASE WHEN e.old_secret_until > now() THEN e.old_secret END, e.streams, e.tags, e.failures, e.down_since,
       coalesce((
           SELECT e.down_since IS NOT NULL OR r.due_at <= now() FROM webhook_retries r WHERE r.endpoint_id = e.id ORDER BY r.due_at LIMIT 1
       ), false),
       (SELECT count(*) FROM (SELECT FROM webhook_retries r WHERE r.endpoint_id = e.id LIMIT $3) w)::int,
       extract(epoch FROM now())::float8
FROM webhook_endpoints e
WHERE e.id = $1 AND e.owner = $2 AND e.enabled AND (e.resume_at IS NULL OR e.resume_at <= now())
"""

_RETRIES = f"""
SELECT {FEED_COLUMNS}, w.webhook_id, w.batch, w.attempts
FROM (
    SELECT * FROM webhook_retries WHERE account_id = $1 AND endpoint_id = $2 AND (due_at <= now() OR $4) ORDER BY due_at LIMIT $3
) w
CROSS JOIN LATERAL unnest(w.event_xids, w.event_ids) WITH ORDINALITY AS u(xid, id, place)
LEFT JOIN events v ON v.account_id = $1 AND v.xid = u.xid::xid8 AND v.id = u.id
{FEED_JOINS}
ORDER BY w.due_at, w.webhook_id, u.place
"""  # noqa: S608  (constants)

DOWN_TOO_LONG = "The receiver failed for too long."

# What is lost of a round in a crash is posted again: its commit need not wait for the disk.
_SETTLE = """
UPDATE webhook_endpoints e
SET cursor_xid = c.xid, cursor_id = c.id,
    failures = f.failures, down_since = d.down_since,
    failing_told_at = CASE WHEN d.down_since IS NULL THEN NULL WHEN l.tell THEN now() ELSE o.failing_told_at END,
    resume_at = greatest(
        CASE WHEN d.down_since IS NOT NULL
             THEN now() + make_interval(
                 secs => $13::float8 * least(greatest(extract(epoch FROM now() - d.down_since)::float8, $11::float8), $12::float8)) END,
        now() + make_interval(secs => $7)
    ),
    last_error = coalesce($8, e.last_error), last_error_at = CASE WHEN $8::text IS NULL THEN e.last_error_at ELSE now() END,
    last_success_at = CASE WHEN $5 THEN now() ELSE e.last_success_at END,
    enabled = e.enabled AND l.reason IS NULL, disabled_reason = coalesce(l.reason, e.disabled_reason),
    disabled_at = CASE WHEN l.reason IS NULL THEN e.disabled_at ELSE now() END,
    given_up = e.given_up + $14
FROM (SELECT *, set_config('synchronous_commit', 'off', true) FROM webhook_endpoints WHERE id = $1 AND owner = $2 FOR UPDATE) o
CROSS JOIN LATERAL (
    SELECT CASE WHEN n.ahead THEN $3::text::xid8 ELSE o.cursor_xid END AS xid, CASE WHEN n.ahead THEN $4 ELSE o.cursor_id END AS id
    FROM (SELECT coalesce(($3::text::xid8, $4::uuid) > (o.cursor_xid, o.cursor_id), false) AS ahead) n
) c
CROSS JOIN LATERAL (SELECT CASE WHEN $5::bool THEN $6::int ELSE o.failures + $6 END AS failures) f
CROSS JOIN LATERAL (
    SELECT CASE WHEN f.failures >= $10::int THEN coalesce(CASE WHEN NOT $5 THEN o.down_since END, now()) END AS down_since
) d
CROSS JOIN LATERAL (
    SELECT o.failing_told_at IS NULL AND d.down_since <= now() - make_interval(secs => $15::float8) AS tell,
           CASE WHEN o.enabled THEN coalesce(
               $9::text, CASE WHEN d.down_since <= now() - make_interval(secs => $16::float8) THEN $17::text END
           ) END AS reason
) l
WHERE e.id = o.id
RETURNING e.failures, e.down_since, e.resume_at, coalesce(l.tell, false), l.reason
"""

_FORGET = "DELETE FROM webhook_retries WHERE endpoint_id = $1 AND webhook_id = ANY ($2::text[])"

_ADD_RETRY = """
INSERT INTO webhook_retries (endpoint_id, webhook_id, account_id, batch, event_xids, event_ids, attempts, due_at, last_status, last_error)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8), $9, $10)
ON CONFLICT (endpoint_id, webhook_id) DO
"""
_KEEP_WAITING = f"{_ADD_RETRY} NOTHING"
_WAIT_ANEW = f"""
{_ADD_RETRY} UPDATE
SET attempts = excluded.attempts, due_at = excluded.due_at, last_status = excluded.last_status, last_error = excluded.last_error
"""

# The log is in the order of its cursor, which is nearly that of time: the run of old events at its front is passed over.
_GIVE_UP_EVENTS = """
WITH o AS (
    SELECT * FROM webhook_endpoints WHERE id = $1 AND owner = $2 FOR UPDATE
), ahead AS MATERIALIZED (
    SELECT v.xid, v.id,
           o.event_types IS NULL OR v.type = ANY (o.event_types) OR split_part(v.type, '.', 1) || '.*' = ANY (o.event_types) AS wanted
    FROM o CROSS JOIN LATERAL (
        SELECT * FROM events
        WHERE account_id = o.account_id AND (xid, id) > (o.cursor_xid, o.cursor_id) AND xid < feed_horizon()
        ORDER BY xid, id LIMIT $4
    ) v
), young AS (
    SELECT xid, id FROM ahead WHERE id >= $3 ORDER BY xid, id LIMIT 1
), old AS MATERIALIZED (
    SELECT * FROM ahead WHERE NOT EXISTS (SELECT FROM young) OR (xid, id) < (SELECT xid, id FROM young)
), last AS (
    SELECT xid, id FROM old ORDER BY xid DESC, id DESC LIMIT 1
), moved AS (
    UPDATE webhook_endpoints e
    SET cursor_xid = last.xid, cursor_id = last.id, given_up = e.given_up + (SELECT count(*) FROM old WHERE wanted)
    FROM last WHERE e.id = $1
)
SELECT count(*)::int, (count(*) FILTER (WHERE wanted))::int FROM old
"""

_GIVE_UP_RETRIES = """
WITH gone AS (
    DELETE FROM webhook_retries WHERE endpoint_id = $1 AND event_ids[cardinality(event_ids)] < $3
      AND EXISTS (SELECT FROM webhook_endpoints WHERE id = $1 AND owner = $2)
    RETURNING cardinality(event_ids) AS events
), told AS (
    UPDATE webhook_endpoints SET given_up = given_up + (SELECT sum(events) FROM gone) WHERE id = $1 AND EXISTS (SELECT FROM gone)
)
SELECT coalesce(sum(events), 0)::int FROM gone
"""
_GIVE_UP_SLICE = 10_000


async def find_due_endpoints(connection: HotConnection, worker_id: int, busy: Sequence[UUID]) -> list[UUID]:
    """The owned endpoints, but for busy ones, that have something to post now. One probe of an index per endpoint and table."""
    return [row[0] for row in await connection.fetch(_DUE, worker_id, busy)]


async def read_owned_endpoint(connection: HotConnection, endpoint_id: UUID, worker_id: int, most_waiting: int) -> OwnedEndpoint | None:
    """The endpoint as it is now; None when it is another's, disabled or resting."""
    row = await connection.fetchrow(_READ, endpoint_id, worker_id, most_waiting)
    if row is None:
        return None
    types, streams, tags = (None if names is None else frozenset(names) for names in (row[4], row[9], row[10]))
    return OwnedEndpoint(row[0], row[1], row[2], row[3], types, row[5], Cursor(row[6], row[7]), row[8], streams, tags, *row[11:])


async def read_waiting_posts(
    connection: HotConnection, account_id: int, endpoint_id: UUID, limit: int, *, due_or_not: bool
) -> list[WaitingPost]:
    """The posts that have waited longest, with their events. Events that are no longer kept are left out; a post may be empty."""
    posts: dict[str, WaitingPost] = {}
    for row in await connection.fetch(_RETRIES, account_id, endpoint_id, limit, due_or_not):
        found = (FeedRow(*row[:10]),) if row[0] is not None else ()
        webhook_id, batch, attempts = row[10:]
        before = posts.get(webhook_id)
        posts[webhook_id] = WaitingPost(webhook_id, batch, attempts, (before.rows if before else ()) + found)
    return list(posts.values())


async def forget_posts(connection: HotConnection, endpoint_id: UUID, webhook_ids: Sequence[str]) -> None:
    await connection.execute(_FORGET, endpoint_id, webhook_ids)


async def write_retries(
    connection: HotConnection, endpoint_id: UUID, account_id: int, taken: Sequence[str], retries: Sequence[RetryRow], *, anew: bool
) -> None:
    """Forget the posts that were taken, add those to be tried again; `anew`: one that waits already waits from now on."""
    if taken:
        await forget_posts(connection, endpoint_id, taken)
    rows = []
    for retry in retries:
        xids, ids = [event.xid for event in retry.events], [event.id for event in retry.events]
        head = (endpoint_id, retry.webhook_id, account_id, retry.batch, xids, ids)
        rows.append((*head, retry.attempts, retry.in_seconds, retry.status, retry.error))
    if rows:
        await connection.executemany(_WAIT_ANEW if anew else _KEEP_WAITING, rows)


async def settle_round(connection: HotConnection, result: RoundResult, rule: DownRule, jitter: float) -> Health | None:
    """Write a round; None: the endpoint is no longer the worker's, and nothing was written.

    One statement, and a transaction of its own, when no post waits (`lone`); else within the caller's transaction.
    """
    row = await connection.fetchrow(
        _SETTLE,
        result.endpoint_id,
        result.owner,
        result.cursor.xid if result.cursor else None,
        result.cursor.id if result.cursor else None,
        result.success,
        result.failures,
        result.rest_seconds,
        result.error,
        result.disabled_reason,
        rule.after_failures,
        rule.probe_first_seconds,
        rule.probe_most_seconds,
        jitter,
        result.given_up,
        rule.tell_after_seconds,
        rule.disable_after_seconds,
        DOWN_TOO_LONG,
    )
    if row is None:
        return None
    await write_retries(connection, result.endpoint_id, result.account_id, result.taken, result.retries, anew=True)
    return Health(*row)


async def give_up_older(connection: HotConnection, endpoint_id: UUID, worker_id: int, floor: UUID) -> int:
    """Pass over events made before `floor`, in the log and among the waiting posts; returns how many were given up."""
    total: int = await connection.fetchval(_GIVE_UP_RETRIES, endpoint_id, worker_id, floor)
    while True:
        passed, given_up = await connection.fetchrow(_GIVE_UP_EVENTS, endpoint_id, worker_id, floor, _GIVE_UP_SLICE)
        total += given_up
        if passed < _GIVE_UP_SLICE:
            return total


@dataclass(frozen=True, slots=True)
class TotalLag:
    """What all enabled endpoints together have not been told yet; the id's time is the oldest event's."""

    endpoints: int
    waiting_posts: int
    oldest_event_id: UUID | None


_TOTAL_LAG = """
SELECT count(*), (SELECT count(*) FROM webhook_retries), min(e.id::text)::uuid
FROM webhook_endpoints w
LEFT JOIN LATERAL (
    SELECT id FROM events
    WHERE account_id = w.account_id AND (xid, id) > (w.cursor_xid, w.cursor_id) AND xid < feed_horizon()
    ORDER BY xid, id LIMIT 1
) e ON true
WHERE w.enabled
"""


async def read_total_lag(connection: HotConnection) -> TotalLag:
    return TotalLag(*await connection.fetchrow(_TOTAL_LAG))
