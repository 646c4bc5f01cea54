"""Partitions: made ahead, dropped by age.

History (messages, recipients, attempts, events, mail that came in) lies in weeks of the id's time, and so do the attempts at webhooks,
which are kept for less; content and its moulds lie in days of their purge date. A drop is one catalogue change instead of millions of
deletes. Names: <parent>_p<first day>, so that they can be told from tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.ids import floor_of

HISTORY_TABLES = ("messages", "recipients", "attempts", "events", "inbound_messages")
CONTENT_TABLES = ("content", "moulds", "inbound_content")
WEBHOOK_ATTEMPTS_TABLE = "webhook_attempts"
WEEKS_AHEAD = 4
_LOCK = 0x70617274

# Every row is written once more when it is settled: with room beside it the new version needs no new entry in the index.
_WRITTEN_TWICE = frozenset(("recipients",))
_PARTITION = re.compile(r"^([a-z_]+)_p(\d{8})$")


def is_partition(name: str) -> bool:
    return _PARTITION.match(name) is not None


async def make_partitions(connection: AsyncConnection, today: date, *, content_days_ahead: int) -> list[str]:
    """Create what is missing from yesterday's week to WEEKS_AHEAD, and content's days up to `content_days_ahead`.

    Returns the names made.
    """
    existing = await _lock_and_list(connection)
    made: list[str] = []
    first_week = today - timedelta(days=1)
    first_week -= timedelta(days=first_week.weekday())
    for week in range(WEEKS_AHEAD + 2):
        start = first_week + timedelta(weeks=week)
        for parent in (*HISTORY_TABLES, WEBHOOK_ATTEMPTS_TABLE):
            made += await _make(connection, existing, parent, start, _id_bound(start), _id_bound(start + timedelta(weeks=1)))
    for day in range(-1, content_days_ahead + 2):
        made += await _make_content_day(connection, existing, today + timedelta(days=day))
    return made


async def make_content_days(connection: AsyncConnection, days: Sequence[date]) -> None:
    """The partitions of these purge days, where they are missing."""
    existing = await _lock_and_list(connection)
    for day in days:
        await _make_content_day(connection, existing, day)


async def drop_partitions(connection: AsyncConnection, today: date, *, history_days: int, webhook_attempt_days: int = 30) -> list[str]:
    """Drop content whose purge day is past by more than a day (clocks differ), and weeks of history that ended `history_days` ago.

    Of the attempts at webhooks those that ended `webhook_attempt_days` ago. Returns the names dropped.
    """
    dropped: list[str] = []
    for name in sorted(await _lock_and_list(connection)):
        parent, start = split_name(name)
        kept_days = webhook_attempt_days if parent == WEBHOOK_ATTEMPTS_TABLE else history_days
        over = (
            start < today - timedelta(days=1)
            if parent in CONTENT_TABLES
            else start + timedelta(weeks=1) <= today - timedelta(days=kept_days)
        )
        if over:
            await connection.execute(text(f"DROP TABLE {name}"))
            dropped.append(name)
    return dropped


async def _lock_and_list(connection: AsyncConnection) -> set[str]:
    """One maker or dropper at a time, until its transaction ends: IF NOT EXISTS does not help against another's uncommitted table."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return await list_partitions(connection)


async def list_partitions(connection: AsyncConnection) -> set[str]:
    rows = await connection.execute(text("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"))
    return {name for (name,) in rows if is_partition(name)}


def split_name(name: str) -> tuple[str, date]:
    """("messages", its first day) of "messages_p20260105"."""
    match = _PARTITION.match(name)
    if match is None:
        raise ValueError(f"not a partition: {name}")
    return match[1], datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).date()


async def _make_content_day(connection: AsyncConnection, existing: set[str], day: date) -> list[str]:
    low, high = day.isoformat(), (day + timedelta(days=1)).isoformat()
    return [name for parent in CONTENT_TABLES for name in await _make(connection, existing, parent, day, low, high)]


async def _make(connection: AsyncConnection, existing: set[str], parent: str, start: date, low: str, high: str) -> list[str]:
    name = f"{parent}_p{start:%Y%m%d}"
    if name in existing:
        return []
    # Names and bounds are made here from dates: nothing of a caller's goes into the statement.
    form = " WITH (fillfactor = 50)" if parent in _WRITTEN_TWICE else ""
    await connection.execute(text(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {parent} FOR VALUES FROM ('{low}') TO ('{high}'){form}"))
    return [name]


def _id_bound(day: date) -> str:
    return str(floor_of(datetime(day.year, day.month, day.day, tzinfo=UTC)))
