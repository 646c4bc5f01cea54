"""The one way to PostgreSQL.

Two kinds of connection, for two kinds of work:

* `transaction()` and `reading()` give SQLAlchemy's AsyncConnection: resources, look-ups, chores. Queries are Core
  expressions or text.
* `hot()` gives an asyncpg connection for the few statements that carry every message (accept, claim, load, settle,
  record, feed). They take arrays, are prepared once per connection and planned generically; the toolkit's own cost per
  execution would be felt there.

Doors and loops own the transaction; functions of `store` never commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import Unavailable

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# asyncpg ships no types: the hot connection is its Connection (or the pool's proxy of one).
HotConnection = Any

# A table or column that this release knows and the database does not: it was not migrated.
SCHEMA_ERRORS: tuple[type[BaseException], ...] = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)

# What it looks like when PostgreSQL is away, or there and unable: stopping, read-only, out of disk, memory or connections.
# InternalClientError: the server has said goodbye, and the end of the stream is not read yet.
CONNECTION_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)

# The same by either kind of connection: SQLAlchemy wraps what it hears, and its pool may be used up.
AWAY: tuple[type[BaseException], ...] = (*CONNECTION_ERRORS, DBAPIError, PoolTimeout)
_RETRY_AFTER_SECONDS = 2

# A generic plan from the first execution: the statements are written for it (arrays in, bounds for pruning).
_HOT_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "application_name": "staffetta",
}


class Database:
    """Connections to one database; opened lazily, closed by `close()`."""

    def __init__(self, url: str, *, hot_connections: int = 6, connections: int = 5) -> None:
        self.url = url
        self._hot_connections = hot_connections
        self._hot_pool: Any = None
        self._opening = asyncio.Lock()
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url), pool_size=connections, max_overflow=5, pool_pre_ping=True, pool_timeout=5
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that commits when the block ends well."""
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; nothing of it is kept."""
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def hot(self) -> AsyncIterator[HotConnection]:
        """An asyncpg connection; no transaction is open on it. Raises one of CONNECTION_ERRORS when PostgreSQL is away."""
        pool = self._hot_pool or await self._pool()
        async with pool.acquire(timeout=5) as connection:
            yield connection

    async def open_hot(self, *, lock_timeout_ms: int = 0) -> HotConnection:
        """An asyncpg connection of the caller's own, for a loop that uses it all the time; the caller closes it."""
        settings = _HOT_SETTINGS | ({"lock_timeout": str(lock_timeout_ms)} if lock_timeout_ms else {})
        return await asyncpg.connect(self.url, timeout=5, command_timeout=60, server_settings=settings)

    async def _pool(self) -> Any:
        async with self._opening:
            if self._hot_pool is None:
                self._hot_pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=self._hot_connections,
                    max_inactive_connection_lifetime=0,
                    timeout=5,
                    command_timeout=60,
                    server_settings=_HOT_SETTINGS,
                    # The pool's reset query costs a round trip per use and hot statements leave no session state behind.
                    reset=_no_reset,
                )
        return self._hot_pool

    async def close(self) -> None:
        if self._hot_pool is not None:
            self._hot_pool.terminate()
            self._hot_pool = None
        await self.engine.dispose()


def away(so: str = "") -> Unavailable:
    """The refusal while the database is away; `so` says what that means for what was asked."""
    return Unavailable(f"The database is not reachable{f'; {so}' if so else ''}.", retry_after_seconds=_RETRY_AFTER_SECONDS)


@asynccontextmanager
async def refusing_while_away(so: str = "") -> AsyncIterator[None]:
    """What cannot be done because the database is away is refused as `away` says."""
    try:
        yield
    except AWAY as error:
        raise away(so) from error


async def _no_reset(_connection: Any) -> None:
    return None


def sqlalchemy_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError(f"not a PostgreSQL URL: {scheme}://…")
    return f"postgresql+asyncpg://{rest}"
