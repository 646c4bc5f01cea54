"""Sending domains of accounts and their DKIM keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata

domains = Table(
    "domains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    # A-label form, lower case. One account owns a domain: nobody else may send as it.
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("verified_at", DateTime(timezone=True)),
    # The host of links in this domain's mail, below the domain: a name that leads here. Used once it was seen to do so.
    Column("tracking_host", Text, unique=True),
    Column("tracking_verified_at", DateTime(timezone=True)),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain_id", Integer, ForeignKey("domains.id"), nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("private_key", LargeBinary, nullable=False),  # sealed by the keyring
    Column("public_record", Text, nullable=False),  # the TXT record to publish
    Column("signing", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("domain_id", "selector"),
)


async def insert_domain(connection: AsyncConnection, account_id: int, name: str) -> int:
    """Add a domain; IntegrityError when any account has it."""
    return int((await connection.execute(insert(domains).values(account_id=account_id, name=name).returning(domains.c.id))).scalar_one())


async def insert_dkim_key(
    connection: AsyncConnection, *, domain_id: int, selector: str, algorithm: str, private_key: bytes, public_record: str
) -> None:
    row = {
        "domain_id": domain_id,
        "selector": selector,
        "algorithm": algorithm,
        "private_key": private_key,
        "public_record": public_record,
        "signing": True,
    }
    await connection.execute(insert(dkim_keys).values(row))


async def find_domain(connection: AsyncConnection, account_id: int, name: str) -> Row[Any] | None:
    """The domain if it is this account's (unique index on name)."""
    return (await connection.execute(select(domains).where(domains.c.name == name, domains.c.account_id == account_id))).one_or_none()


async def list_domains(connection: AsyncConnection, account_id: int) -> Sequence[Row[Any]]:
    """The account's domains by name (index on account_id)."""
    return (await connection.execute(select(domains).where(domains.c.account_id == account_id).order_by(domains.c.name))).all()


async def list_dkim_keys(connection: AsyncConnection, domain_ids: Sequence[int]) -> Sequence[Row[Any]]:
    """All DKIM keys of these domains, with name, account and tracking host of each, oldest first (unique index on domain_id, selector)."""
    query = (
        select(dkim_keys, domains.c.name, domains.c.account_id, domains.c.tracking_host, domains.c.tracking_verified_at)
        .join(domains, domains.c.id == dkim_keys.c.domain_id)
        .where(dkim_keys.c.domain_id.in_(domain_ids))
        .order_by(dkim_keys.c.id)
    )
    return (await connection.execute(query)).all()


async def list_sealed(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """(name, account_id, selector, private_key, public_record, signing) of all DKIM keys of all accounts, by domain."""
    shown: list[Any] = [
        domains.c.name,
        domains.c.account_id,
        *(dkim_keys.c[n] for n in ("selector", "private_key", "public_record", "signing")),
    ]
    query = select(*shown).join(domains, domains.c.id == dkim_keys.c.domain_id).order_by(domains.c.name, dkim_keys.c.id)
    return (await connection.execute(query)).all()


async def find_public_record(connection: AsyncConnection, selector: str, name: str) -> str | None:
    """The TXT record that belongs at selector._domainkey.name, whoever owns the domain."""
    query = (
        select(dkim_keys.c.public_record)
        .join(domains, domains.c.id == dkim_keys.c.domain_id)
        .where(domains.c.name == name, dkim_keys.c.selector == selector)
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def set_tracking_host(connection: AsyncConnection, domain_id: int, host: str | None, *, is_verified: bool) -> datetime | None:
    """IntegrityError when another domain has this host. Returns when it was verified, if it is."""
    change = update(domains).where(domains.c.id == domain_id)
    change = change.values(tracking_host=host, tracking_verified_at=func.now() if is_verified else None)
    verified_at: datetime | None = (await connection.execute(change.returning(domains.c.tracking_verified_at))).scalar_one()
    return verified_at


async def is_verified_host(connection: AsyncConnection, host: str) -> bool:
    """Whether an account owns this name and has shown that it leads here (unique indexes on both names)."""
    c = domains.c
    is_own = (c.name == host) & c.verified_at.is_not(None)
    query = select(c.id).where(is_own | ((c.tracking_host == host) & c.tracking_verified_at.is_not(None)))
    return (await connection.execute(query)).first() is not None


async def has_waiting_mail(connection: AsyncConnection, account_id: int, domain_id: int) -> bool:
    """Whether mail of this domain waits in the queue. Reads all queue rows of the account: for rare questions only.

    A message's id is a recipient's with the last 16 bits zero (store.ids).
    """
    query = text("""
        SELECT EXISTS (
          SELECT FROM queue q
          JOIN messages m ON m.account_id = q.account_id AND m.id = overlay(q.recipient_id::text placing '0000' from 33)::uuid
          WHERE q.account_id = :account_id AND m.domain_id = :domain_id)""")
    return bool((await connection.execute(query, {"account_id": account_id, "domain_id": domain_id})).scalar_one())


async def delete_domain(connection: AsyncConnection, domain_id: int) -> None:
    """Remove a domain with its DKIM keys; the name is free for anybody after that."""
    await connection.execute(delete(dkim_keys).where(dkim_keys.c.domain_id == domain_id))
    await connection.execute(delete(domains).where(domains.c.id == domain_id))
