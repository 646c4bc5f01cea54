"""When each recurring chore last ran. arq's cron wakes them; this table decides, so a lost wake is made up for."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Column, DateTime, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata

chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_run_at", DateTime(timezone=True), nullable=False),
)


async def take_chore(connection: AsyncConnection, name: str, every: timedelta) -> bool:
    """Whether the chore is due; the one who is told so has it. Slightly early counts, so that a cron's own period does not skip."""
    taken = await connection.execute(
        text(
            "INSERT INTO chores (name, last_run_at) VALUES (:name, now())"
            " ON CONFLICT (name) DO UPDATE SET last_run_at = now() WHERE chores.last_run_at < now() - 0.95 * CAST(:every AS interval)"
            " RETURNING name"
        ),
        {"name": name, "every": every},
    )
    return taken.first() is not None


async def give_back_chore(connection: AsyncConnection, name: str) -> None:
    """It was taken and failed: it is due again."""
    await connection.execute(text("DELETE FROM chores WHERE name = :name"), {"name": name})
