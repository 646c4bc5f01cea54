"""Alembic's environment: online only, one migrator at a time (advisory lock), the URL from the caller or the settings.

A migrator waits for its turn by asking again, not within a statement: that would hold a snapshot, for which an index that the
other one builds CONCURRENTLY would wait in turn. And it waits for a table's lock for seconds only, because whoever comes after it
waits behind it; then it gives up, and its caller tries again.
"""

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
ASK_AGAIN_SECONDS = 0.2
LOCK_PATIENCE = "3s"


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
        # Without a transaction that stays open: an index that is built CONCURRENTLY would wait for its end.
        await guard.execution_options(isolation_level="AUTOCOMMIT")
        # Two replicas that start together: the second waits and finds nothing to do.
        while not (await guard.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})).scalar_one():  # noqa: ASYNC110
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        await connection.execute(text(f"SET lock_timeout = '{LOCK_PATIENCE}'"))
        await connection.commit()
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


_ = app.store  # its import fills the metadata
asyncio.run(run())
