"""Idempotency keys: one unpartitioned table, so that a key is unique for an account whatever the day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, Uuid, func, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import HotConnection, metadata

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

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a key was used for."""

    account_id: int
    key: str
    body_hash: bytes
    message_id: UUID


async def find_key_uses(connection: HotConnection, account_ids: Sequence[int], keys: Sequence[str]) -> list[KeyUse]:
    rows = await connection.fetch(
        "SELECT k.account_id, k.key, k.body_hash, k.message_id FROM unnest($1::int[], $2::text[]) AS i(account_id, key)"
        " JOIN idempotency_keys k ON k.account_id = i.account_id AND k.key = i.key",
        account_ids,
        keys,
    )
    return [KeyUse(*row) for row in rows]


async def drop_old_keys(connection: AsyncConnection) -> int:
    """Forget keys older than KEPT_FOR; returns how many."""
    gone = await connection.execute(
        text("DELETE FROM idempotency_keys WHERE created_at < now() - CAST(:kept AS interval)"), {"kept": KEPT_FOR}
    )
    return gone.rowcount
