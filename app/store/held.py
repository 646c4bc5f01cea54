"""Held rows: due at 'infinity' until somebody speaks. Who holds what and why, and the operator's word on it.

The queue's row says that a recipient is held, the wide row says why. Everything here is found by ix_queue_due; nothing is a path of mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app.store.db import HotConnection
from app.store.messages import Told
from app.store.queue import ALONE_FROM_CLAIMS


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which held rows are meant: of one account or all, with a reason that begins like this or any."""

    account_id: int | None = None
    reason: str = ""


# What a worker had in hand counts as a death of its worker only where it died; a restore says nothing about the row.
_HOLD = """
WITH picked AS MATERIALIZED (
    SELECT recipient_id, account_id, due_at <= now() AS was_due FROM queue
    WHERE due_at < 'infinity' AND (due_at <= now() OR $1) LIMIT $2 FOR UPDATE
), held AS (
    UPDATE queue q
    SET owner = NULL, ready = false, due_at = 'infinity', maybe_sent = q.maybe_sent OR p.was_due,
        claims = greatest(q.claims - (q.owner IS NOT NULL)::int, 0)
    FROM picked p WHERE q.recipient_id = p.recipient_id
), told AS (
    UPDATE recipients r
    SET state = 'held', reason = $3, events = events + 1, next_attempt_at = NULL, maybe_sent = r.maybe_sent OR p.was_due
    FROM picked p WHERE r.account_id = p.account_id AND r.id = p.recipient_id
    RETURNING r.account_id, r.id, r.events
)
SELECT p.account_id, p.recipient_id, coalesce(t.events, 0) FROM picked p LEFT JOIN told t ON t.id = p.recipient_id
"""


async def hold_due(connection: HotConnection, reason: str, limit: int, *, scheduled_too: bool) -> list[Told]:
    """Hold up to `limit` rows that are due by now, claimed ones too, or all that wait for their time as well.

    Marks what was due as maybe sent. `events` is 0 of a recipient whose history is gone. Called until it returns nothing.
    """
    return [Told(*row) for row in await connection.fetch(_HOLD, scheduled_too, limit, reason)]


_HELD = """
FROM queue q JOIN recipients r ON r.account_id = q.account_id AND r.id = q.recipient_id
WHERE NOT q.ready AND q.due_at = 'infinity' AND q.owner IS NULL
  AND ($1::int IS NULL OR q.account_id = $1) AND starts_with(coalesce(r.reason, ''), $2)
"""


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """What one account has held for one reason. `oldest_id` is a recipient's: its time is the acceptance."""

    account_id: int
    reason: str | None
    recipients: int
    oldest_id: UUID


async def count_held(connection: HotConnection, wanted: Wanted) -> list[HeldGroup]:
    query = f"SELECT q.account_id, r.reason, count(*), min(q.recipient_id::text)::uuid {_HELD} GROUP BY 1, 2 ORDER BY 1, 2"
    return [HeldGroup(*row) for row in await connection.fetch(query, wanted.account_id, wanted.reason)]


@dataclass(frozen=True, slots=True)
class HeldRecipient:
    id: UUID
    account_id: int
    address: str
    reason: str | None
    maybe_sent: bool


async def list_held(connection: HotConnection, wanted: Wanted, limit: int) -> list[HeldRecipient]:
    """The oldest held recipients."""
    query = f"SELECT q.recipient_id, q.account_id, r.address, r.reason, q.maybe_sent {_HELD} ORDER BY q.recipient_id LIMIT $3"
    return [HeldRecipient(*row) for row in await connection.fetch(query, wanted.account_id, wanted.reason, limit)]


# A row that was held because its workers died stays suspect: it is claimed alone, and held again
# after two more deaths.
_RELEASE = f"""
WITH picked AS MATERIALIZED (
    SELECT q.recipient_id, q.account_id, greatest(r.next_attempt_at, now()) AS due_at
    {_HELD} ORDER BY q.recipient_id LIMIT $3 FOR UPDATE OF q
), freed AS (
    UPDATE queue q SET due_at = p.due_at, claims = least(q.claims, {ALONE_FROM_CLAIMS}) FROM picked p WHERE q.recipient_id = p.recipient_id
)
UPDATE recipients r SET state = CASE WHEN p.due_at > now() THEN 'scheduled' ELSE 'ready' END, reason = NULL
FROM picked p WHERE r.account_id = p.account_id AND r.id = p.recipient_id RETURNING r.id
"""  # noqa: S608  (a constant above)


async def release_held(connection: HotConnection, wanted: Wanted, limit: int) -> int:
    """Let up to `limit` held rows go, oldest first; how many. They are due now, or at the send_at of what was held when it was accepted."""
    return len(await connection.fetch(_RELEASE, wanted.account_id, wanted.reason, limit))
