"""Messages, their content, their recipients and every attempt: the wide tables, by account and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

import zstandard
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import HotConnection, metadata
from app.store.ids import last_of_message
from app.store.states import RecipientState

# Letters of ASCII in any case are one address. Of what else is written in capitals PostgreSQL's locales differ.
ADDRESS_KEY = 'lower(address COLLATE "C")'
BROUGHT_ITS_ID = "left(rfc_message_id, 33) <> ('<' || replace(id::text, '-', ''))"

messages = Table(
    "messages",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("stream", Text, nullable=False),
    Column("domain_id", Integer, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("rfc_message_id", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("send_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("purge_on", Date, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    # What delivery adds to each recipient's mail, as bits: mail.finish.
    Column("adds", SmallInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("account_id", "id"),
    # Finished mail that brought its Message-ID: answers to it are found by that. All others have one that is made of their id.
    Index("ix_messages_own_id", "rfc_message_id", postgresql_using="hash", postgresql_where=text(BROUGHT_ITS_ID)),
    postgresql_partition_by="RANGE (id)",
)

content = Table(
    "content",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("message_id", Uuid, nullable=False),
    # The day on which it may be dropped: a day's partition goes at once.
    Column("purge_on", Date, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),  # a zstd frame: see pack_body; with a mould: Mould.pack
    # Nobody's any more; it goes when no release before 0020 is left (store.revision).
    Column("part_map", JSON, nullable=False, server_default="[]"),
    # mail.tracking.plan_as_json; None: nothing in it can be tracked, or nobody wants it.
    Column("tracking", JSON),
    # Not None: the mail is made at delivery. Then head is empty and body is a filling of this mould.
    Column("mould_id", Uuid),
    PrimaryKeyConstraint("account_id", "message_id", "purge_on"),
    postgresql_partition_by="RANGE (purge_on)",
)

recipients = Table(
    "recipients",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("address", Text, nullable=False),
    Column("kind", Text, nullable=False),  # to, cc, bcc
    Column("state", Text, nullable=False),  # states.RecipientState, as of accept or the last settle
    Column("reason", Text),  # why it is suppressed, held, failed
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("events", SmallInteger, nullable=False, server_default="0"),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("settled_at", DateTime(timezone=True)),
    Column("last_reply", Text),
    # It was taken over from a worker that died with it in hand: the receiver may have got it twice (RFC 1047).
    Column("maybe_sent", Boolean, nullable=False, server_default="false"),
    # First seen by a person, as far as one can tell (feedback.machines).
    Column("opened_at", DateTime(timezone=True)),
    Column("clicked_at", DateTime(timezone=True)),
    # What its sender asked to be told of it (RFC 3461), as far as anything: from, tells_failures, notify, original, ret, envelope_id.
    Column("dsn", JSON),
    PrimaryKeyConstraint("account_id", "id"),
    # "What became of the mail to Ada?", newest first.
    Index("ix_recipients_address", "account_id", text(ADDRESS_KEY), "id"),
    postgresql_partition_by="RANGE (id)",
)

attempts = Table(
    "attempts",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("recipient_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7 of the attempt's start
    Column("worker", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("code", SmallInteger),
    Column("enhanced", Text),
    Column("reply", Text),
    Column("mx", Text),
    Column("ip", Text),
    Column("source", Text),
    Column("tls", Text),
    Column("connect_ms", Integer, nullable=False),
    Column("total_ms", Integer, nullable=False),
    # Told by a worker that no longer owned the recipient: kept as evidence, it changed no state.
    Column("stale", Boolean, nullable=False),
    PrimaryKeyConstraint("account_id", "recipient_id", "id"),
    # By the recipient's id, not the attempt's: a message's attempts lie in one partition and go with it.
    postgresql_partition_by="RANGE (recipient_id)",
)


@dataclass(frozen=True, slots=True)
class AcceptedRecipient:
    id: UUID
    address: str
    kind: str
    state: RecipientState
    reason: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was said when a message was accepted: nothing of it changes later."""

    rfc_message_id: str
    recipients: tuple[AcceptedRecipient, ...]


async def read_accepted(connection: HotConnection, account_id: int, message_id: UUID) -> Accepted | None:
    """The message as it was accepted: a recipient was suppressed then, or held, or scheduled, or ready.

    Who was suppressed or held at the door has an event of the recipient's own id (store.submissions); who was later has another.
    """
    rows = await connection.fetch(
        """
        SELECT m.rfc_message_id, r.id, r.address, r.kind,
               CASE WHEN d.type IS NOT NULL THEN substr(d.type, 9) WHEN m.send_at IS NOT NULL THEN 'scheduled' ELSE 'ready' END AS state,
               CASE WHEN d.type = 'message.suppressed' THEN r.reason ELSE d.facts->>'reason' END AS reason
        FROM messages m JOIN recipients r ON r.account_id = m.account_id AND r.id BETWEEN $2 AND $3
        LEFT JOIN LATERAL (SELECT type, facts FROM events WHERE account_id = $1 AND about = r.id AND id = r.id) d ON true
        WHERE m.account_id = $1 AND m.id = $2 ORDER BY r.id
        """,
        account_id,
        message_id,
        last_of_message(message_id),
    )
    if not rows:
        return None
    return Accepted(rows[0][0], tuple(AcceptedRecipient(r[1], r[2], r[3], RecipientState(r[4]), r[5]) for r in rows))


# A third to a sixth of the bytes for 10 µs: PostgreSQL then writes, logs and reads that much less (its own pglz costs ten times as
# much and its lz4 is not in every build).
_pack = zstandard.ZstdCompressor(level=1)
_unpack = zstandard.ZstdDecompressor()


def pack_body(body: bytes) -> bytes:
    """A body as it is stored."""
    return _pack.compress(body)


def unpack_body(stored: bytes) -> bytes:
    return _unpack.decompress(stored)


class StoredContent(NamedTuple):
    account_id: int
    message_id: UUID
    head: bytes
    body: bytes  # of a filling: as it is stored
    tracking: str | None  # JSON text: mail.tracking.plan_as_json
    mould_id: UUID | None


# LIMIT keeps it at one probe for each message, as in store.deliverables. Left free it is a join of the whole day: the plan cannot know that
# only one day's partition is looked at, and for the sum of forty it takes a scan to be cheaper until that day has thousands of mails.
_CONTENT = """
SELECT i.account_id, i.message_id, c.head, c.body, c.tracking::text, c.mould_id
FROM unnest($1::int[], $2::uuid[]) AS i(account_id, message_id)
CROSS JOIN LATERAL (
    SELECT head, body, tracking, mould_id FROM content
    WHERE account_id = i.account_id AND message_id = i.message_id AND purge_on = $3 LIMIT 1
) c
"""


async def load_content(
    connection: HotConnection, account_ids: Sequence[int], message_ids: Sequence[UUID], purge_on: date
) -> list[StoredContent]:
    """The contents of messages that are purged on one day; those already purged are left out."""
    rows = await connection.fetch(_CONTENT, account_ids, message_ids, purge_on)
    return [StoredContent(r[0], r[1], r[2], unpack_body(r[3]) if r[5] is None else r[3], r[4], r[5]) for r in rows]


@dataclass(frozen=True, slots=True)
class Told:
    """A recipient whose state changed, with the number of its event."""

    account_id: int
    recipient_id: UUID
    events: int


async def list_recipient_ids(connection: HotConnection, account_id: int, message_id: UUID) -> list[UUID]:
    rows = await connection.fetch(
        "SELECT id FROM recipients WHERE account_id = $1 AND id BETWEEN $2 AND $3 ORDER BY id",
        account_id,
        message_id,
        last_of_message(message_id),
    )
    return [row[0] for row in rows]


async def cancel_recipients(connection: HotConnection, account_id: int, recipient_ids: Sequence[UUID]) -> list[Told]:
    rows = await connection.fetch(
        """
        UPDATE recipients SET state = 'cancelled', events = events + 1, settled_at = now(), next_attempt_at = NULL
        WHERE account_id = $1 AND id = ANY($2::uuid[]) RETURNING account_id, id, events
        """,
        account_id,
        recipient_ids,
    )
    return [Told(row[0], row[1], row[2]) for row in rows]


async def hold_recipients(connection: HotConnection, account_ids: Sequence[int], recipient_ids: Sequence[UUID], reason: str) -> list[Told]:
    rows = await connection.fetch(
        """
        UPDATE recipients r SET state = 'held', reason = $3, events = events + 1, maybe_sent = true, next_attempt_at = NULL
        FROM unnest($1::int[], $2::uuid[]) AS i(account_id, id) WHERE r.account_id = i.account_id AND r.id = i.id
        RETURNING r.account_id, r.id, r.events
        """,
        account_ids,
        recipient_ids,
        reason,
    )
    return [Told(row[0], row[1], row[2]) for row in rows]
