"""Alembic's environment: online only, one migrator at a time (advisory lock), the URL from the caller or the settings."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import app.store
from app.config import Settings
from app.store.db import metadata, sqlalchemy_url
from app.store.partitions import is_partition

# Any number will do, as long as nobody else in this database uses it ("staf" in ASCII).
MIGRATION_LOCK = 0x73746166


def include_object(item: object, name: str | None, kind: str, reflected: bool, _compare_to: object) -> bool:
    """Partitions come and go by a chore; only their parents are schema."""
    if kind == "table":
        return not (reflected and name is not None and is_partition(name))
    table = getattr(item, "table", None)
    return table is None or not is_partition(table.name)


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, include_object=include_object, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def run() -> None:
    url = context.config.attributes.get("database_url") or Settings().database_url
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    async with engine.connect() as guard, engine.connect() as connection:
        # Two replicas that start together: the second waits and finds nothing to do.
        await guard.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


_ = app.store  # its import fills the metadata
asyncio.run(run())
