"""When each recurring chore last ran. arq's cron wakes them; this table decides, so a lost wake is made up for."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Table, Text

from app.store.db import metadata

chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_run_at", DateTime(timezone=True), nullable=False),
)
