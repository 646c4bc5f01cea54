"""Recipients as they come back, one at a time: by the id that stands in a token."""

from __future__ import annotations

from uuid import UUID

from app.store.db import HotConnection

# A recipient's count of events is a smallint. Whoever holds a token could go on for ever: what would pass this is not counted.
_MOST_EVENTS = 30_000


async def find_address(connection: HotConnection, account_id: int, recipient_id: UUID) -> str | None:
    """By primary key."""
    query = "SELECT address FROM recipients WHERE account_id = $1 AND id = $2"
    address: str | None = await connection.fetchval(query, account_id, recipient_id)
    return address


async def number_event(connection: HotConnection, account_id: int, recipient_id: UUID) -> int | None:
    """The number of the recipient's next event; None when there is no such recipient (any more), or too many events of it."""
    number: int | None = await connection.fetchval(
        "UPDATE recipients SET events = events + 1 WHERE account_id = $1 AND id = $2 AND events < $3 RETURNING events",
        account_id,
        recipient_id,
        _MOST_EVENTS,
    )
    return number
