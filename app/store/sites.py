"""Receiving sites, and which domain lies at which: a cache of hints.

The route is resolved anew at delivery, and a domain that it finds elsewhere is forgotten here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
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


async def read_names(connection: HotConnection, site_ids: Sequence[int]) -> dict[int, str]:
    return {row[0]: row[1] for row in await connection.fetch("SELECT id, name FROM sites WHERE id = ANY($1::int[])", site_ids)}


async def forget_domain(connection: HotConnection, domain: str, site_id: int) -> None:
    """A domain does not lie at this site any more; who has placed it anew meanwhile is not undone."""
    await connection.execute("DELETE FROM domain_sites WHERE domain = $1 AND site_id = $2", domain, site_id)


class Unplaced(NamedTuple):
    """A ready row whose site nobody knows yet."""

    recipient_id: UUID
    account_id: int
    lane_class: int
    domain: str


# The shares by a loose index scan (as in queue.survey_shares), of each an equal part of the limit.
_UNPLACED = """
WITH RECURSIVE found AS (
    (SELECT class, account_id FROM queue
     WHERE site_id = 0 AND ready AND owner IS NULL AND (class, account_id) > ($2, $3)
     ORDER BY class, account_id LIMIT 1)
    UNION ALL
    SELECT n.class, n.account_id FROM found f CROSS JOIN LATERAL (
        SELECT class, account_id FROM queue
        WHERE site_id = 0 AND ready AND owner IS NULL AND (class, account_id) > (f.class, f.account_id)
        ORDER BY class, account_id LIMIT 1
    ) n
), share AS MATERIALIZED (
    SELECT class, account_id FROM found LIMIT $1
)
SELECT q.recipient_id, s.account_id, s.class, split_part(r.address, '@', -1)
FROM share s CROSS JOIN LATERAL (
    SELECT recipient_id, row_number() OVER (ORDER BY due_at) AS turn FROM queue
    WHERE site_id = 0 AND class = s.class AND account_id = s.account_id AND ready AND owner IS NULL
    ORDER BY due_at LIMIT (SELECT $1 / greatest(count(*), 1) FROM share)
) q
JOIN recipients r ON r.account_id = s.account_id AND r.id = q.recipient_id
ORDER BY q.turn, s.class, s.account_id
"""

FIRST_UNPLACED = (-1, -1)


async def read_unplaced(connection: HotConnection, limit: int, after: tuple[int, int] = FIRST_UNPLACED) -> list[Unplaced]:
    """Up to `limit` rows whose site nobody knows yet: an equal part of each share (class, account) after one, the shares taking turns.

    Fewer shares than `limit` means that the last one was among them.
    """
    return [Unplaced(*row) for row in await connection.fetch(_UNPLACED, limit, *after)]


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
