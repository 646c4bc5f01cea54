"""What became of messages: what status and lists are read from. Writes nothing; every question names the account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.store.db import HotConnection
from app.store.ids import last_of_message, message_of
from app.store.messages import ADDRESS_KEY


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as its account sees it, without content."""

    id: UUID
    rfc_message_id: str
    from_address: str
    subject: str
    stream: str
    tags: str  # JSON text
    metadata: str  # JSON text
    send_at: datetime | None
    expires_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A recipient now: while it is in the queue, the queue's word on it counts."""

    id: UUID
    address: str
    kind: str
    state: str
    reason: str | None
    attempts: int
    next_attempt_at: datetime | None
    settled_at: datetime | None
    last_reply: str | None
    maybe_sent: bool


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """One try at a recipient; `id` tells when it began."""

    recipient_id: UUID
    id: UUID
    outcome: str
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
    stale: bool


_MESSAGE = "id, rfc_message_id, from_address, subject, stream, tags::text, metadata::text, send_at, expires_at, size_bytes"


async def read_message(connection: HotConnection, account_id: int, message_id: UUID) -> MessageRow | None:
    """By primary key."""
    query = f"SELECT {_MESSAGE} FROM messages WHERE account_id = $1 AND id = $2"  # noqa: S608  (a constant of this file)
    row = await connection.fetchrow(query, account_id, message_id)
    return MessageRow(*row) if row is not None else None


_RECIPIENTS = """
SELECT r.id, r.address, r.kind,
       CASE WHEN q.owner IS NOT NULL THEN 'claimed' WHEN q.ready THEN 'ready' ELSE r.state END,
       CASE WHEN q.ready THEN coalesce((SELECT w.figures->'held_back'->>q.site_id::text FROM workers w
                                        WHERE w.figures->'held_back'->>q.site_id::text IS NOT NULL LIMIT 1), r.reason)
            ELSE r.reason END,
       r.attempts, nullif(q.due_at, 'infinity'), r.settled_at, r.last_reply, r.maybe_sent OR coalesce(q.maybe_sent, false)
FROM recipients r LEFT JOIN queue q ON q.recipient_id = r.id AND q.recipient_id BETWEEN $2 AND $3
WHERE r.account_id = $1 AND r.id BETWEEN $2 AND $3 ORDER BY r.id
"""


async def read_recipients(connection: HotConnection, account_id: int, message_id: UUID) -> list[RecipientRow]:
    """All recipients of a message: one range of the primary key."""
    return [RecipientRow(*row) for row in await connection.fetch(_RECIPIENTS, account_id, message_id, last_of_message(message_id))]


_ATTEMPTS = """
SELECT recipient_id, id, outcome, phase, code, enhanced, reply, mx, ip, source, tls, connect_ms, total_ms, stale
FROM attempts WHERE account_id = $1 AND recipient_id BETWEEN $2 AND $3 ORDER BY recipient_id, id LIMIT $4
"""


async def read_attempts(connection: HotConnection, account_id: int, message_id: UUID, limit: int) -> list[KeptAttempt]:
    """The attempts on a message's recipients, in time within each: one range of the primary key."""
    rows = await connection.fetch(_ATTEMPTS, account_id, message_id, last_of_message(message_id), limit)
    return [KeptAttempt(*row) for row in rows]


class Listed(NamedTuple):
    """A message in a list. `states`: how many recipients are in which state, as of accept or the last settle."""

    message: MessageRow
    states: dict[str, int]


async def list_messages(connection: HotConnection, account_id: int, low: UUID, high: UUID, limit: int) -> list[Listed]:
    """The newest messages with low <= id < high: the primary key backwards, newest partition first."""
    query = f"SELECT {_MESSAGE} FROM messages WHERE account_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4"  # noqa: S608
    rows = [MessageRow(*row) for row in await connection.fetch(query, account_id, low, high, limit)]
    states = await _count_states(connection, account_id, rows[-1].id, rows[0].id) if rows else {}
    return [Listed(row, states.get(row.id, {})) for row in rows]


_STATES = """
SELECT overlay(r.id::text placing '0000' from 33)::uuid, r.state, count(*)
FROM recipients r WHERE r.account_id = $1 AND r.id BETWEEN $2 AND $3 GROUP BY 1, 2
"""


async def _count_states(connection: HotConnection, account_id: int, oldest: UUID, newest: UUID) -> dict[UUID, dict[str, int]]:
    """By message, for the messages of one page (a range of the primary key)."""
    counts: dict[UUID, dict[str, int]] = {}
    for message_id, state, number in await connection.fetch(_STATES, account_id, oldest, last_of_message(newest)):
        counts.setdefault(message_id, {})[state] = number
    return counts


_TO = f"""
SELECT id, state FROM recipients WHERE account_id = $1 AND {ADDRESS_KEY} = $5 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4
"""  # noqa: S608  (a constant of this file)


async def list_messages_to(connection: HotConnection, account_id: int, low: UUID, high: UUID, limit: int, address: str) -> list[Listed]:
    """The newest messages to an address with low <= id < high; the state is that of this recipient alone.

    The index backwards, newest partition first. Nobody is twice in a message.
    """
    key = address.encode().lower().decode()  # of octets: the letters of ASCII
    found = await connection.fetch(_TO, account_id, low, high, limit, key)
    states = {message_of(recipient_id): {state: 1} for recipient_id, state in found}
    query = f"SELECT {_MESSAGE} FROM messages WHERE account_id = $1 AND id = ANY($2::uuid[]) ORDER BY id DESC"  # noqa: S608
    rows = [MessageRow(*row) for row in await connection.fetch(query, account_id, list(states))]
    return [Listed(row, states[row.id]) for row in rows]
