"""A step of a worker's loop: carry out what was decided on incidents of SMTP credentials (accounts.decisions).

A door learns of a decision late, by as long as it remembers a credential; what it still holds in the name of a decided incident is found
here, because an order is looked after for LOOKED_AFTER_SECONDS. Each step is safe to run twice, by two workers too.
"""

from __future__ import annotations

from app import store
from app.delivery.held import drop, release
from app.store.db import Database
from app.store.held import Wanted
from app.store.incidents import RELEASE, mark_of

DISCARDED = "discarded with its incident: it was not sent by its credential's owner"
# Longer than a door remembers a credential (10 s) and a commit takes.
LOOKED_AFTER_SECONDS = 60.0


async def carry_decisions_out(database: Database, looked_after_seconds: float = LOOKED_AFTER_SECONDS) -> None:
    """One look: everything that is held for a decided incident goes out, or is cancelled."""
    async with database.hot() as connection:
        decided = await store.incidents.take_decided(connection)
    for incident in decided:
        wanted = Wanted(incident.account_id, mark_of(incident.id))
        if incident.decision == RELEASE:
            await release(database, wanted)
        else:
            await drop(database, wanted, reason=DISCARDED)
    if decided:
        async with database.hot() as connection:
            await store.incidents.finish_incidents(connection, [incident.id for incident in decided], looked_after_seconds)
