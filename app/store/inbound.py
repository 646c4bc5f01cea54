"""Mail that came in for accounts: what is known of it, its content, and what is still to be read.

A mail is written as it came in, with a row in `inbound_waiting`; a worker reads it and takes that row away (feedback.inbound_reading). The
row is taken for a time: that of a worker which died is taken by another, and `takes` tells in whose hands it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Date, DateTime, Index, Integer, LargeBinary, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import HotConnection, metadata
from app.store.ids import last_of_message
from app.store.messages import BROUGHT_ITS_ID, pack_body, unpack_body

inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7: when it came in
    Column("route_id", Uuid, nullable=False),
    # The envelope: who said it was from whom, to whom, from where.
    Column("envelope_from", Text, nullable=False),
    Column("envelope_to", Text, nullable=False),
    Column("client_ip", Text, nullable=False),
    Column("helo", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    # Of recipient and octets; None: without a Message-ID nothing tells a mail that came twice from two that are alike.
    Column("digest", LargeBinary),
    Column("purge_on", Date, nullable=False),
    Column("state", Text, nullable=False),  # received, read, unreadable
    # What was read of it.
    Column("from_address", Text),
    Column("subject", Text),
    Column("automatic", Boolean),
    Column("attachments", SmallInteger),
    Column("verdicts", JSON),
    Column("sent_message_id", Uuid),  # the sent message that it answers
    Column("sent_recipient_id", Uuid),
    PrimaryKeyConstraint("account_id", "id"),
    Index("ix_inbound_messages_digest", "account_id", "digest"),
    postgresql_partition_by="RANGE (id)",
)

inbound_content = Table(
    "inbound_content",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("purge_on", Date, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # a zstd frame: store.messages.pack_body
    Column("parsed", JSON),  # feedback.inbound_reading
    PrimaryKeyConstraint("account_id", "message_id", "purge_on"),
    postgresql_partition_by="RANGE (purge_on)",
)

inbound_waiting = Table(
    "inbound_waiting",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("purge_on", Date, nullable=False),
    Column("taken_until", DateTime(timezone=True)),
    Column("takes", SmallInteger, nullable=False, server_default="0"),
)


@dataclass(slots=True)
class NewInbound:
    """A mail for one account, as it came in."""

    account_id: int
    id: UUID
    route_id: UUID
    envelope_from: str
    envelope_to: str
    client_ip: str
    helo: str
    digest: bytes | None
    purge_on: date
    raw: bytes


# Who brings it again after a 250 that was lost finds the row that was committed; two at once wait for each other.
_KNOWN = """
SELECT EXISTS (SELECT FROM inbound_messages WHERE account_id = $1 AND digest = $2 AND id >= $3)
"""
_INSERT = """
INSERT INTO inbound_messages
    (account_id, id, route_id, envelope_from, envelope_to, client_ip, helo, size_bytes, digest, purge_on, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'received')
"""


async def insert_inbound(connection: HotConnection, row: NewInbound, known_since: UUID) -> bool:
    """Write a mail within the caller's transaction; False when it came in before, since an id of the time `known_since`."""
    if row.digest is not None:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", int.from_bytes(row.digest[:8], "big", signed=True))
        if await connection.fetchval(_KNOWN, row.account_id, row.digest, known_since):
            return False
    await connection.execute(
        _INSERT,
        row.account_id,
        row.id,
        row.route_id,
        row.envelope_from,
        row.envelope_to,
        row.client_ip,
        row.helo,
        len(row.raw),
        row.digest,
        row.purge_on,
    )
    content = "INSERT INTO inbound_content (account_id, message_id, purge_on, raw) VALUES ($1, $2, $3, $4)"
    await connection.execute(content, row.account_id, row.id, row.purge_on, pack_body(row.raw))
    waiting = "INSERT INTO inbound_waiting (message_id, account_id, purge_on) VALUES ($1, $2, $3)"
    await connection.execute(waiting, row.id, row.account_id, row.purge_on)
    return True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mail that is to be read, in the caller's hands. `raw` is None when its content is gone."""

    account_id: int
    id: UUID
    purge_on: date
    takes: int
    envelope_from: str
    envelope_to: str
    client_ip: str
    helo: str
    size_bytes: int
    raw: bytes | None


_TAKE = """
UPDATE inbound_waiting SET taken_until = now() + make_interval(secs => $1), takes = takes + 1
WHERE message_id = (
    SELECT message_id FROM inbound_waiting
    WHERE taken_until IS NULL OR taken_until < now() ORDER BY takes, message_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING account_id, message_id, purge_on, takes
"""
_WAITING = """
SELECT m.envelope_from, m.envelope_to, m.client_ip, m.helo, m.size_bytes, c.raw
FROM inbound_messages m
LEFT JOIN inbound_content c ON c.account_id = $1 AND c.message_id = $2 AND c.purge_on = $3
WHERE m.account_id = $1 AND m.id = $2
"""


async def take_waiting(connection: HotConnection, seconds: float) -> Waiting | None:
    """The oldest mail that nobody reads, for so many seconds; those that somebody failed with come last."""
    taken = await connection.fetchrow(_TAKE, seconds)
    if taken is None:
        return None
    row = await connection.fetchrow(_WAITING, taken[0], taken[1], taken[2])
    if row is None:  # erased or dropped meanwhile
        await connection.execute("DELETE FROM inbound_waiting WHERE message_id = $1", taken[1])
        return None
    account_id, message_id, purge_on, takes = taken
    sender, recipient, client_ip, helo, size_bytes, packed = row
    raw = unpack_body(packed) if packed is not None else None
    return Waiting(account_id, message_id, purge_on, takes, sender, recipient, client_ip, helo, size_bytes, raw)


async def read_oldest_waiting(connection: HotConnection) -> tuple[int, UUID | None]:
    """How many mails wait to be read, and the oldest of them: its id's time is when it came in."""
    row = await connection.fetchrow("SELECT count(*), min(message_id::text)::uuid FROM inbound_waiting")
    return row[0], row[1]


async def end_waiting(connection: HotConnection, waiting: Waiting) -> bool:
    """It is read, by the caller's transaction; False when another has taken it since."""
    done = await connection.fetchval(
        "DELETE FROM inbound_waiting WHERE message_id = $1 AND takes = $2 RETURNING true", waiting.id, waiting.takes
    )
    return bool(done)


@dataclass(frozen=True, slots=True)
class WasRead:
    """What was read of a mail."""

    state: str
    from_address: str | None
    subject: str | None
    automatic: bool
    attachments: int
    verdicts: str  # JSON text
    sent_message_id: UUID | None
    sent_recipient_id: UUID | None
    parsed: str | None  # JSON text


_READ = """
UPDATE inbound_messages SET state = $3, from_address = $4, subject = $5, automatic = $6, attachments = $7, verdicts = $8::json,
    sent_message_id = $9, sent_recipient_id = $10
WHERE account_id = $1 AND id = $2
"""


async def write_read(connection: HotConnection, waiting: Waiting, read: WasRead) -> None:
    await connection.execute(
        _READ,
        waiting.account_id,
        waiting.id,
        read.state,
        read.from_address,
        read.subject,
        read.automatic,
        read.attachments,
        read.verdicts,
        read.sent_message_id,
        read.sent_recipient_id,
    )
    content = "UPDATE inbound_content SET parsed = $4::json WHERE account_id = $1 AND message_id = $2 AND purge_on = $3"
    await connection.execute(content, waiting.account_id, waiting.id, waiting.purge_on, read.parsed)


@dataclass(frozen=True, slots=True)
class Shown:
    """A mail as its account sees it."""

    id: UUID
    route_id: UUID
    envelope_from: str
    envelope_to: str
    client_ip: str
    helo: str
    size_bytes: int
    purge_on: date
    state: str
    from_address: str | None
    subject: str | None
    automatic: bool | None
    attachments: int | None
    verdicts: str | None  # JSON text
    sent_message_id: UUID | None
    sent_recipient_id: UUID | None


_SHOWN = (
    "id, route_id, envelope_from, envelope_to, client_ip, helo, size_bytes, purge_on, state, from_address, subject, automatic,"
    " attachments, verdicts::text, sent_message_id, sent_recipient_id"
)


async def list_inbound(connection: HotConnection, account_id: int, before: UUID | None, limit: int) -> list[Shown]:
    """The account's, newest first, before an id (primary key)."""
    query = f"SELECT {_SHOWN} FROM inbound_messages WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"  # noqa: S608
    return [Shown(*row) for row in await connection.fetch(query, account_id, before or UUID(int=2**128 - 1), limit)]


async def find_inbound(connection: HotConnection, account_id: int, message_id: UUID) -> Shown | None:
    """By primary key."""
    query = f"SELECT {_SHOWN} FROM inbound_messages WHERE account_id = $1 AND id = $2"  # noqa: S608
    row = await connection.fetchrow(query, account_id, message_id)
    return Shown(*row) if row is not None else None


async def read_parsed(connection: HotConnection, account_id: int, shown: Shown) -> Any:
    """What was read of a mail as JSON text; None when it is not yet, or its content is gone."""
    query = "SELECT parsed::text FROM inbound_content WHERE account_id = $1 AND message_id = $2 AND purge_on = $3"
    return await connection.fetchval(query, account_id, shown.id, shown.purge_on)


async def read_raw(connection: HotConnection, account_id: int, shown: Shown) -> bytes | None:
    """Its octets; None when they are gone."""
    query = "SELECT raw FROM inbound_content WHERE account_id = $1 AND message_id = $2 AND purge_on = $3"
    packed = await connection.fetchval(query, account_id, shown.id, shown.purge_on)
    return unpack_body(packed) if packed is not None else None


_FIND_SENT = f"""
SELECT id, rfc_message_id FROM messages WHERE account_id = $1 AND id = ANY($2::uuid[])
UNION ALL
SELECT id, rfc_message_id FROM messages WHERE account_id = $1 AND rfc_message_id = ANY($3::text[]) AND {BROUGHT_ITS_ID}
"""  # noqa: S608  (the condition of an index)


async def find_sent(connection: HotConnection, account_id: int, rfc_ids: Sequence[str], message_ids: Sequence[UUID]) -> UUID | None:
    """The sent message of the account that has the first of these Message-IDs (without brackets) which one has.

    `message_ids`: of which of our ids such Message-IDs can be made. By primary key, and ix_messages_own_id; of two mails that brought the
    same Message-ID, the later one.
    """
    rows = await connection.fetch(_FIND_SENT, account_id, message_ids, [f"<{one}>" for one in rfc_ids])
    found = {row[1].strip("<>"): row[0] for row in sorted(rows)}
    return next((found[one] for one in rfc_ids if one in found), None)


async def list_sent_to(connection: HotConnection, account_id: int, message_id: UUID) -> list[tuple[UUID, str]]:
    """(id, address) of a sent message's recipients (primary key)."""
    query = "SELECT id, address FROM recipients WHERE account_id = $1 AND id BETWEEN $2 AND $3 ORDER BY id LIMIT 1000"
    return [tuple(row) for row in await connection.fetch(query, account_id, message_id, last_of_message(message_id))]
