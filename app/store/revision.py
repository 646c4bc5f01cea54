"""The newest schema, by the name of its file: revisions are numbered. Alembic would tell it too, for half a second of imports."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"


@cache
def newest_revision() -> str:
    """The revision that a database of this release is at."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))
