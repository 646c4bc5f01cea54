"""After a restore: what was due before waits for the operator's word, because much of it was sent already.

A backup believes that what was due then is still to be sent, and nobody can tell what the old house did afterwards. So before the
first worker starts on a restored database:

1. A new era begins for the events (store.eras), so that no reader's cursor lies beyond what is to come.
2. The workers of the backup are forgotten. One that lives is a reason to refuse: either this is the running house's own database, or
   somebody was quicker than the operator.
3. Everything that was due by now is held, with the reason, and marked as maybe sent; what has its time ahead (retries, send_at) stays,
   unless all is asked for: it cannot have been sent, but its account may have cancelled it since.
4. Delivery reports that were owed are forgotten: they have been sent since, within seconds.

Each step is safe to run again. What becomes of the held is delivery.held's.
"""

from __future__ import annotations

from dataclasses import dataclass

from app import store
from app.delivery.held import RESTORED, ROWS_AT_ONCE, Progress
from app.errors import Conflict
from app.events.record import Event, EventType, record


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
