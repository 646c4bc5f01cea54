"""Templates of accounts and their versions, which never change once they are written.

A template is a name with a number of versions; one of them may be published. Archived ones keep their versions, because mail that was
accepted with them may still have to be rendered, and give their name free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, Row, Table, Text, Uuid, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import metadata

templates = Table(
    "templates",
    metadata,
    Column("account_id", Integer, ForeignKey("accounts.id"), primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("newest", Integer, nullable=False),  # the number of the last version that was written
    Column("published", Integer),  # the number of the version that is used when none is named
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("archived_at", DateTime(timezone=True)),
    # Of those that live, a name is one template's.
    Index("uq_templates_name", "account_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
)

template_versions = Table(
    "template_versions",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("template_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    # As they were written.
    Column("subject", Text),
    Column("html", Text),
    Column("text", Text),
    Column("defaults", JSON, nullable=False),
    # What is rendered: the set with its layouts and partials as they were then (mail.template.FrozenSet).
    Column("frozen", JSON, nullable=False),
    Column("uses", JSON, nullable=False),  # {name: number} of those layouts and partials
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to write. `frozen` and `uses` are JSON values."""

    subject: str | None
    html: str | None
    text: str | None
    defaults: dict[str, Any]
    frozen: dict[str, Any]
    uses: dict[str, int]


async def insert_template(connection: AsyncConnection, account_id: int, template_id: UUID, name: str) -> None:
    """A template without a version yet; IntegrityError when the name is taken."""
    await connection.execute(insert(templates).values(account_id=account_id, id=template_id, name=name, newest=0))


async def count_templates(connection: AsyncConnection, account_id: int) -> int:
    """Those that live, by the index on the name."""
    query = select(func.count()).where(templates.c.account_id == account_id, templates.c.archived_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def insert_version(
    connection: AsyncConnection, account_id: int, template_id: UUID, version: NewVersion, *, publish: bool
) -> int | None:
    """The number of the new version; None when there is no such template. The template's row is the lock between two at once."""
    number = templates.c.newest + 1
    values: dict[str, Any] = {"newest": number, "updated_at": func.now()} | ({"published": number} if publish else {})
    change = update(templates).where(*_alive(account_id), templates.c.id == template_id).values(values).returning(templates.c.newest)
    made = (await connection.execute(change)).scalar_one_or_none()
    if made is None:
        return None
    row = {name: getattr(version, name) for name in NewVersion.__dataclass_fields__}
    await connection.execute(insert(template_versions).values(account_id=account_id, template_id=template_id, number=made, **row))
    return int(made)


async def publish_version(connection: AsyncConnection, account_id: int, template_id: UUID, number: int) -> bool:
    """Point at a version; whether the template and the version are there."""
    written = select(template_versions.c.number).where(
        template_versions.c.account_id == account_id, template_versions.c.template_id == template_id, template_versions.c.number == number
    )
    change = (
        update(templates)
        .where(*_alive(account_id), templates.c.id == template_id, written.exists())
        .values(published=number, updated_at=func.now())
    )
    return bool((await connection.execute(change)).rowcount)


async def archive_template(connection: AsyncConnection, account_id: int, template_id: UUID) -> bool:
    change = update(templates).where(*_alive(account_id), templates.c.id == template_id).values(archived_at=func.now(), published=None)
    return bool((await connection.execute(change)).rowcount)


async def list_templates(connection: AsyncConnection, account_id: int, before: UUID | None, limit: int) -> Sequence[Row[Any]]:
    """Newest first, from the primary key; archived ones are not listed."""
    query = select(templates).where(*_alive(account_id)).order_by(templates.c.id.desc()).limit(limit)
    return (await connection.execute(query if before is None else query.where(templates.c.id < before))).all()


async def find_template(connection: AsyncConnection, account_id: int, template_id: UUID | None, name: str | None) -> Row[Any] | None:
    """By id (primary key) or by name (unique index); archived ones are not found."""
    wanted = templates.c.id == template_id if template_id is not None else templates.c.name == name
    return (await connection.execute(select(templates).where(*_alive(account_id), wanted))).one_or_none()


async def list_versions(connection: AsyncConnection, account_id: int, template_id: UUID, limit: int) -> Sequence[Any]:
    """(number, created_at, uses) of the newest versions."""
    columns = (template_versions.c.number, template_versions.c.created_at, template_versions.c.uses)
    query = select(*columns).where(template_versions.c.account_id == account_id, template_versions.c.template_id == template_id)
    return (await connection.execute(query.order_by(template_versions.c.number.desc()).limit(limit))).all()


async def find_version(connection: AsyncConnection, account_id: int, template_id: UUID, number: int) -> Row[Any] | None:
    """A version of a template of this account, archived or not: mail that was accepted with it keeps its right to it."""
    query = select(template_versions).where(
        template_versions.c.account_id == account_id, template_versions.c.template_id == template_id, template_versions.c.number == number
    )
    return (await connection.execute(query)).one_or_none()


async def find_published(connection: AsyncConnection, account_id: int, names: Sequence[str]) -> Sequence[Any]:
    """(name, number, subject, html, text) of the published versions of these templates of the account, as they were written."""
    columns = (
        templates.c.name,
        template_versions.c.number,
        template_versions.c.subject,
        template_versions.c.html,
        template_versions.c.text,
    )
    query = (
        select(*columns)
        .join(
            template_versions,
            (template_versions.c.account_id == templates.c.account_id)
            & (template_versions.c.template_id == templates.c.id)
            & (template_versions.c.number == templates.c.published),
        )
        .where(*_alive(account_id), templates.c.name.in_(names))
    )
    return (await connection.execute(query)).all()


def _alive(account_id: int) -> tuple[Any, Any]:
    return templates.c.account_id == account_id, templates.c.archived_at.is_(None)
