"""Partitions: made ahead, dropped by age.

History (messages, recipients, attempts, events, mail that came in) lies in weeks of the id's time, and so do the attempts at webhooks,
which are kept for less; content and its moulds lie in days of their purge date. A drop is one catalogue change instead of millions of
deletes. Names: <parent>_p<first day>, so that they can be told from tables.

Nobody waits for any of this, though a dump may hold every table for hours. Making: a partition is made as a table and then attached, which
hinders neither readers nor writers (CREATE TABLE … PARTITION OF would keep out all). Dropping must keep out all: it waits for its lock so
shortly that those behind it hardly notice, then it gives up and is tried again.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.ids import floor_of

HISTORY_TABLES = ("messages", "recipients", "attempts", "events", "inbound_messages")
CONTENT_TABLES = ("content", "moulds", "inbound_content")
WEBHOOK_ATTEMPTS_TABLE = "webhook_attempts"
WEEKS_AHEAD = 4
_LOCK = 0x70617274
_MAKING_PATIENCE = "2s"
_DROPPING_PATIENCE = "200ms"
_LOCK_NOT_AVAILABLE = "55P03"

# Content that is kept beyond the days that are made ahead lies in steps of days, the longer the further away: the day is whoever
# sends the mail's choice, and each makes tables that every statement over content must lock.
_STEPS = ((183, 7), (732, 28), (date.max.toordinal(), 112))

# Every row is written once more when it is settled: with room beside it the new version needs no new entry in the index.
_WRITTEN_TWICE = frozenset(("recipients",))
_PARTITION = re.compile(r"^([a-z_]+)_p(\d{8})$")


def is_partition(name: str) -> bool:
    return _PARTITION.match(name) is not None


async def make_partitions(connection: AsyncConnection, today: date, *, content_days_ahead: int) -> list[str]:
    """Create what is missing from yesterday's week to WEEKS_AHEAD, and content's days up to `content_days_ahead`.

    Returns the names made. Raises what `is_lock_refused` recognises when another maker takes too long.
    """
    await _take_turn(connection, _MAKING_PATIENCE)
    existing = await list_partitions(connection)
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


def content_days_ahead(retention_days: int) -> int:
    """For so many days content's partitions are made ahead: in them lies the mail that is sent at once and expires within days."""
    return max(retention_days, 30) + 7


def purge_day(day: date, today: date, *, days_ahead: int) -> date:
    """The day on which content goes that may go on `day`: the same up to `days_ahead`, then up to a sixth of the time later."""
    ahead = (day - today).days
    if ahead <= days_ahead:
        return day
    step = next(step for most, step in _STEPS if ahead <= most)
    return day + timedelta(days=-day.toordinal() % step)


async def make_content_day(connection: AsyncConnection, day: date) -> None:
    """The partitions of this purge day, where they are missing. Raises as `make_partitions` does."""
    if {_name_of(parent, day) for parent in CONTENT_TABLES} <= await list_partitions(connection):
        return
    await _take_turn(connection, _MAKING_PATIENCE)
    await _make_content_day(connection, await list_partitions(connection), day)


async def list_old_partitions(connection: AsyncConnection, today: date, *, history_days: int, webhook_attempt_days: int = 30) -> list[str]:
    """What may go: content whose purge day is past by more than a day (clocks differ), and weeks of history that ended `history_days` ago.

    Of the attempts at webhooks those that ended `webhook_attempt_days` ago.
    """
    old: list[str] = []
    for name in sorted(await list_partitions(connection)):
        parent, start = split_name(name)
        kept_days = webhook_attempt_days if parent == WEBHOOK_ATTEMPTS_TABLE else history_days
        over = (
            start < today - timedelta(days=1)
            if parent in CONTENT_TABLES
            else start + timedelta(weeks=1) <= today - timedelta(days=kept_days)
        )
        if over:
            old.append(name)
    return old


async def drop_partition(connection: AsyncConnection, name: str) -> None:
    """Drop it. Raises what `is_lock_refused` recognises when its table is held; each belongs into a transaction of its own."""
    split_name(name)
    await _take_turn(connection, _DROPPING_PATIENCE)
    await connection.execute(text(f"DROP TABLE IF EXISTS {name}"))


def is_lock_refused(error: DBAPIError) -> bool:
    """Whether a lock was not to be had in time."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


async def _take_turn(connection: AsyncConnection, patience: str) -> None:
    """One maker or dropper at a time, until its transaction ends: IF NOT EXISTS does not help against another's uncommitted table."""
    await connection.execute(text(f"SET LOCAL lock_timeout = '{patience}'"))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def list_partitions(connection: AsyncConnection) -> set[str]:
    rows = await connection.execute(text("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"))
    return {name for (name,) in rows if is_partition(name)}


def split_name(name: str) -> tuple[str, date]:
    """("messages", its first day) of "messages_p20260105"."""
    match = _PARTITION.match(name)
    if match is None:
        raise ValueError(f"not a partition: {name}")
    return match[1], datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).date()


def _name_of(parent: str, start: date) -> str:
    return f"{parent}_p{start:%Y%m%d}"


async def _make_content_day(connection: AsyncConnection, existing: set[str], day: date) -> list[str]:
    low, high = day.isoformat(), (day + timedelta(days=1)).isoformat()
    return [name for parent in CONTENT_TABLES for name in await _make(connection, existing, parent, day, low, high)]


async def _make(connection: AsyncConnection, existing: set[str], parent: str, start: date, low: str, high: str) -> list[str]:
    name = _name_of(parent, start)
    if name in existing:
        return []
    # Names and bounds are made here from dates: nothing of a caller's goes into the statement.
    form = " WITH (fillfactor = 50)" if parent in _WRITTEN_TWICE else ""
    # Indexes come with the attaching, and are then known as parts of the parent's.
    await connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL EXCLUDING INDEXES){form}"))
    await connection.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"))
    return [name]


def _id_bound(day: date) -> str:
    return str(floor_of(datetime(day.year, day.month, day.day, tzinfo=UTC)))
