"""Incidents: times at which an SMTP credential did what it never does, and its mail is held until somebody has decided.

A credential has one open incident at most. Its mail is held with a reason that begins with the incident's public id, by which the held
rows are found again. A decision is an order: workers carry it out, and go on for a while, because a door may know of it late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import HotConnection, metadata
from app.store.ids import new_id, public_id

RELEASE, DISCARD = "release", "discard"

incidents = Table(
    "incidents",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7: when it began
    Column("credential", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("network", Text),  # where the mail came from that began it
    Column("decision", Text),  # RELEASE or DISCARD
    Column("decided_by", Text),  # an API key, or "operator"
    Column("decided_at", DateTime(timezone=True)),
    Column("looked_at", DateTime(timezone=True)),  # when a worker last began to carry it out
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("account_id", "id"),
    Index("uq_incidents_open", "credential", unique=True, postgresql_where=text("decided_at IS NULL")),
    # What workers look for.
    Index("ix_incidents_decided", "decided_at", postgresql_where=text("decided_at IS NOT NULL AND finished_at IS NULL")),
)


@dataclass(frozen=True, slots=True)
class Incident:
    account_id: int
    id: UUID
    credential: str
    reason: str
    network: str | None
    decision: str | None
    decided_at: datetime | None


_SHOWN = "account_id, id, credential, reason, network, decision, decided_at"


def mark_of(incident_id: UUID) -> str:
    """What the reason of everything begins with that is held for an incident."""
    return public_id("inc", incident_id)


def is_of_incident(reason: str) -> bool:
    """Whether it is the reason of something that is held for an incident."""
    return reason.startswith("inc_")


_OPEN = f"""
INSERT INTO incidents (account_id, id, credential, reason, network) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (credential) WHERE decided_at IS NULL DO UPDATE SET reason = incidents.reason RETURNING {_SHOWN}, xmax = 0
"""  # noqa: S608  (a constant above)


async def open_incident(
    connection: HotConnection, account_id: int, credential: str, reason: str, network: str | None
) -> tuple[Incident, bool]:
    """Begin one; or the one that is open already, and False."""
    row = await connection.fetchrow(_OPEN, account_id, new_id(), credential, reason, network)
    *incident, is_new = row
    return Incident(*incident), is_new


_DECIDE = f"""
UPDATE incidents SET decision = $3, decided_by = $4, decided_at = now()
WHERE credential = $2 AND ($1::int IS NULL OR account_id = $1) AND decided_at IS NULL RETURNING {_SHOWN}
"""  # noqa: S608  (a constant above)


async def decide_incident(
    connection: HotConnection, account_id: int | None, credential: str, decision: str, decided_by: str
) -> Incident | None:
    """The word on a credential's open incident (account None: of whatever account); None when it has none."""
    row = await connection.fetchrow(_DECIDE, account_id, credential, decision, decided_by)
    return Incident(*row) if row is not None else None


# The older a decision, the more rarely it is looked after.
_TAKE = f"""
UPDATE incidents SET looked_at = now()
WHERE decided_at IS NOT NULL AND finished_at IS NULL
  AND (looked_at IS NULL OR looked_at < now() - (now() - decided_at) / 4)
RETURNING {_SHOWN}
"""  # noqa: S608  (a constant above)


async def take_decided(connection: HotConnection) -> list[Incident]:
    """Decisions that are to be carried out now; who is told so does it."""
    return [Incident(*row) for row in await connection.fetch(_TAKE)]


async def finish_incidents(connection: HotConnection, incident_ids: Sequence[UUID], seconds: float) -> None:
    """Nothing of these is held any more; those that were decided so many seconds before that are done, no door will hold more."""
    await connection.execute(
        "UPDATE incidents SET finished_at = now()"
        " WHERE decided_at < looked_at - make_interval(secs => $1) AND finished_at IS NULL AND id = ANY($2::uuid[])",
        seconds,
        incident_ids,
    )


async def drop_old_incidents(connection: AsyncConnection, days: int) -> int:
    done = await connection.execute(text("DELETE FROM incidents WHERE finished_at < now() - make_interval(days => :days)"), {"days": days})
    return done.rowcount
