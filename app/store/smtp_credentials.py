"""SMTP credentials of accounts: user names, hashed passwords, and what each may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
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

from app.store.accounts import accounts
from app.store.db import HotConnection, metadata
from app.store.incidents import incidents

smtp_credentials = Table(
    "smtp_credentials",
    metadata,
    # The user name: given by us, unique over all accounts, because a log-in names no account.
    Column("id", Text, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("pepper_id", Integer, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    # Addresses and domains that may stand in From; empty: all of the account's domains.
    Column("allowed_from", ARRAY(Text), nullable=False, server_default="{}"),
    # Networks (CIDR) it may be used from; empty: all.
    Column("networks", ARRAY(Text), nullable=False, server_default="{}"),
    Column("recipients_per_minute", Integer),
    # Final failures are told to the submitting address by mail.
    Column("tells_failures", Boolean, nullable=False, server_default="true"),
    Column("stream", Text),
    # So many an hour are nothing unusual, because its owner says so (accounts.misuse).
    Column("trusted_per_hour", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)

# As of API keys.
MOST_SMTP_CREDENTIALS = 1000

# As API keys: a date for the operator, not a counter.
_STAMP_EVERY = timedelta(minutes=5)


# One whose mail is held stays until that is decided.
_MAKE_ROOM = text(
    """
    WITH ours AS (SELECT id, revoked_at FROM smtp_credentials WHERE account_id = :account_id), gone AS (
        DELETE FROM smtp_credentials WHERE id IN (
            SELECT id FROM ours
            WHERE revoked_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM incidents i WHERE i.credential = ours.id AND i.decided_at IS NULL)
            ORDER BY revoked_at LIMIT greatest((SELECT count(*) FROM ours) - :most + 1, 0)
        ) RETURNING id
    )
    SELECT (SELECT count(*) FROM ours) - (SELECT count(*) FROM gone) < :most
    """
)


async def make_room_for_smtp_credential(connection: AsyncConnection, account_id: int) -> bool:
    """Whether the account may have one more of MOST_SMTP_CREDENTIALS: for that those go that were revoked first. Two at once take turns."""
    await connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))
    return bool((await connection.execute(_MAKE_ROOM, {"account_id": account_id, "most": MOST_SMTP_CREDENTIALS})).scalar_one())


async def insert_smtp_credential(connection: AsyncConnection, row: dict[str, Any]) -> Row[Any]:
    """Add one; returns the whole row."""
    made: Row[Any] = (await connection.execute(insert(smtp_credentials).values(row).returning(smtp_credentials))).one()
    return made


async def find_smtp_credential(connection: AsyncConnection, user_name: str) -> Row[Any] | None:
    """One that is not revoked, with its account's `paused_at`, its open incident and whether its `last_used_at` is to be stamped."""
    last_used = smtp_credentials.c.last_used_at
    stamp_due = or_(last_used.is_(None), last_used < func.now() - _STAMP_EVERY)
    query = (
        select(
            smtp_credentials,
            accounts.c.paused_at,
            stamp_due.label("stamp_due"),
            incidents.c.id.label("incident_id"),
            incidents.c.reason.label("incident_reason"),
        )
        .join(accounts, accounts.c.id == smtp_credentials.c.account_id)
        .outerjoin(incidents, (incidents.c.credential == smtp_credentials.c.id) & incidents.c.decided_at.is_(None))
        .where(smtp_credentials.c.id == user_name, smtp_credentials.c.revoked_at.is_(None))
    )
    return (await connection.execute(query)).one_or_none()


async def stamp_smtp_credential(connection: AsyncConnection, user_name: str) -> None:
    await connection.execute(update(smtp_credentials).where(smtp_credentials.c.id == user_name).values(last_used_at=func.now()))


async def list_smtp_credentials(connection: AsyncConnection, account_id: int) -> Sequence[Row[Any]]:
    """The account's, revoked ones too, oldest first (index on account_id), each with its open incident."""
    query = (
        select(smtp_credentials, incidents.c.id.label("incident_id"), incidents.c.reason.label("incident_reason"))
        .outerjoin(incidents, (incidents.c.credential == smtp_credentials.c.id) & incidents.c.decided_at.is_(None))
        .where(smtp_credentials.c.account_id == account_id)
    )
    return (await connection.execute(query.order_by(smtp_credentials.c.created_at, smtp_credentials.c.id))).all()


async def list_smtp_pepper_ids(connection: AsyncConnection) -> Sequence[int]:
    """The numbers of the keyring's keys that passwords of whatever account need, revoked ones apart."""
    column = smtp_credentials.c.pepper_id
    query = select(column).where(smtp_credentials.c.revoked_at.is_(None)).distinct().order_by(column)
    return (await connection.execute(query)).scalars().all()


async def set_smtp_credential_revoked(connection: AsyncConnection, account_id: int | None, user_name: str) -> bool:
    """Revoke (None: of whatever account); whether there is such a credential. The time of the first revocation is kept."""
    where = [smtp_credentials.c.id == user_name]
    if account_id is not None:
        where.append(smtp_credentials.c.account_id == account_id)
    revoked_at = func.coalesce(smtp_credentials.c.revoked_at, func.now())
    done = await connection.execute(update(smtp_credentials).where(*where).values(revoked_at=revoked_at))
    return done.rowcount > 0


async def set_smtp_credential_password(
    connection: AsyncConnection, account_id: int | None, user_name: str, pepper_id: int, secret_hash: bytes
) -> bool:
    """Another password from now on (account None: of whatever account); whether there is such a credential, not revoked."""
    where = [smtp_credentials.c.id == user_name, smtp_credentials.c.revoked_at.is_(None)]
    if account_id is not None:
        where.append(smtp_credentials.c.account_id == account_id)
    done = await connection.execute(update(smtp_credentials).where(*where).values(pepper_id=pepper_id, secret_hash=secret_hash))
    return done.rowcount > 0


async def raise_trust(connection: HotConnection, user_name: str, per_hour: int) -> None:
    """So many recipients an hour are right for it; what it was trusted with before stays, if that was more."""
    await connection.execute(
        "UPDATE smtp_credentials SET trusted_per_hour = greatest(trusted_per_hour, $2) WHERE id = $1", user_name, per_hour
    )
