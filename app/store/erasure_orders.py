"""Orders to erase a person: given by accounts, taken by workers, and kept as evidence, without the address, when they are done.

An order is taken for a time that its worker renews; that of a worker which died is taken by another. Two that carry out the same order
do no harm: every step of an erasure is safe to run twice. One that is asked for again while it is carried out is carried out again: mail
that was accepted since may lie where the worker has been already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSON

from app.store.db import HotConnection, metadata

erasure_orders = Table(
    "erasure_orders",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),  # UUIDv7: when it was given
    Column("address", Text),  # mail.address.suppression_key, until it is done
    Column("ordered_by", Text, nullable=False),  # the API key
    Column("asked_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),  # the last time that it was asked for
    Column("taken_until", DateTime(timezone=True)),
    Column("erased", JSON, nullable=False, server_default="{}"),  # counts: feedback.erasure.Erased
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("account_id", "id"),
    # The open ones, of which an address has one; and what workers look for.
    Index("uq_erasure_orders_open", "account_id", "address", unique=True, postgresql_where=text("finished_at IS NULL")),
)


@dataclass(frozen=True, slots=True)
class Order:
    account_id: int
    id: UUID
    address: str | None
    ordered_by: str
    asked_at: datetime
    erased: str  # JSON text
    finished_at: datetime | None


_SHOWN = "account_id, id, address, ordered_by, asked_at, erased::text, finished_at"


_INSERT = """
INSERT INTO erasure_orders (account_id, id, address, ordered_by) SELECT $1, $2, $3, $4
WHERE (SELECT count(*) FROM erasure_orders WHERE account_id = $1 AND finished_at IS NULL) < $5
ON CONFLICT DO NOTHING
"""
_ASK_AGAIN = f"""
UPDATE erasure_orders SET asked_at = now() WHERE account_id = $1 AND address = $2 AND finished_at IS NULL RETURNING {_SHOWN}
"""  # noqa: S608  (a constant of this file)


async def insert_order(
    connection: HotConnection, account_id: int, order_id: UUID, address: str, ordered_by: str, most: int
) -> Order | None:
    """An order for an address (its suppression key), or the one that is open for it; None when the account has `most` open ones."""
    again = await connection.fetchrow(_ASK_AGAIN, account_id, address)
    if again is None:
        await connection.execute(_INSERT, account_id, order_id, address, ordered_by, most)
        # Also that which another gave in between.
        again = await connection.fetchrow(_ASK_AGAIN, account_id, address)
    return Order(*again) if again is not None else None


async def find_order(connection: HotConnection, account_id: int, order_id: UUID) -> Order | None:
    """By primary key."""
    query = f"SELECT {_SHOWN} FROM erasure_orders WHERE account_id = $1 AND id = $2"  # noqa: S608  (a constant of this file)
    row = await connection.fetchrow(query, account_id, order_id)
    return Order(*row) if row is not None else None


_TAKE = f"""
UPDATE erasure_orders SET taken_until = now() + make_interval(secs => $1)
WHERE (account_id, id) = (
    SELECT account_id, id FROM erasure_orders
    WHERE finished_at IS NULL AND (taken_until IS NULL OR taken_until < now()) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING {_SHOWN}
"""  # noqa: S608  (a constant of this file)


async def take_order(connection: HotConnection, seconds: float) -> Order | None:
    """The oldest open order that nobody has, for so many seconds."""
    row = await connection.fetchrow(_TAKE, seconds)
    return Order(*row) if row is not None else None


async def renew_order(connection: HotConnection, order: Order, seconds: float) -> None:
    await connection.execute(
        "UPDATE erasure_orders SET taken_until = now() + make_interval(secs => $3) WHERE account_id = $1 AND id = $2",
        order.account_id,
        order.id,
        seconds,
    )


_WRITE_ERASED = """
UPDATE erasure_orders
SET erased = $3::json, address = CASE WHEN NOT done THEN address END, finished_at = CASE WHEN done THEN now() END,
    taken_until = CASE WHEN asked_at = $5 THEN taken_until END
FROM (SELECT $4 AND asked_at = $5 AS done FROM erasure_orders WHERE account_id = $1 AND id = $2 FOR UPDATE) AS seen
WHERE account_id = $1 AND id = $2 AND finished_at IS NULL
"""


async def write_erased(connection: HotConnection, order: Order, erased: str, *, finished: bool) -> None:
    """What was erased so far. An order that is finished, and was not asked for again since it was taken, forgets its address."""
    await connection.execute(_WRITE_ERASED, order.account_id, order.id, erased, finished, order.asked_at)
