"""The worker's lease: who it is, until when, and who is dead.

Workers hold the lease, not rows: a heartbeat row on the database's clock, rows that name their owner. This end keeps a deadline on
the monotonic clock, reckoned from before the heartbeat was sent, so it always ends before the database's; it is asked right before
every final dot. A worker that was given up gets a new id and goes on: what it still holds under the old id counts for nothing.
Every heartbeat also looks for others whose lease is over, or who have died on this machine, and frees what they had; and it reads the
database's clock, by which mail expires and is tried again (`now`): this machine's own may be days ahead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app import log, store
from app.config import Settings
from app.delivery.signs_of_life import has_died, own_mark
from app.events.record import Event, EventType, record
from app.jobs import Wakes
from app.store.queue import HELD_FROM_CLAIMS, Share
from app.store.workers import LiveWorker

# The dot must have left well before somebody else may take the row.
_MARGIN_SECONDS = 1.0
_LATE_RETRY_SECONDS = 0.5
_WRONG_CLOCK_SECONDS = 60.0


class Lease:
    """This worker's lease and its view of the others. `figures` gives what the heartbeat row shows of this worker."""

    def __init__(
        self, database: store.db.Database, settings: Settings, wakes: Wakes, name: str, figures: Callable[[], dict[str, Any]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._wakes = wakes
        self._name = name
        self._figures = figures
        self.worker_id = 0
        self.stopping = False
        self.live: list[LiveWorker] = []
        self.slots: dict[int, int] = {}
        self._deadline = 0.0
        self._epoch = time.time() - time.monotonic()  # what makes the database's time of ours
        self._clock_is_wrong = False
        self._count = 0
        self._place = 0
        self._begun = asyncio.Event()
        self._ended = False
        self._beating = asyncio.Lock()

    def holds(self, owner: int) -> bool:
        """Whether rows claimed under `owner` are still ours to send: asked right before a final dot."""
        return owner == self.worker_id and time.monotonic() < self._deadline - _MARGIN_SECONDS

    def now(self) -> datetime:
        """The time on the database's clock, which the times of mail are on; never ahead of it."""
        return datetime.fromtimestamp(time.monotonic() + self._epoch, UTC)

    def slot_of(self, site_id: int) -> tuple[int, int] | None:
        """(slots, our place among them) of a site in the live workers' order, or None when the site is others'.

        Every worker computes the same from the same list; while lists differ for a moment two may serve one site, which costs
        exactness of its limits and nothing else: rows are claimed under lock.
        """
        if not self._count:
            return None
        slots = min(self.slots.get(site_id, 1), self._count)
        place = (self._place - site_id) % self._count
        return (slots, place) if place < slots else None

    def serves_alone(self, site_id: int) -> bool:
        """Whether a site is ours and nobody else's, so that no other worker need be told of it; a survey mends it if lists differ."""
        return self.slot_of(site_id) == (1, 0)

    async def begin(self) -> None:
        """Register under a new id."""
        sent = time.monotonic()
        async with self._database.hot() as connection:
            await self._register(connection)
            await self._look_around(connection)
        self._deadline = sent + self._settings.lease_seconds
        self._begun.set()
        log.worker_started(self.worker_id, self._name)

    def forgo(self) -> None:
        """It was told to stop before it had one."""
        self._begun.set()

    async def begun(self) -> int:
        """The worker's id, when it has one; 0 when it will have none."""
        await self._begun.wait()
        return self.worker_id

    async def keep(self) -> None:
        """Renew for ever; a database that is away is tried again soon."""
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            try:
                await self._beat()
            except Exception as error:
                log.loop_failed("lease", error)
                await asyncio.sleep(_LATE_RETRY_SECONDS)

    async def end(self) -> None:
        """Leave; what is still in our name (a conversation that did not end in time) is freed as maybe sent."""
        async with self._beating, self._database.hot() as connection, connection.transaction():
            self._ended = True
            await store.workers.delete_worker(connection, self.worker_id)
            freed, _ = await _free(connection, [self.worker_id])
        self._wakes.tell_ready({Share(row.site_id, row.lane_class, row.account_id) for row in freed})

    async def tell_stopping(self) -> None:
        """Let the others take our sites over before we are gone."""
        self.stopping = True
        await self._beat()

    async def _beat(self) -> None:
        settings = self._settings
        async with self._beating, self._database.hot() as connection:
            if self._ended:
                return
            sent = time.monotonic()
            figures = orjson.dumps(self._figures()).decode()
            kept = await store.workers.renew_lease(connection, self.worker_id, settings.lease_seconds, self.stopping, figures)
            if not kept:
                log.lease_lost(self.worker_id)
                await self._register(connection)
            self._deadline = sent + settings.lease_seconds
            await self._look_around(connection)

    async def _register(self, connection: Any) -> None:
        self.worker_id = await store.workers.register_worker(connection, self._name, self._settings.lease_seconds, own_mark())

    async def _look_around(self, connection: Any) -> None:
        """Who is there, which sites are ours because of it, and whose rows are to be freed."""
        known = await store.workers.list_live_workers(connection)
        died = [w.id for w in known if has_died(w.process)]
        self.live = [w for w in known if w.id not in died]
        serving = [w.id for w in self.live if not w.stopping or w.id == self.worker_id]
        # slot_of is asked for every message: what it needs is reckoned once a heartbeat.
        self._count = len(serving) if self.worker_id in serving else 0
        self._place = serving.index(self.worker_id) if self._count else 0
        self.slots = await store.sites.read_slots(connection)
        await self._read_clock(connection)
        await self._take_over(connection, died)

    async def _read_clock(self, connection: Any) -> None:
        theirs = await store.ground.read_clock(connection)
        self._epoch = theirs - time.monotonic()  # not by our own clock: that may be set at any moment
        ahead = time.time() - theirs
        was_wrong, self._clock_is_wrong = self._clock_is_wrong, abs(ahead) > _WRONG_CLOCK_SECONDS
        if self._clock_is_wrong and not was_wrong:
            log.clock_is_wrong(ahead)

    async def _take_over(self, connection: Any, died: Sequence[int]) -> None:
        """Free the rows of dead workers, in one transaction with giving them up."""
        async with connection.transaction():
            dead = await store.workers.delete_dead_workers(connection, self._settings.lease_seconds, died)
            if not dead:
                return
            freed, held = await _free(connection, dead)
        log.workers_given_up(list(dead), len(freed), held)
        self._wakes.tell_ready({Share(row.site_id, row.lane_class, row.account_id) for row in freed})


async def _free(connection: Any, owners: Sequence[int]) -> tuple[list[store.queue.Claimed], int]:
    """Take the rows of workers that are gone; those that outlived too many workers wait for the operator. How many do comes second."""
    freed = await store.queue.free_rows_of(connection, owners)
    poisonous = [row for row in freed if row.claims >= HELD_FROM_CLAIMS]
    if poisonous:
        reason = f"claimed {HELD_FROM_CLAIMS} times by workers that died with it"
        accounts, recipients = [row.account_id for row in poisonous], [row.recipient_id for row in poisonous]
        told = await store.messages.hold_recipients(connection, accounts, recipients, reason)
        await record(connection, [Event(EventType.HELD, t.account_id, t.recipient_id, t.events, {"reason": reason}) for t in told])
    return freed, len(poisonous)
