"""Idempotency keys: one unpartitioned table, so that a key is unique for an account whatever the day."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, Uuid, func

from app.store.db import metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
    PrimaryKeyConstraint("account_id", "key"),
)
