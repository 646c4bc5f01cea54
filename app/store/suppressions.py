"""Addresses that an account does not send to, by stream, with the reason."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, Uuid, func

from app.store.db import metadata

suppressions = Table(
    "suppressions",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("stream", Text, nullable=False),  # '*' = every stream
    Column("address", Text, nullable=False),  # mail.address.suppression_key
    Column("reason", Text, nullable=False),
    Column("about", Uuid),  # the recipient whose fate was the cause
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("account_id", "address", "stream"),
)
