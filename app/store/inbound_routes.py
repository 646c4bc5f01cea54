"""Inbound routes: the addresses at which accounts receive mail.

A route is of the account that owns its domain, or the nearest domain above it that anybody owns. That is asked again at each look-up: a
domain that went to another account takes no mail for the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, Integer, Row, Table, Text, UniqueConstraint, Uuid, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata
from app.store.domains import domains

EVERY_ADDRESS = "*"

inbound_routes = Table(
    "inbound_routes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("domain", Text, nullable=False),  # lower-case A-labels
    Column("local", Text, nullable=False),  # in lower case; EVERY_ADDRESS: all that have no route of their own
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Over all accounts: an address has one receiver.
    UniqueConstraint("domain", "local"),
)


async def find_owner(connection: AsyncConnection, domain: str) -> int | None:
    """The account that owns a domain, or else the nearest one above it (unique index on the name)."""
    query = select(domains.c.account_id).where(domains.c.name.in_(_upwards(domain)))
    return (await connection.execute(query.order_by(func.length(domains.c.name).desc()).limit(1))).scalar_one_or_none()


async def insert_route(connection: AsyncConnection, row: dict[str, Any]) -> Row[Any]:
    """Add one; IntegrityError when any account has the address."""
    made: Row[Any] = (await connection.execute(insert(inbound_routes).values(row).returning(inbound_routes))).one()
    return made


async def count_routes(connection: AsyncConnection, account_id: int) -> int:
    query = select(func.count()).select_from(inbound_routes).where(inbound_routes.c.account_id == account_id)
    return int((await connection.execute(query)).scalar_one())


async def list_routes(connection: AsyncConnection, account_id: int) -> Sequence[Row[Any]]:
    """The account's, by domain and address (index on account_id)."""
    query = select(inbound_routes).where(inbound_routes.c.account_id == account_id)
    return (await connection.execute(query.order_by(inbound_routes.c.domain, inbound_routes.c.local))).all()


async def list_routes_at(connection: AsyncConnection, domain: str) -> Sequence[Row[Any]]:
    """Those at a domain that hold, oldest first (unique index on domain, local)."""
    owner = await find_owner(connection, domain)
    query = select(inbound_routes).where(inbound_routes.c.domain == domain, inbound_routes.c.account_id == owner)
    return (await connection.execute(query.order_by(inbound_routes.c.id))).all()


async def find_route(connection: AsyncConnection, account_id: int, route_id: UUID) -> Row[Any] | None:
    """By primary key."""
    query = select(inbound_routes).where(inbound_routes.c.id == route_id, inbound_routes.c.account_id == account_id)
    return (await connection.execute(query)).one_or_none()


async def delete_route(connection: AsyncConnection, account_id: int | None, route_id: UUID) -> bool:
    """Delete (None: of whatever account); whether there was such a route."""
    where = [inbound_routes.c.id == route_id]
    if account_id is not None:
        where.append(inbound_routes.c.account_id == account_id)
    return (await connection.execute(delete(inbound_routes).where(*where))).rowcount > 0


async def delete_routes_below(connection: AsyncConnection, account_id: int, domain: str) -> None:
    """The account's routes at a domain and below it, which goes."""
    below = or_(inbound_routes.c.domain == domain, inbound_routes.c.domain.endswith(f".{domain}", autoescape=True))
    await connection.execute(delete(inbound_routes).where(inbound_routes.c.account_id == account_id, below))


def _upwards(domain: str) -> list[str]:
    """The domain and all above it."""
    labels = domain.split(".")
    return [".".join(labels[place:]) for place in range(len(labels))]
