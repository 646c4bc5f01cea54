"""Which schema this release wants, and whether it may run on the one that is there.

Schemas grow first and shrink later: a release's migrations only add (expand), and what nobody uses any more goes with a later release
(contract). So while machines are upgraded one after the other, an old release runs on a schema that is newer than its own. A
migration that takes something away writes into `schema_floor` the oldest revision whose release does without it; whoever is older says
that he is not ready.

The newest revision is told by the name of its file: Alembic would tell it too, for half a second of imports.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Boolean, CheckConstraint, Column, Table, Text

from app.store.db import HotConnection, metadata

_VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"

schema_floor = Table(
    "schema_floor",
    metadata,
    Column("one", Boolean, primary_key=True, server_default="true"),
    Column("oldest_revision", Text, nullable=False),
    CheckConstraint("one", name="ck_schema_floor_one_row"),
)


@cache
def newest_revision() -> str:
    """The revision that this release's migrations end with."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))


async def is_fit(connection: HotConnection) -> bool:
    """Whether this release may run on the database: all of its schema is there. UndefinedTableError when there is none at all."""
    row = await connection.fetchrow("SELECT version_num, (SELECT min(oldest_revision) FROM schema_floor) FROM alembic_version")
    return row is not None and may_run(newest_revision(), there=row[0], floor=row[1])


def may_run(release: str, *, there: str, floor: str) -> bool:
    """Whether a release (by its newest revision) may run on a schema at revision `there`, which carries releases from `floor` on."""
    return there.isdigit() and floor <= release <= there
