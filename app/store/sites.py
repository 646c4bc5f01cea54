"""Receiving sites, and which domain lies at which: a cache of hints. The route is resolved anew at delivery."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, Integer, SmallInteger, Table, Text, func

from app.store.db import HotConnection, metadata

sites = Table(
    "sites",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # How many workers serve it side by side; its owner widens it when it cannot keep up alone.
    Column("slots", SmallInteger, nullable=False, server_default="1"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

domain_sites = Table(
    "domain_sites",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("site_id", Integer, ForeignKey("sites.id"), nullable=False),
    Column("checked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


async def read_slots(connection: HotConnection) -> dict[int, int]:
    """The sites that more than one worker serves."""
    return {row[0]: row[1] for row in await connection.fetch("SELECT id, slots FROM sites WHERE slots > 1")}


async def write_slots(connection: HotConnection, site_id: int, slots: int) -> None:
    await connection.execute("UPDATE sites SET slots = $2 WHERE id = $1", site_id, slots)


async def read_unplaced(connection: HotConnection, limit: int) -> list[tuple[UUID, int, int, str]]:
    """(recipient id, account id, lane class, domain) of ready rows whose site nobody knows yet."""
    rows = await connection.fetch(
        """
        SELECT q.recipient_id, q.account_id, q.class, split_part(r.address, '@', -1)
        FROM (SELECT * FROM queue WHERE site_id = 0 AND ready AND owner IS NULL ORDER BY class, account_id, due_at LIMIT $1) q
        JOIN recipients r ON r.account_id = q.account_id AND r.id = q.recipient_id
        """,
        limit,
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def find_domain_sites(connection: HotConnection, domains: Sequence[str]) -> dict[str, int]:
    rows = await connection.fetch("SELECT domain, site_id FROM domain_sites WHERE domain = ANY($1::text[])", domains)
    return {row[0]: row[1] for row in rows}


async def keep_domain_sites(connection: HotConnection, names: dict[str, str]) -> dict[str, int]:
    """Remember at which site (by name) each domain lies; returns the site id of each domain."""
    site_names = sorted(set(names.values()))
    await connection.execute("INSERT INTO sites (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", site_names)
    rows = await connection.fetch("SELECT name, id FROM sites WHERE name = ANY($1::text[])", site_names)
    ids = {row[0]: row[1] for row in rows}
    found = {domain: ids[name] for domain, name in sorted(names.items())}
    await connection.execute(
        "INSERT INTO domain_sites (domain, site_id) SELECT * FROM unnest($1::text[], $2::int[])"
        " ON CONFLICT (domain) DO UPDATE SET site_id = excluded.site_id, checked_at = now()",
        list(found),
        list(found.values()),
    )
    return found
