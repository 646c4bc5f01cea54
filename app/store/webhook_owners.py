"""Who posts for a webhook endpoint: one worker whose lease runs, its owner.

What is nobody's, or a dead worker's, is claimed by whoever looks next, up to a fair share; a worker that came later gets its share from
those who have more. Every write of a round is fenced by the owner (store.webhook_rounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.store.db import HotConnection

# Free is what nobody owns, or a worker whose lease is over or that is gone. The share keeps one worker from owning all: every
# live worker runs a poster.
_CLAIM = """
WITH live AS MATERIALIZED (
    SELECT id FROM workers WHERE lease_until > now() AND NOT stopping
), room AS (
    SELECT ceil(count(*) / greatest((SELECT count(*) FROM live), 1)::numeric)::int - count(*) FILTER (WHERE owner = $1) AS rows
    FROM webhook_endpoints WHERE enabled
), free AS (
    SELECT e.id FROM webhook_endpoints e
    WHERE e.enabled AND $1 IN (SELECT id FROM live)
      AND (e.owner IS NULL OR NOT EXISTS (SELECT FROM workers w WHERE w.id = e.owner AND w.lease_until > now()))
    ORDER BY e.id LIMIT greatest((SELECT rows FROM room), 0) FOR UPDATE OF e SKIP LOCKED
)
UPDATE webhook_endpoints e SET owner = $1 FROM free f WHERE e.id = f.id RETURNING e.id
"""

# A worker that came later gets its share from those who have more than theirs; not while a round is under way.
_RELEASE_SURPLUS = """
WITH live AS MATERIALIZED (
    SELECT id FROM workers WHERE lease_until > now() AND NOT stopping
), surplus AS (
    SELECT count(*) FILTER (WHERE owner = $1) - ceil(count(*) / greatest((SELECT count(*) FROM live), 1)::numeric)::int AS rows
    FROM webhook_endpoints WHERE enabled
)
UPDATE webhook_endpoints SET owner = NULL WHERE id IN (
    SELECT id FROM webhook_endpoints WHERE owner = $1 AND NOT (id = ANY ($2::uuid[]))
    ORDER BY id DESC LIMIT greatest((SELECT rows FROM surplus), 0)
)
"""


async def claim_endpoints(connection: HotConnection, worker_id: int) -> list[UUID]:
    """Own what is free, up to this worker's share; returns what is new."""
    return [row[0] for row in await connection.fetch(_CLAIM, worker_id)]


async def owns_any(connection: HotConnection, worker_id: int) -> bool:
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM webhook_endpoints WHERE owner = $1)", worker_id)
    return found


async def release_surplus(connection: HotConnection, worker_id: int, busy: Sequence[UUID]) -> None:
    await connection.execute(_RELEASE_SURPLUS, worker_id, busy)


async def release_endpoints(connection: HotConnection, worker_id: int) -> None:
    """A worker that leaves lets the others take over at once."""
    await connection.execute("UPDATE webhook_endpoints SET owner = NULL WHERE owner = $1", worker_id)


async def forget_posters(connection: HotConnection) -> None:
    """Nobody posts for any endpoint any more: the workers that did are another database's."""
    await connection.execute("UPDATE webhook_endpoints SET owner = NULL WHERE owner IS NOT NULL")
