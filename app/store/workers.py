"""Workers and their leases. A worker's id is given once and never again: it names the owner of claims and fences them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Boolean, Column, DateTime, Integer, Table, Text, func
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import HotConnection, metadata
from app.store.revision import newest_revision

workers = Table(
    "workers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),  # host:pid, for people
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("stopping", Boolean, nullable=False, server_default="false"),
    Column("figures", JSON, nullable=False, server_default="{}"),
    Column("process", Text),  # what the kernel of its machine calls it (delivery.signs_of_life); None: nobody there can say
    Column("release", Text),  # the newest revision of the schema that it knows; None: older than that column
)


@dataclass(frozen=True, slots=True)
class LiveWorker:
    id: int
    stopping: bool
    process: str | None


async def register_worker(connection: HotConnection, name: str, lease_seconds: float, process: str | None = None) -> int:
    """A new worker id, with a lease on the database's clock."""
    worker_id: int = await connection.fetchval(
        "INSERT INTO workers (name, lease_until, release, process) VALUES ($1, now() + make_interval(secs => $2), $3, $4) RETURNING id",
        name,
        lease_seconds,
        newest_revision(),
        process,
    )
    return worker_id


async def all_know(connection: HotConnection, revision: str) -> bool:
    """Whether every live worker is of a release that knows this revision of the schema: what older ones cannot read is not written."""
    # Where no worker lives, nobody says what the next one will know.
    query = "SELECT coalesce(bool_and(coalesce(release, '') >= $1), false) FROM workers WHERE lease_until > now()"
    know: bool = await connection.fetchval(query, revision)
    return know


async def renew_lease(connection: HotConnection, worker_id: int, lease_seconds: float, stopping: bool, figures: str) -> bool:
    """Renew a lease, even a late one that nobody took over; False when the worker was given up."""
    row = await connection.fetchrow(
        "UPDATE workers SET lease_until = now() + make_interval(secs => $2), stopping = $3, figures = $4::json WHERE id = $1 RETURNING id",
        worker_id,
        lease_seconds,
        stopping,
        figures,
    )
    return row is not None


async def list_live_workers(connection: HotConnection) -> list[LiveWorker]:
    rows = await connection.fetch("SELECT id, stopping, process FROM workers WHERE lease_until > now() ORDER BY id")
    return [LiveWorker(row[0], row[1], row[2]) for row in rows]


async def delete_worker(connection: HotConnection, worker_id: int) -> None:
    """A worker that has settled or released all it had leaves."""
    await connection.execute("DELETE FROM workers WHERE id = $1", worker_id)


async def delete_dead_workers(connection: HotConnection, lease_seconds: float, died: Sequence[int] = ()) -> Sequence[int]:
    """Give up the workers whose lease is over, and those of `died`, which are known to be gone; waits for claims they have under way.

    Returns their ids. After a start of PostgreSQL no lease is over for as long as one lasts: nobody could have renewed while it was away.
    """
    rows = await connection.fetch(
        """
        DELETE FROM workers WHERE id IN (
            SELECT id FROM workers
            WHERE (lease_until < now() AND now() > pg_postmaster_start_time() + make_interval(secs => $1)) OR id = ANY($2::int[])
            FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        lease_seconds,
        died,
    )
    return [row[0] for row in rows]


async def lives_on(connection: HotConnection, machine: str) -> bool:
    """Whether a worker of this machine (its host name) has a lease that runs."""
    query = "SELECT EXISTS (SELECT FROM workers WHERE lease_until > now() AND starts_with(name, $1 || ':'))"
    lives: bool = await connection.fetchval(query, machine)
    return lives


async def read_figures(connection: HotConnection) -> list[tuple[int, str]]:
    """(worker id, its figures as JSON text) of the live workers."""
    rows = await connection.fetch("SELECT id, figures::text FROM workers WHERE lease_until > now() ORDER BY id")
    return [(row[0], row[1]) for row in rows]


async def forget_workers(connection: HotConnection) -> None:
    """Forget all of them, in a restored database: they worked on another one.

    Ids go on far above: those that come next may have been given already since the backup, and an id is the fence of claims.
    """
    await connection.execute("DELETE FROM workers")
    await connection.execute("SELECT setval(s, nextval(s) + 1000000) FROM pg_get_serial_sequence('workers', 'id') AS s")
