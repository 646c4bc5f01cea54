"""Streams: the kinds of mail of an account. Each has its class, its tracking, its ages, and suppressions of its own (`suppressions`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata

streams = Table(
    "streams",
    metadata,
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("class", SmallInteger, nullable=False),  # 0 transactional, 1 bulk; never changed
    Column("title", Text, nullable=False),  # shown to recipients
    Column("description", Text, nullable=False, server_default=""),  # so is this
    Column("track_opens", Boolean, nullable=False, server_default="true"),
    Column("track_clicks", Boolean, nullable=False, server_default="true"),
    Column("content_retention_days", Integer),  # None: the setting
    Column("max_age_hours", Float),  # None: the setting
    Column("list_id", Text),  # RFC 2919; None: made from the stream's name and the sending domain
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("archived_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("account_id", "name"),
)

# What every account has, from the beginning and for ever: name, class, title.
FIRST_STREAMS = (("transactional", 0, "Service messages"), ("bulk", 1, "News"))


@dataclass(frozen=True, slots=True)
class StreamRow:
    name: str
    lane_class: int
    title: str
    description: str
    track_opens: bool
    track_clicks: bool
    content_retention_days: int | None
    max_age_hours: float | None
    list_id: str | None
    created_at: datetime
    archived_at: datetime | None


_COLUMNS = (
    streams.c.name,
    streams.c["class"],
    streams.c.title,
    streams.c.description,
    streams.c.track_opens,
    streams.c.track_clicks,
    streams.c.content_retention_days,
    streams.c.max_age_hours,
    streams.c.list_id,
    streams.c.created_at,
    streams.c.archived_at,
)


async def insert_first_streams(connection: AsyncConnection, account_id: int) -> None:
    """The streams that every account has."""
    rows = [{"account_id": account_id, "name": name, "class": lane_class, "title": title} for name, lane_class, title in FIRST_STREAMS]
    await connection.execute(insert(streams).values(rows))


async def insert_stream(connection: AsyncConnection, account_id: int, values: Mapping[str, Any], most: int) -> StreamRow | None:
    """Add a stream of these columns; None when its name is taken or the account has `most` already."""
    await lock_streams(connection, account_id)
    number = (await connection.execute(select(func.count()).where(streams.c.account_id == account_id))).scalar_one()
    if number >= most:
        return None
    row = {"account_id": account_id, **values}
    made = await connection.execute(insert(streams).values(row).on_conflict_do_nothing().returning(*_COLUMNS))
    found = made.one_or_none()
    return StreamRow(*found) if found is not None else None


async def lock_streams(connection: AsyncConnection, account_id: int) -> None:
    """Be the only one who adds streams to the account, until the transaction ends."""
    await connection.execute(text("SELECT FROM accounts WHERE id = :id FOR NO KEY UPDATE"), {"id": account_id})


async def update_stream(connection: AsyncConnection, account_id: int, name: str, changes: Mapping[str, Any]) -> StreamRow | None:
    """Change columns; `archived` True or False sets or clears `archived_at` (the first time is kept). None when there is no such stream."""
    values = {column: value for column, value in changes.items() if column != "archived"}
    if "archived" in changes:
        values["archived_at"] = func.coalesce(streams.c.archived_at, func.now()) if changes["archived"] else None
    if not values:
        return await find_stream(connection, account_id, name)
    change = update(streams).where(streams.c.account_id == account_id, streams.c.name == name).values(**values)
    found = (await connection.execute(change.returning(*_COLUMNS))).one_or_none()
    return StreamRow(*found) if found is not None else None


async def find_stream(connection: AsyncConnection, account_id: int, name: str) -> StreamRow | None:
    """By primary key."""
    query = select(*_COLUMNS).where(streams.c.account_id == account_id, streams.c.name == name)
    found = (await connection.execute(query)).one_or_none()
    return StreamRow(*found) if found is not None else None


async def list_streams(connection: AsyncConnection, account_id: int) -> Sequence[StreamRow]:
    """All of an account, archived ones too, by name (primary key)."""
    query = select(*_COLUMNS).where(streams.c.account_id == account_id).order_by(streams.c.name)
    return [StreamRow(*row) for row in (await connection.execute(query)).all()]
