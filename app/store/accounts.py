"""Accounts (tenants) and their API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata
from app.store.streams import insert_first_streams

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("paused_at", DateTime(timezone=True)),
    # False: nothing of this account is tracked, whatever its streams and messages say.
    Column("tracking", Boolean, nullable=False, server_default="true"),
)

api_keys = Table(
    "api_keys",
    metadata,
    # The public half of the key: shown in lists, found by it; the secret half is only here as a peppered hash.
    Column("id", Text, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)

# Of one account, those that are over among them: a list is read whole.
MOST_KEYS = 1000

_MAKING_LOCK = 0x61636374  # "acct"; any number that nobody else in this database uses
# A key in use is stamped once in this time: a date for the operator, not a counter.
_STAMP_EVERY = timedelta(minutes=5)


async def insert_account(connection: AsyncConnection, name: str) -> int:
    """Add an account with its first streams; IntegrityError when the name is taken."""
    account_id = int((await connection.execute(insert(accounts).values(name=name).returning(accounts.c.id))).scalar_one())
    await insert_first_streams(connection, account_id)
    return account_id


async def lock_accounts(connection: AsyncConnection) -> None:
    """Be the only one who looks whether an account is there and then makes it, until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MAKING_LOCK})


async def list_accounts(connection: AsyncConnection) -> Sequence[Row[Any]]:
    return (await connection.execute(select(accounts).order_by(accounts.c.id))).all()


async def find_account(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """By name (unique index)."""
    return (await connection.execute(select(accounts).where(accounts.c.name == name))).one_or_none()


async def set_paused(connection: AsyncConnection, account_id: int, paused: bool) -> None:
    """Stop or resume an account; the time of the first stop is kept."""
    paused_at = func.coalesce(accounts.c.paused_at, func.now()) if paused else None
    await connection.execute(update(accounts).where(accounts.c.id == account_id).values(paused_at=paused_at))


async def set_tracking(connection: AsyncConnection, account_id: int, tracking: bool) -> None:
    await connection.execute(update(accounts).where(accounts.c.id == account_id).values(tracking=tracking))


async def is_tracking(connection: AsyncConnection, account_id: int) -> bool:
    """Whether the account lets opens and clicks be tracked at all."""
    return bool((await connection.execute(select(accounts.c.tracking).where(accounts.c.id == account_id))).scalar_one_or_none())


_MAKE_ROOM = text(
    """
    WITH ours AS (
        SELECT id, least(revoked_at, CASE WHEN expires_at <= now() THEN expires_at END) AS over_at
        FROM api_keys WHERE account_id = :account_id
    ), gone AS (
        DELETE FROM api_keys WHERE id IN (
            SELECT id FROM ours WHERE over_at IS NOT NULL ORDER BY over_at LIMIT greatest((SELECT count(*) FROM ours) - :most + 1, 0)
        ) RETURNING id
    )
    SELECT (SELECT count(*) FROM ours) - (SELECT count(*) FROM gone) < :most
    """
)


async def make_room_for_key(connection: AsyncConnection, account_id: int) -> bool:
    """Whether the account may have one more of MOST_KEYS: for that those go that have been over for longest. Two at once take turns."""
    await connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))
    return bool((await connection.execute(_MAKE_ROOM, {"account_id": account_id, "most": MOST_KEYS})).scalar_one())


async def insert_key(
    connection: AsyncConnection,
    *,
    key_id: str,
    account_id: int,
    name: str,
    pepper_id: int,
    secret_hash: bytes,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> None:
    row = {
        "id": key_id,
        "account_id": account_id,
        "name": name,
        "pepper_id": pepper_id,
        "secret_hash": secret_hash,
        "scopes": list(scopes),
        "expires_at": expires_at,
    }
    await connection.execute(insert(api_keys).values(row))


async def find_key(connection: AsyncConnection, key_id: str) -> Row[Any] | None:
    """A key that is neither revoked nor expired on the database's clock, with its account's `paused_at` (primary key)."""
    live = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now())
    stamp_due = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < func.now() - _STAMP_EVERY)
    query = (
        select(api_keys, accounts.c.paused_at, stamp_due.label("stamp_due"))
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None), live)
    )
    return (await connection.execute(query)).one_or_none()


async def stamp_key(connection: AsyncConnection, key_id: str) -> None:
    await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=func.now()))


async def list_keys(connection: AsyncConnection, account_id: int) -> Sequence[Row[Any]]:
    """The account's keys, revoked ones too, oldest first (index on account_id)."""
    query = select(api_keys).where(api_keys.c.account_id == account_id).order_by(api_keys.c.created_at, api_keys.c.id)
    return (await connection.execute(query)).all()


async def list_pepper_ids(connection: AsyncConnection) -> Sequence[int]:
    """The numbers of the keyring's keys that API keys of whatever account need, revoked ones apart."""
    query = select(api_keys.c.pepper_id).where(api_keys.c.revoked_at.is_(None)).distinct().order_by(api_keys.c.pepper_id)
    return (await connection.execute(query)).scalars().all()


async def set_revoked(connection: AsyncConnection, account_id: int | None, key_id: str) -> bool:
    """Revoke a key (of that account, or of any when None); whether there was such a key. The first revocation's time is kept."""
    ours = api_keys.c.id == key_id if account_id is None else (api_keys.c.id == key_id) & (api_keys.c.account_id == account_id)
    change = update(api_keys).where(ours).values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
    return (await connection.execute(change.returning(api_keys.c.id))).first() is not None
