"""Webhook endpoints with their cursor on the event log, and the events that are to be posted again."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY

from app.store.db import metadata
from app.store.events import Xid8

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed by the keyring
    Column("event_types", ARRAY(Text)),  # None: all
    Column("batch_size", SmallInteger, nullable=False, server_default="1"),  # most events in one post
    Column("enabled", Boolean, nullable=False, server_default="true"),
    Column("disabled_reason", Text),
    # Everything up to here was posted, or stands in webhook_retries.
    Column("cursor_xid", Xid8, nullable=False),
    Column("cursor_id", Uuid, nullable=False),
    Column("owner", Integer),  # the worker that posts for it; its lease is the worker's
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

webhook_retries = Table(
    "webhook_retries",
    metadata,
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("event_xid", Xid8, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    Index("ix_webhook_retries_due", "endpoint_id", "due_at"),
)
