"""The queue: one narrow row per recipient that is still to be decided. PostgreSQL is the queue.

Inserted at accept, claimed by setting `owner` (a worker's id; ids are never used twice, so the owner is also the fence),
deleted at settle or put back with a new `due_at`. A held row is due at 'infinity'. Two partial indexes: what is ready, by lane
and account; what waits, by time.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Index, Integer, SmallInteger, Table, Uuid, text

from app.store.db import metadata

queue = Table(
    "queue",
    metadata,
    Column("recipient_id", Uuid, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("account_id", Integer, nullable=False),
    Column("site_id", Integer, nullable=False),  # a hint: 0 = not yet known, -1 = has no route
    Column("bytes", Integer, nullable=False),
    Column("owner", Integer),
    Column("class", SmallInteger, nullable=False),  # 0 transactional, 1 bulk
    Column("claims", SmallInteger, nullable=False, server_default="0"),  # since the last settle
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("ready", Boolean, nullable=False),
    Column("maybe_sent", Boolean, nullable=False, server_default="false"),
    Index(
        "ix_queue_ready",
        "site_id",
        "class",
        "account_id",
        "due_at",
        postgresql_where=text("ready AND owner IS NULL"),
    ),
    Index("ix_queue_due", "due_at", postgresql_where=text("NOT ready")),
    # Short lives, many dead rows: vacuum by count, without the pauses meant for large cold tables.
    postgresql_with={
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "20000",
        "autovacuum_vacuum_insert_scale_factor": "0",
        "autovacuum_vacuum_insert_threshold": "200000",
        "autovacuum_analyze_scale_factor": "0",
        "autovacuum_analyze_threshold": "500000",
        "autovacuum_vacuum_cost_delay": "0",
    },
)
