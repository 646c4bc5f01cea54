"""cancel(): an account withdraws what nobody has claimed yet.

A recipient in a worker's hands is too late: its mail may be leaving this very moment. What was withdrawn is final.
"""

from __future__ import annotations

from uuid import UUID

from app import store
from app.errors import NotFound
from app.events.record import Event, EventType, record


async def cancel(database: store.db.Database, account_id: int, message_id: UUID) -> bool:
    """Withdraw a message's waiting recipients, in one transaction with their events; whether there were any.

    NotFound when the account has no such message.
    """
    async with database.hot() as connection, connection.transaction():
        recipients = await store.messages.list_recipient_ids(connection, account_id, message_id)
        if not recipients:
            raise NotFound("There is no such message.")
        withdrawn = await store.queue.withdraw(connection, account_id, recipients)
        told = await store.messages.cancel_recipients(connection, account_id, withdrawn)
        await record(connection, [Event(EventType.CANCELLED, t.account_id, t.recipient_id, t.events, {}) for t in told])
    return bool(withdrawn)
