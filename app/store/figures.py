"""What processes count that nobody asks by HTTP: each writes its figures, an API process shows those of all."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Table, Text
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import HotConnection, metadata

figures = Table(
    "figures",
    metadata,
    Column("teller", Text, primary_key=True),  # role, host:pid
    Column("told_at", DateTime(timezone=True), nullable=False),
    Column("families", JSON, nullable=False),
)

# Who has told nothing for longer has ended; its row goes by and by.
_FRESH_SECONDS = 20.0

_WRITE = """
WITH gone AS (DELETE FROM figures WHERE told_at < now() - interval '1 hour' AND teller <> $1)
INSERT INTO figures (teller, told_at, families) VALUES ($1, now(), $2::text::json)
ON CONFLICT (teller) DO UPDATE SET told_at = now(), families = excluded.families
"""


async def write_figures(connection: HotConnection, teller: str, families: str) -> None:
    await connection.execute(_WRITE, teller, families)


async def read_told(connection: HotConnection) -> list[tuple[str, str]]:
    """(who tells, its families as JSON text) of those that live."""
    query = "SELECT teller, families::text FROM figures WHERE told_at > now() - make_interval(secs => $1) ORDER BY teller"
    return [(row[0], row[1]) for row in await connection.fetch(query, _FRESH_SECONDS)]
