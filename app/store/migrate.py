"""Bring a database to the schema of this release, and give it its first partitions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config

from app.store.db import Database
from app.store.partitions import make_partitions

_ROOT = Path(__file__).resolve().parents[2]


def alembic_config(database_url: str) -> Config:
    config = Config(_ROOT / "alembic.ini")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, *, content_days_ahead: int = 31) -> None:
    """Migrate to the newest revision and make the partitions of the coming weeks. Blocks; safe to run twice and side by side."""
    command.upgrade(alembic_config(database_url), "head")
    asyncio.run(_first_partitions(database_url, content_days_ahead))


async def _first_partitions(database_url: str, content_days_ahead: int) -> None:
    database = Database(database_url)
    try:
        async with database.transaction() as connection:
            await make_partitions(connection, datetime.now(UTC).date(), content_days_ahead=content_days_ahead)
    finally:
        await database.close()
