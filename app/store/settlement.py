"""The statement that settles a batch of outcomes: queue, attempts, recipients, events and owed reports at once, fenced by the owner.

A row is settled by the worker that owns it, or not at all: an outcome told by a worker whose claim was taken over is kept as
a stale attempt and changes no state; of who was erased meanwhile it keeps no words. A batch may have both words on one recipient, the
old owner's and the new one's: what counts is told by its place in the batch. Final outcomes leave the queue; the others go back
with the time of their next attempt (held: 'infinity'). One round trip, and its own transaction unless the caller has one open; what the
events say is the word of events.record. A bounce that is reported after delivery is the one thing that changes a final state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.store.db import HotConnection
from app.store.erasure import ERASED
from app.store.ids import new_id
from app.store.owed_reports import owing
from app.store.states import FINAL, RecipientState


@dataclass(slots=True)
class AttemptRow:
    """One try, as it is kept. `id` is a UUIDv7 of its start."""

    id: UUID
    phase: str
    code: int | None
    enhanced: str | None
    reply: str | None
    mx: str | None
    ip: str | None
    source: str | None
    tls: str | None
    connect_ms: int
    total_ms: int


@dataclass(slots=True)
class Settlement:
    """The verdict on one claimed recipient. `due_at` is given for deferred alone; `site_id` re-lanes a deferred row."""

    owner: int
    account_id: int
    recipient_id: UUID
    state: RecipientState
    due_at: datetime | None
    reason: str | None
    reply: str | None
    site_id: int | None
    attempt: AttemptRow | None
    event: str  # its type: events.record.EventType
    facts: str  # JSON text of the event
    maybe_sent: bool = False  # its final dot was sent, and no answer came


@dataclass(slots=True)
class Settled:
    place: int  # of its settlement in the batch
    events: int  # the recipient's count of events, this one included
    attempts: int
    maybe_sent: bool


_SETTLE = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::int[], $2::int[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::int[], $9::bool[], $10::uuid[],
        $26::bool[]
    ) WITH ORDINALITY AS i(owner, account_id, recipient_id, state, due_at, reason, reply, site_id, final, attempt_id, maybe_sent, place)
), gone AS (
    DELETE FROM queue q USING input i
    WHERE q.recipient_id = i.recipient_id AND q.owner = i.owner AND i.final
    RETURNING i.place, q.maybe_sent OR i.maybe_sent AS maybe_sent
), back AS (
    UPDATE queue q
    SET owner = NULL, claims = 0, ready = false, due_at = coalesce(i.due_at, 'infinity'), site_id = coalesce(i.site_id, q.site_id),
        attempts = q.attempts + (i.attempt_id IS NOT NULL)::int, maybe_sent = q.maybe_sent OR i.maybe_sent
    FROM input i
    WHERE q.recipient_id = i.recipient_id AND q.owner = i.owner AND NOT i.final
    RETURNING i.place, q.maybe_sent
), owned AS MATERIALIZED (
    SELECT * FROM gone UNION ALL SELECT * FROM back
), tried AS (
    INSERT INTO attempts (account_id, recipient_id, id, worker, outcome, phase, code, enhanced, reply, mx, ip, source, tls,
                          connect_ms, total_ms, stale)
    SELECT i.account_id, i.recipient_id, i.attempt_id, i.owner, i.state, a.phase, a.code, a.enhanced,
           CASE WHEN e.erased THEN NULL ELSE a.reply END, CASE WHEN e.erased THEN NULL ELSE a.mx END,
           CASE WHEN e.erased THEN NULL ELSE a.ip END, a.source, a.tls, a.connect_ms, a.total_ms, o.place IS NULL
    FROM unnest($10::uuid[], $11::text[], $12::smallint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                $18::text[], $19::int[], $20::int[])
         AS a(id, phase, code, enhanced, reply, mx, ip, source, tls, connect_ms, total_ms)
    JOIN input i ON i.attempt_id = a.id
    LEFT JOIN owned o ON o.place = i.place
    CROSS JOIN LATERAL (  -- who is in the queue is not erased: only for late outcomes is it asked
        SELECT CASE WHEN o.place IS NULL THEN (
            SELECT r.address = '{ERASED}' FROM recipients r
            WHERE r.account_id = i.account_id AND r.id = i.recipient_id AND r.id BETWEEN $21 AND $22
        ) END AS erased
    ) e
    ON CONFLICT DO NOTHING  -- the commit whose answer was lost
), told AS (
    UPDATE recipients r
    SET state = i.state, reason = i.reason, last_reply = coalesce(i.reply, r.last_reply), next_attempt_at = i.due_at,
        attempts = r.attempts + (i.attempt_id IS NOT NULL)::int, events = r.events + 1, maybe_sent = r.maybe_sent OR o.maybe_sent,
        settled_at = CASE WHEN i.final THEN now() END
    FROM input i JOIN owned o ON o.place = i.place
    WHERE r.account_id = i.account_id AND r.id = i.recipient_id AND r.id BETWEEN $21 AND $22
    RETURNING i.place, r.account_id, r.id, r.events, r.attempts, r.maybe_sent, r.state, r.dsn
), recorded AS (
    INSERT INTO events (account_id, id, about, type, number, facts)
    SELECT t.account_id, e.id, t.id, e.type, t.events, e.facts::json
    FROM told t JOIN unnest($23::uuid[], $24::text[], $25::text[]) WITH ORDINALITY AS e(id, type, facts, place) ON e.place = t.place
), owed AS (
    {owing("told")}
)
SELECT place - 1, events, attempts, maybe_sent FROM told
"""  # noqa: S608  (what is owed)


async def settle(connection: HotConnection, batch: Sequence[Settlement]) -> list[Settled]:
    """Write a batch of verdicts; returns those that counted. The others were stale: their attempts are kept, marked so."""
    tries = [s.attempt for s in batch]
    recipient_ids = [s.recipient_id for s in batch]
    rows = await connection.fetch(
        _SETTLE,
        [s.owner for s in batch],
        [s.account_id for s in batch],
        recipient_ids,
        [s.state.value for s in batch],
        [s.due_at for s in batch],
        [s.reason for s in batch],
        [s.reply for s in batch],
        [s.site_id for s in batch],
        [s.state in FINAL for s in batch],
        [a.id if a else None for a in tries],
        [a.phase if a else None for a in tries],
        [a.code if a else None for a in tries],
        [a.enhanced if a else None for a in tries],
        [a.reply if a else None for a in tries],
        [a.mx if a else None for a in tries],
        [a.ip if a else None for a in tries],
        [a.source if a else None for a in tries],
        [a.tls if a else None for a in tries],
        [a.connect_ms if a else None for a in tries],
        [a.total_ms if a else None for a in tries],
        min(recipient_ids),
        max(recipient_ids),
        [new_id() for _ in batch],
        [s.event for s in batch],
        [s.facts for s in batch],
        [s.maybe_sent for s in batch],
    )
    return [Settled(row[0], row[1], row[2], row[3]) for row in rows]


class ReportedBack(NamedTuple):
    """A delivered recipient that was reported back: its address, and the number of the event."""

    address: str
    events: int


# Only what was delivered: whatever else is final has been told already, and what is still in the queue has no final word.
_BOUNCE_LATE = f"""
WITH told AS (
    UPDATE recipients
    SET state = 'bounced_late', reason = $3, last_reply = coalesce($4, last_reply), events = events + 1, settled_at = now()
    WHERE account_id = $1 AND id = $2 AND state = 'delivered' AND address <> $5
    RETURNING account_id, id, address, state, events, dsn
), owed AS (
    {owing("told")}
)
SELECT address, events FROM told
"""  # noqa: S608  (what is owed)


async def bounce_late(
    connection: HotConnection, account_id: int, recipient_id: UUID, reason: str, reply: str | None
) -> ReportedBack | None:
    """A bounce after delivery, within the caller's transaction; None when the recipient is not delivered (any more)."""
    row = await connection.fetchrow(_BOUNCE_LATE, account_id, recipient_id, reason, reply, ERASED)
    return ReportedBack(*row) if row is not None else None


async def is_unsettled(connection: HotConnection, recipient_id: UUID) -> bool:
    """Whether the recipient is in the queue."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM queue WHERE recipient_id = $1)", recipient_id))
