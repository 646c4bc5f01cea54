"""Addresses that an account does not send to, by stream, with the reason; and who lifted a suppression, and when.

Which suppression holds for a mail is said once, in reason_for: the statement that accepts and the one that loads what was claimed both
ask by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, func

from app.store.db import HotConnection, metadata
from app.store.ids import new_id

EVERY_STREAM = "*"

suppressions = Table(
    "suppressions",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("stream", Text, nullable=False),  # '*' = every stream
    Column("address", Text, nullable=False),  # mail.address.suppression_key
    Column("reason", Text, nullable=False),  # events.suppression.Reason
    Column("about", Uuid),  # the recipient whose fate was the cause
    Column("added_by", Text),  # the API key, or "recipient"; none: a receiver's reply
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("account_id", "address", "stream"),
    # For pages of the list: accepting never reads it.
    Index("ix_suppressions_created", "account_id", "created_at", "address", "stream"),
)

reactivations = Table(
    "reactivations",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7: when it was lifted
    Column("address", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("reason", Text, nullable=False),  # of the suppression that was lifted
    Column("suppressed_at", DateTime(timezone=True), nullable=False),
    Column("lifted_by", Text, nullable=False),  # the API key, or "recipient"
    PrimaryKeyConstraint("account_id", "address", "id"),
)


def reason_for(account_id: str, address: str, stream: str) -> str:
    """The query for the reason why an address (its suppression key) gets no mail of a stream, one row or none; of SQL expressions.

    Its order is that of the primary key, so that no plan made while the table was small goes by another index when it has grown.
    """
    return (
        f"SELECT reason FROM suppressions WHERE account_id = {account_id} AND address = {address}"  # noqa: S608  (expressions of our own)
        f" AND stream IN ('{EVERY_STREAM}', {stream}) ORDER BY stream LIMIT 1"
    )


@dataclass(frozen=True, slots=True)
class NewSuppression:
    account_id: int
    stream: str
    address: str  # mail.address.suppression_key
    reason: str
    about: UUID | None
    added_by: str | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    stream: str
    address: str
    reason: str
    about: UUID | None
    added_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Reactivation:
    id: UUID
    stream: str
    reason: str
    suppressed_at: datetime
    lifted_by: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ended."""

    created_at: datetime
    address: str
    stream: str


async def add_suppressions(connection: HotConnection, rows: Sequence[NewSuppression]) -> set[tuple[str, str]]:
    """Add addresses, in sorted order so that two writers cannot deadlock; the first reason stays. Returns (address, stream) of the new."""
    ordered = sorted(rows, key=lambda r: (r.account_id, r.address, r.stream))
    added = await connection.fetch(
        "INSERT INTO suppressions (account_id, stream, address, reason, about, added_by)"
        " SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[]) ON CONFLICT DO NOTHING"
        " RETURNING address, stream",
        [r.account_id for r in ordered],
        [r.stream for r in ordered],
        [r.address for r in ordered],
        [r.reason for r in ordered],
        [r.about for r in ordered],
        [r.added_by for r in ordered],
    )
    return {(row[0], row[1]) for row in added}


_OWN_WORD = """
INSERT INTO suppressions AS s (account_id, stream, address, reason, about, added_by)
SELECT $1, stream, $2, $5, $3, 'recipient' FROM unnest($4::text[]) AS i(stream) ORDER BY stream
ON CONFLICT (account_id, address, stream) DO UPDATE
SET reason = excluded.reason, about = excluded.about, added_by = excluded.added_by, created_at = now()
WHERE s.reason NOT IN ($5, 'complaint')
RETURNING stream
"""


async def add_own_words(
    connection: HotConnection, account_id: int, address: str, about: UUID, streams: Sequence[str], reason: str
) -> list[str]:
    """The recipient's own word on streams, unsubscribe or complaint; returns those where it is new.

    It takes the place of what the account or a receiver said before, so that lifting that does not lift this; a complaint stays one.
    """
    return [row[0] for row in await connection.fetch(_OWN_WORD, account_id, address, about, list(streams), reason)]


_LIFT = """
WITH lifted AS (
    DELETE FROM suppressions
    WHERE account_id = $1 AND address = $2 AND ($3::text[] IS NULL OR stream = ANY($3)) AND ($4::text[] IS NULL OR reason = ANY($4))
    RETURNING stream, reason, created_at
), numbered AS (
    SELECT *, row_number() OVER (ORDER BY stream) AS place FROM lifted
)
INSERT INTO reactivations (account_id, id, address, stream, reason, suppressed_at, lifted_by)
SELECT $1, ids.id, $2, n.stream, n.reason, n.created_at, $5
FROM numbered n JOIN unnest($6::uuid[]) WITH ORDINALITY AS ids(id, place) USING (place)
RETURNING id, stream, reason, suppressed_at, lifted_by
"""


async def lift_suppressions(
    connection: HotConnection,
    account_id: int,
    address: str,
    *,
    streams: Sequence[str] | None,
    reasons: Sequence[str] | None,
    lifted_by: str,
    most: int,
) -> list[Reactivation]:
    """Let an address be sent to again, in these streams (None: in all) where it is suppressed for these reasons (None: whichever).

    Each is written down with who did it. `most` is at least the number of streams that the address can be suppressed in.
    """
    ids = [new_id() for _ in range(most)]
    rows = await connection.fetch(_LIFT, account_id, address, streams, reasons, lifted_by, ids)
    return [Reactivation(*row) for row in rows]


_REASONS = f"""
SELECT s.reason FROM unnest($1::int[], $2::text[], $3::text[]) WITH ORDINALITY AS i(account_id, address, stream, place)
LEFT JOIN LATERAL ({reason_for("i.account_id", "i.address", "i.stream")}) s ON true
ORDER BY i.place
"""  # noqa: S608  (a rule of this file)


async def find_reasons(
    connection: HotConnection, account_ids: Sequence[int], addresses: Sequence[str], streams: Sequence[str]
) -> list[str | None]:
    """Why each address (its suppression key) gets no mail of its stream, in their order; None where it does."""
    return [row[0] for row in await connection.fetch(_REASONS, account_ids, addresses, streams)]


_COLUMNS = "stream, address, reason, about, added_by, created_at"


async def find_suppressions(connection: HotConnection, account_id: int, address: str, *, locked: bool = False) -> list[Suppression]:
    """All of one address (primary key); `locked` keeps them as they are until the transaction ends."""
    query = f"SELECT {_COLUMNS} FROM suppressions WHERE account_id = $1 AND address = $2 ORDER BY stream"  # noqa: S608  (a constant)
    return [Suppression(*row) for row in await connection.fetch(query + (" FOR UPDATE" if locked else ""), account_id, address)]


async def find_reactivations(connection: HotConnection, account_id: int, address: str, limit: int) -> list[Reactivation]:
    """Who lifted suppressions of one address, newest first (primary key)."""
    rows = await connection.fetch(
        "SELECT id, stream, reason, suppressed_at, lifted_by FROM reactivations"
        " WHERE account_id = $1 AND address = $2 ORDER BY id DESC LIMIT $3",
        account_id,
        address,
        limit,
    )
    return [Reactivation(*row) for row in rows]


# Newest first, a range of ix_suppressions_created. What the filters leave out is passed over in it.
_LIST = f"""
SELECT {_COLUMNS} FROM suppressions
WHERE account_id = $1 AND ($2::timestamptz IS NULL OR (created_at, address, stream) < ($2, $3, $4))
  AND ($5::text IS NULL OR stream = $5) AND ($6::text IS NULL OR reason = $6) AND ($7::timestamptz IS NULL OR created_at >= $7)
ORDER BY created_at DESC, address DESC, stream DESC LIMIT $8
"""  # noqa: S608  (a constant of this file)


async def list_suppressions(
    connection: HotConnection,
    account_id: int,
    *,
    after: Place | None,
    stream: str | None,
    reason: str | None,
    since: datetime | None,
    limit: int,
) -> list[Suppression]:
    """A page of an account's suppressions, newest first."""
    place = (after.created_at, after.address, after.stream) if after is not None else (None, None, None)
    return [Suppression(*row) for row in await connection.fetch(_LIST, account_id, *place, stream, reason, since, limit)]
