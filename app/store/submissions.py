"""The statement that writes a group of accepted submissions: messages, content, recipients, queue, keys and their first events.

It touches six tables in one round trip, and is its own transaction, because it is on the path of every message: four round trips
instead of one would be a tenth of the cost of accepting. Each table's other queries stand in its own file. What the events say is
the word of events.record; their ids are those of what they are about, which nothing else in `events` can have.

What it decides, it decides in the database: a submission whose idempotency key is taken is left out whole, a
suppressed recipient begins and ends as suppressed (of which its sender may be owed a report), and the site of a known domain goes with
the queue row as a hint. What is held was decided before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from app.store.db import HotConnection
from app.store.messages import pack_body
from app.store.moulds import Mould
from app.store.owed_reports import owing
from app.store.states import RecipientState
from app.store.suppressions import reason_for


@dataclass(slots=True)
class NewRecipient:
    id: UUID
    address: str
    suppression_key: str
    kind: str  # to, cc, bcc
    dsn: str | None = None  # JSON text: what its sender wants to be told of it


@dataclass(slots=True)
class NewMessage:
    """One submission, ready to be written. `lane_class`: 0 transactional, 1 bulk."""

    account_id: int
    id: UUID
    stream: str
    lane_class: int
    domain_id: int
    from_address: str
    subject: str
    rfc_message_id: str
    tags: str  # JSON text
    metadata: str  # JSON text
    send_at: datetime | None
    expires_at: datetime
    purge_on: date
    head: bytes
    body: bytes
    recipients: Sequence[NewRecipient]
    idempotency_key: str | None
    body_hash: bytes | None
    accepted_facts: str = "{}"  # JSON text: events.record.accepted_facts
    adds: int = 0  # bits of mail.finish
    tracking: str | None = None  # JSON text: mail.tracking.plan_as_json
    # Rendered at delivery: then `head` is empty, `body` a filling packed against the mould, and the size of the mail an estimate.
    mould: Mould | None = None
    about_bytes: int | None = None
    held_for: str | None = None  # it is accepted, and waits for somebody's word
    brings_mould: bool = False  # it is the mould's first, and has the room that the mould takes to answer for

    @property
    def size_bytes(self) -> int:
        """Of the mail."""
        return self.about_bytes if self.about_bytes is not None else self.stored_bytes

    @property
    def stored_bytes(self) -> int:
        """What it takes while it waits to be written."""
        mould_bytes = self.mould.stored_bytes if self.mould is not None and self.brings_mould else 0
        return len(self.head) + len(self.body) + mould_bytes


@dataclass(slots=True)
class WrittenRecipient:
    """What became of a recipient at the door; `site_id` 0 means that nobody knows its site yet."""

    id: UUID
    account_id: int
    state: RecipientState
    reason: str | None
    site_id: int
    lane_class: int


# The keys are inserted in sorted order: two groups with the same keys in opposite orders would deadlock.
_WRITE = f"""
WITH input AS (
    SELECT * FROM unnest(
        $1::int[], $2::uuid[], $3::text[], $4::smallint[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
        $11::timestamptz[], $12::timestamptz[], $13::date[], $14::int[], $15::text[], $16::bytea[], $25::text[], $26::smallint[],
        $19::text[]
    ) AS i(account_id, id, stream, class, domain_id, from_address, subject, rfc_message_id, tags, metadata,
           send_at, expires_at, purge_on, size_bytes, key, body_hash, facts, adds, held_for)
), keyed AS (
    INSERT INTO idempotency_keys (account_id, key, body_hash, message_id)
    SELECT account_id, key, body_hash, id FROM input WHERE key IS NOT NULL ORDER BY account_id, key
    ON CONFLICT DO NOTHING
    RETURNING message_id
), fresh AS MATERIALIZED (
    SELECT * FROM input WHERE key IS NULL OR id IN (SELECT message_id FROM keyed)
), written_messages AS (
    INSERT INTO messages (account_id, id, stream, domain_id, from_address, subject, rfc_message_id, tags, metadata,
                          send_at, expires_at, purge_on, size_bytes, adds)
    SELECT account_id, id, stream, domain_id, from_address, subject, rfc_message_id, tags::json, metadata::json,
           send_at, expires_at, purge_on, size_bytes, adds
    FROM fresh
), written_content AS (
    INSERT INTO content (account_id, message_id, purge_on, head, body, tracking, mould_id)
    SELECT f.account_id, f.id, f.purge_on, c.head, c.body, c.tracking::json, c.mould_id
    FROM unnest($2::uuid[], $17::bytea[], $18::bytea[], $27::text[], $28::uuid[]) AS c(id, head, body, tracking, mould_id)
    JOIN fresh f ON f.id = c.id
), placed AS MATERIALIZED (
    SELECT f.account_id, r.id, r.address, r.kind, r.dsn, f.class, f.size_bytes, f.send_at, coalesce(d.site_id, 0) AS site_id,
           coalesce(s.reason, f.held_for) AS reason,
           CASE WHEN s.reason IS NOT NULL THEN 'suppressed' WHEN f.held_for IS NOT NULL THEN 'held'
                WHEN f.send_at > now() THEN 'scheduled' ELSE 'ready' END AS state
    FROM unnest($20::uuid[], $21::uuid[], $22::text[], $23::text[], $24::text[], $29::text[])
         AS r(message_id, id, address, suppression_key, kind, dsn)
    JOIN fresh f ON f.id = r.message_id
    LEFT JOIN domain_sites d ON d.domain = split_part(r.address, '@', -1)
    LEFT JOIN LATERAL ({reason_for("f.account_id", "r.suppression_key", "f.stream")}) s ON true
), written_recipients AS (
    INSERT INTO recipients (account_id, id, address, kind, state, reason, events, next_attempt_at, settled_at, dsn)
    SELECT account_id, id, address, kind, state, reason, (state IN ('suppressed', 'held'))::int, send_at,
           CASE WHEN state = 'suppressed' THEN now() END, dsn::json
    FROM placed
), queued AS (
    INSERT INTO queue (recipient_id, due_at, account_id, site_id, bytes, class, ready)
    SELECT id, CASE WHEN state = 'held' THEN 'infinity' ELSE greatest(send_at, now()) END,
           account_id, site_id, size_bytes, class, state = 'ready'
    FROM placed WHERE state <> 'suppressed'
), told AS (
    INSERT INTO events (account_id, id, about, type, number, facts)
    SELECT account_id, id, id, 'message.accepted', 0, facts::json FROM fresh
    UNION ALL
    SELECT account_id, id, id, 'message.' || state, 1, json_build_object('recipient', address, 'reason', reason)
    FROM placed WHERE state IN ('suppressed', 'held')
), owed AS (
    {owing("(SELECT account_id, id, state, 1 AS events, dsn::json AS dsn FROM placed WHERE state = 'suppressed')")}
)
SELECT id, account_id, state, reason, site_id, class FROM placed
"""  # noqa: S608  (the rule of suppressions)


async def write_submissions(connection: HotConnection, group: Sequence[NewMessage]) -> list[WrittenRecipient]:
    """Write a group; returns what became of every recipient. A message of which none comes back met a taken idempotency key."""
    recipients = [(message.id, recipient) for message in group for recipient in message.recipients]
    rows = await connection.fetch(
        _WRITE,
        [m.account_id for m in group],
        [m.id for m in group],
        [m.stream for m in group],
        [m.lane_class for m in group],
        [m.domain_id for m in group],
        [m.from_address for m in group],
        [m.subject for m in group],
        [m.rfc_message_id for m in group],
        [m.tags for m in group],
        [m.metadata for m in group],
        [m.send_at for m in group],
        [m.expires_at for m in group],
        [m.purge_on for m in group],
        [m.size_bytes for m in group],
        [m.idempotency_key for m in group],
        [m.body_hash for m in group],
        [m.head for m in group],
        [pack_body(m.body) if m.mould is None else m.body for m in group],
        [m.held_for for m in group],
        [message_id for message_id, _ in recipients],
        [r.id for _, r in recipients],
        [r.address for _, r in recipients],
        [r.suppression_key for _, r in recipients],
        [r.kind for _, r in recipients],
        [m.accepted_facts for m in group],
        [m.adds for m in group],
        [m.tracking for m in group],
        [m.mould.id if m.mould is not None else None for m in group],
        [r.dsn for _, r in recipients],
    )
    return [WrittenRecipient(row[0], row[1], RecipientState(row[2]), row[3], row[4], row[5]) for row in rows]
