"""What PostgreSQL is like under us: the settings that promises rest on, its clock, how long a commit takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

from app.store.db import HotConnection

_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit", "server_version_num", "max_connections", "superuser_reserved_connections")


async def read_settings(connection: HotConnection) -> Mapping[str, str]:
    """The settings of _SETTINGS, and `data_directory` where the role may know it."""
    rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])", [*_SETTINGS, "data_directory"])
    return {row[0]: row[1] for row in rows}


async def read_clock(connection: HotConnection) -> float:
    """The database's time, Unix seconds."""
    seconds: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return seconds


async def measure_commit(connection: HotConnection, times: int) -> float:
    """The median of so many commits that each wait for the disk, in milliseconds. Writes nothing that stays."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await connection.execute("SELECT pg_logical_emit_message(true, 'staffetta', 'how long does a commit take')")
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def count_live_workers(connection: HotConnection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM workers WHERE lease_until > now()")
    return count
