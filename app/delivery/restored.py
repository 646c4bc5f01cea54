"""After a restore: what was due before waits for the operator's word, because much of it was sent already.

A backup believes that what was due then is still to be sent, and nobody can tell what the old house did afterwards. So before the
first worker starts on a restored database:

1. A new era begins for the events (store.eras), so that no reader's cursor lies beyond what is to come.
2. The workers of the backup are forgotten. One that lives is a reason to refuse: either this is the running house's own database, or
   somebody was quicker than the operator.
3. Everything that was due by now is held, with the reason, and marked as maybe sent; what has its time ahead (retries, send_at) stays,
   unless all is asked for: it cannot have been sent, but its account may have cancelled it since.
4. Delivery reports that were owed are forgotten: they have been sent since, within seconds.

Each step is safe to run again. `release` and `drop` are the operator's word, on these and on all other held rows.

The sender of SMTP mail is told by mail that it was dropped (store.owed_reports): it has our 250, and nobody else says so. Nobody is told
of what a restore held, because much of that has arrived, nor of what an incident held (store.incidents): what a thief sent must not be
mailed back by the thousand to the account that he sent in the name of, nor to where he wants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from app import store
from app.errors import Conflict
from app.events.record import Event, EventType, record
from app.store.held import HeldRecipient, Wanted
from app.store.incidents import is_of_incident

RESTORED = "restored from a backup: it may have been sent already"
DROPPED = "dropped by the operator while it was held"
ROWS_AT_ONCE = 2000

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. `era_offset` is what the transaction numbers of events begin with from now on."""

    era_offset: int
    held: int


async def mark_restored(database: store.db.Database, *, scheduled_too: bool = False, progress: Progress = lambda _rows: None) -> Restored:
    """Make a restored database safe to deliver from. Conflict while a worker lives on it."""
    async with database.hot() as connection, connection.transaction():
        live = await store.workers.list_live_workers(connection)
        if live:
            ids = ", ".join(str(worker.id) for worker in live)
            raise Conflict(f"Workers are alive on this database ({ids}): stop them, wait until their lease is over, and try again.")
        offset = await store.eras.begin_era(connection)
        await store.workers.forget_workers(connection)
        await store.webhook_owners.forget_posters(connection)
        await store.owed_reports.forget_due(connection)
    held = 0
    while True:
        # Its event in the same transaction: an interrupted run goes on where it ended.
        async with database.hot() as connection, connection.transaction():
            told = await store.held.hold_due(connection, RESTORED, ROWS_AT_ONCE, scheduled_too=scheduled_too)
            facts = {"reason": RESTORED}
            await record(connection, [Event(EventType.HELD, t.account_id, t.recipient_id, t.events, facts) for t in told if t.events])
        if not told:
            return Restored(offset, held)
        held += len(told)
        progress(held)


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
