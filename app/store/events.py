"""Events: what became of every message. Written by events.record alone, read by cursor.

The cursor is (xid, id): `xid` is the writing transaction, and readers see only rows below the oldest transaction still under
way. A cursor on a plain sequence loses rows whose transaction commits after a later number was read.
The primary key is the feed's own index; the second index gives a message's timeline.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from app.store.db import metadata


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id; read and given as text."""

    cache_ok = True

    def get_col_spec(self, **_kw: Any) -> str:
        return "xid8"


# So that reflection (alembic check) knows the type.
ischema_names["xid8"] = Xid8

events = Table(
    "events",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("id", Uuid, nullable=False),  # UUIDv7: its time is occurred_at
    Column("about", Uuid, nullable=False),  # the recipient's id; of `accepted` the message's
    Column("type", Text, nullable=False),
    Column("number", SmallInteger, nullable=False),  # the recipient's own count of events
    Column("facts", JSON, nullable=False),
    PrimaryKeyConstraint("account_id", "xid", "id"),
    Index("ix_events_about", "account_id", "about"),
    postgresql_partition_by="RANGE (id)",
)
