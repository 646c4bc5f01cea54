"""Bring a database to the schema of this release, and give it its first partitions."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from app.store.db import Database
from app.store.partitions import is_lock_refused, make_partitions

LOCK_TRIES = 20
REST_SECONDS = 2.0

_ROOT = Path(__file__).resolve().parents[2]


def alembic_config(database_url: str) -> Config:
    config = Config(_ROOT / "alembic.ini")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, *, content_days_ahead: int = 31) -> None:
    """Migrate to the newest revision and make the partitions of the coming weeks. Blocks; safe to run twice and side by side.

    Raises the DBAPIError of a lock that was not to be had in several tries.
    """
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            command.upgrade(alembic_config(database_url), "head")
            asyncio.run(_first_partitions(database_url, content_days_ahead))
            break
        except DBAPIError as error:
            if tries_left == 0 or not is_lock_refused(error):
                raise
            # Those who queued up behind the lock go first.
            time.sleep(REST_SECONDS)


async def _first_partitions(database_url: str, content_days_ahead: int) -> None:
    database = Database(database_url)
    try:
        async with database.transaction() as connection:
            await make_partitions(connection, datetime.now(UTC).date(), content_days_ahead=content_days_ahead)
    finally:
        await database.close()
