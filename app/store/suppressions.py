"""Addresses that an account does not send to, by stream, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, Uuid, func

from app.store.db import HotConnection, metadata

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


@dataclass(frozen=True, slots=True)
class NewSuppression:
    account_id: int
    stream: str
    address: str  # mail.address.suppression_key
    reason: str
    about: UUID | None


async def add_suppressions(connection: HotConnection, rows: Sequence[NewSuppression]) -> None:
    """Add addresses, in sorted order so that two writers cannot deadlock; the first reason stays."""
    ordered = sorted(rows, key=lambda r: (r.account_id, r.address, r.stream))
    await connection.execute(
        "INSERT INTO suppressions (account_id, stream, address, reason, about)"
        " SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::uuid[]) ON CONFLICT DO NOTHING",
        [r.account_id for r in ordered],
        [r.stream for r in ordered],
        [r.address for r in ordered],
        [r.reason for r in ordered],
        [r.about for r in ordered],
    )
