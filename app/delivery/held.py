"""What becomes of held rows: the operator's word, or a decision on what they are held for.

The sender of SMTP mail is told by mail that it was dropped (store.owed_reports): it has our 250, and nobody else says so. Nobody is told
of what a restore held, because much of that has arrived, nor of what an incident held (store.incidents): what a thief sent must not be
mailed back by the thousand to the account that he sent in the name of, nor to where he wants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from app import store
from app.events.record import Event, EventType, record
from app.store.held import HeldRecipient, Wanted
from app.store.incidents import is_of_incident

RESTORED = "restored from a backup: it may have been sent already"
DROPPED = "dropped by the operator while it was held"
ROWS_AT_ONCE = 2000

Progress = Callable[[int], None]


async def release(database: store.db.Database, wanted: Wanted, *, progress: Progress = lambda _rows: None) -> int:
    """Let held recipients go; how many. Running workers take them within a poll."""
    released = 0
    while True:
        async with database.hot() as connection, connection.transaction():
            rows = await store.held.release_held(connection, wanted, ROWS_AT_ONCE)
        if not rows:
            return released
        released += rows
        progress(released)


async def drop(database: store.db.Database, wanted: Wanted, *, reason: str = DROPPED, progress: Progress = lambda _rows: None) -> int:
    """Cancel held recipients for good, with an event for each; how many."""
    dropped = 0
    while True:
        async with database.hot() as connection, connection.transaction():
            by_account: dict[int, list[HeldRecipient]] = defaultdict(list)
            for held in await store.held.list_held(connection, wanted, ROWS_AT_ONCE):
                by_account[held.account_id].append(held)
            rows = 0
            for account_id, recipients in by_account.items():
                rows += await _drop(connection, account_id, recipients, reason)
        if not rows:
            return dropped
        dropped += rows
        progress(dropped)


async def _drop(connection: store.db.HotConnection, account_id: int, recipients: list[HeldRecipient], reason: str) -> int:
    withdrawn = await store.queue.withdraw(connection, account_id, [held.id for held in recipients])
    told = await store.messages.cancel_recipients(connection, account_id, withdrawn)
    facts = {"reason": reason}
    await record(connection, [Event(EventType.CANCELLED, t.account_id, t.recipient_id, t.events, facts) for t in told])
    told_by_mail = {held.id for held in recipients if _is_told_by_mail(held.reason or "")}
    await store.owed_reports.owe_failures(connection, account_id, [one for one in withdrawn if one in told_by_mail])
    return len(withdrawn)


def _is_told_by_mail(reason: str) -> bool:
    return reason != RESTORED and not is_of_incident(reason)
