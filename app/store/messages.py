"""Messages, their content, their recipients and every attempt: the wide tables, by account and time."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from app.store.db import metadata

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
    Column("tags", ARRAY(Text), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("send_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("purge_on", Date, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    PrimaryKeyConstraint("account_id", "id"),
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
    Column("body", LargeBinary, nullable=False),
    # Parts and link spans as offsets into body: finishing splices, it never parses.
    Column("part_map", JSON, nullable=False),
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
    PrimaryKeyConstraint("account_id", "id"),
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
