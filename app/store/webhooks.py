"""Webhook endpoints with their cursor on the event log, and the posts that are to be tried again.

This file holds the tables and what the API asks of them; the statements of the poster's rounds stand in `webhook_rounds`, what
came of single posts in `webhook_attempts`, what is posted once more in `webhook_replays`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.accounts import accounts
from app.store.db import metadata
from app.store.events import Xid8

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed by the keyring
    # After a rotation the one before it signs too, for a while.
    Column("old_secret", LargeBinary),
    Column("old_secret_until", DateTime(timezone=True)),
    # What is posted: None is everything. A type may be a whole family, `message.*`.
    Column("event_types", ARRAY(Text)),
    Column("streams", ARRAY(Text)),
    Column("tags", ARRAY(Text)),
    Column("batch_size", SmallInteger, nullable=False, server_default="1"),  # most events in one post
    Column("enabled", Boolean, nullable=False, server_default="true"),
    Column("disabled_reason", Text),
    # Everything up to here was posted, or stands in webhook_retries.
    Column("cursor_xid", Xid8, nullable=False),
    Column("cursor_id", Uuid, nullable=False),
    Column("owner", Integer),  # the worker that posts for it; its lease is the worker's
    # The receiver's health: failures in a row, since when it is taken for down, no post before resume_at.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("down_since", DateTime(timezone=True)),
    Column("failing_told_at", DateTime(timezone=True)),  # when its account was told that it has been down for long
    Column("disabled_at", DateTime(timezone=True)),
    Column("resume_at", DateTime(timezone=True)),
    Column("last_error", Text),
    Column("last_error_at", DateTime(timezone=True)),
    Column("last_success_at", DateTime(timezone=True)),
    Column("given_up", BigInteger, nullable=False, server_default="0"),  # events that were never taken
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

webhook_retries = Table(
    "webhook_retries",
    metadata,
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("webhook_id", Text, primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("batch", Boolean, nullable=False),
    # The events of the post, in its order: their keys in the log. The body is made from them again.
    Column("event_xids", ARRAY(Text), nullable=False),
    Column("event_ids", ARRAY(Uuid), nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    Index("ix_webhook_retries_due", "endpoint_id", "due_at"),
)

# A lag is counted no further than this; in a list, where there are many, less far.
MOST_COUNTED = 100_000
MOST_COUNTED_IN_LIST = 1000
MOST_ENDPOINTS = 20  # of one account


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as its account sees it."""

    id: UUID
    account_id: int
    url: str
    event_types: Sequence[str] | None
    streams: Sequence[str] | None
    tags: Sequence[str] | None
    batch_size: int
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    old_secret_until: datetime | None
    failures: int
    down_since: datetime | None
    resume_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    last_success_at: datetime | None
    given_up: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """What an endpoint has not been told yet: events behind the cursor and posts waiting to be tried again."""

    events: int
    oldest_event_id: UUID | None
    retries: int
    next_retry_at: datetime | None


_SHOWN = [webhook_endpoints.c[name] for name in Endpoint.__dataclass_fields__]


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(*tuple(row))


async def insert_endpoint(
    connection: AsyncConnection,
    *,
    endpoint_id: UUID,
    account_id: int,
    url: str,
    secret: bytes,
    event_types: Sequence[str] | None,
    batch_size: int,
    streams: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> Endpoint | None:
    """A new endpoint, told everything from now on; None when the account has MOST_ENDPOINTS. Two at once: the account's row decides."""
    await connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))
    if len(await list_endpoints(connection, account_id)) >= MOST_ENDPOINTS:
        return None
    statement = insert(webhook_endpoints).values(
        id=endpoint_id,
        account_id=account_id,
        url=url,
        secret=secret,
        event_types=event_types,
        streams=streams,
        tags=tags,
        batch_size=batch_size,
        # Below every event that is not committed yet.
        cursor_xid=literal_column("feed_horizon()"),
        cursor_id=UUID(int=0),
    )
    return _endpoint((await connection.execute(statement.returning(*_SHOWN))).one())


async def list_endpoints(connection: AsyncConnection, account_id: int) -> list[Endpoint]:
    """By the index on account_id."""
    query = select(*_SHOWN).where(webhook_endpoints.c.account_id == account_id).order_by(webhook_endpoints.c.id)
    return [_endpoint(row) for row in await connection.execute(query)]


async def find_endpoint(connection: AsyncConnection, account_id: int, endpoint_id: UUID) -> Endpoint | None:
    query = select(*_SHOWN).where(webhook_endpoints.c.account_id == account_id, webhook_endpoints.c.id == endpoint_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _endpoint(row)


async def update_endpoint(
    connection: AsyncConnection,
    account_id: int,
    endpoint_id: UUID,
    changes: Mapping[str, Any],
    *,
    fresh_start: bool,
    from_now: bool = False,
) -> Endpoint | None:
    """Change url, filters, batch_size or enabled; a fresh start forgets how the receiver behaved.

    The cursor stays, unless the endpoint is to go on `from_now`: then nothing that happened before, nor what waits, is posted.
    """
    values = dict(changes)
    if values.get("enabled") is False:
        values |= {"disabled_reason": "Disabled by its account.", "disabled_at": func.now()}
    if fresh_start:
        values |= {"failures": 0, "down_since": None, "failing_told_at": None, "resume_at": None}
    if values.get("enabled") is True:
        values |= {"disabled_reason": None, "disabled_at": None}
    if from_now:
        values |= {"cursor_xid": literal_column("feed_horizon()"), "cursor_id": UUID(int=0)}
    where = (webhook_endpoints.c.account_id == account_id, webhook_endpoints.c.id == endpoint_id)
    statement = update(webhook_endpoints).where(*where).values(**values).returning(*_SHOWN) if values else select(*_SHOWN).where(*where)
    row = (await connection.execute(statement)).one_or_none()
    # After the endpoint's row, as in a round: the other order could deadlock with one.
    waiting = webhook_retries.c.endpoint_id == endpoint_id
    if row is not None and from_now:
        await connection.execute(delete(webhook_retries).where(waiting))
    elif row is not None and fresh_start:
        await connection.execute(update(webhook_retries).where(waiting).values(due_at=func.now()))
    return None if row is None else _endpoint(row)


async def rotate_secret(
    connection: AsyncConnection, account_id: int, endpoint_id: UUID, secret: bytes, *, overlap: timedelta
) -> Endpoint | None:
    """A new (sealed) secret; the one until now signs too during the overlap. One that was old already ends."""
    columns = webhook_endpoints.c
    statement = (
        update(webhook_endpoints)
        .where(columns.account_id == account_id, columns.id == endpoint_id)
        .values(
            secret=secret,
            old_secret=columns.secret if overlap else None,
            old_secret_until=func.now() + overlap if overlap else None,
        )
    )
    row = (await connection.execute(statement.returning(*_SHOWN))).one_or_none()
    return None if row is None else _endpoint(row)


async def read_secrets(connection: AsyncConnection, account_id: int, endpoint_id: UUID) -> list[bytes]:
    """The sealed secrets that sign now, the newest first."""
    columns = webhook_endpoints.c
    query = select(columns.secret, case((columns.old_secret_until > func.now(), columns.old_secret))).where(
        columns.account_id == account_id, columns.id == endpoint_id
    )
    row = (await connection.execute(query)).one_or_none()
    return [secret for secret in row or () if secret is not None]


async def delete_endpoint(connection: AsyncConnection, account_id: int, endpoint_id: UUID) -> bool:
    """Its waiting posts go with it."""
    where = (webhook_endpoints.c.account_id == account_id, webhook_endpoints.c.id == endpoint_id)
    return bool((await connection.execute(delete(webhook_endpoints).where(*where))).rowcount)


async def list_sealed(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """(id, account_id, secret) of all endpoints of all accounts; two of an endpoint while the secret before signs too."""
    columns = webhook_endpoints.c
    first: list[Any] = [columns.id, columns.account_id, columns.secret]
    second: list[Any] = [columns.id, columns.account_id, columns.old_secret]
    both: Any = select(*first).union_all(select(*second).where(columns.old_secret_until > func.now())).order_by("id")
    return (await connection.execute(both)).all()


async def read_lag(connection: AsyncConnection, endpoint_id: UUID, most: int = MOST_COUNTED) -> Lag:
    """By the feed's primary key, at most `most` rows of it. Counted are the wanted types, whatever their streams and tags."""
    row = (
        await connection.execute(
            text(
                """
                SELECT count(v.id) FILTER (WHERE e.event_types IS NULL OR v.type = ANY (e.event_types) OR v.family = ANY (e.event_types)),
                       min(v.id::text) FILTER (
                           WHERE e.event_types IS NULL OR v.type = ANY (e.event_types) OR v.family = ANY (e.event_types)
                       ),
                       (SELECT count(*) FROM webhook_retries WHERE endpoint_id = e.id),
                       (SELECT min(due_at) FROM webhook_retries WHERE endpoint_id = e.id)
                FROM webhook_endpoints e
                LEFT JOIN LATERAL (
                    SELECT id, type, split_part(type, '.', 1) || '.*' AS family FROM events
                    WHERE account_id = e.account_id AND (xid, id) > (e.cursor_xid, e.cursor_id) ORDER BY xid, id LIMIT :most
                ) v ON true
                WHERE e.id = :endpoint_id GROUP BY e.id
                """
            ),
            {"endpoint_id": endpoint_id, "most": most},
        )
    ).one_or_none()
    if row is None:
        return Lag(0, None, 0, None)
    return Lag(row[0], UUID(row[1]) if row[1] else None, row[2], row[3])
