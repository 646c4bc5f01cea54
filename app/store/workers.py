"""Workers and their leases. A worker's id is given once and never again: it names the owner of claims and fences them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Integer, Table, Text, func
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import metadata

workers = Table(
    "workers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),  # host:pid, for people
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("stopping", Boolean, nullable=False, server_default="false"),
    Column("figures", JSON, nullable=False, server_default="{}"),
)
