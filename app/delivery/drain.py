"""The resident drain: claims, conversations and settling of one worker, from its first heartbeat to a clean stop.

    wakes, surveys ─▶ claims ─▶ load ─▶ deliveries (per site) ─▶ settler
    lease (heartbeat, take-over) · placing (unknown domains) · promoting (what has become due) · sweeping connections

It lives in the arq worker's process but does not depend on it: without Valkey it polls. Told to stop, it claims no more, gives back
what it has not begun, finishes the conversations under way, settles, and leaves; what does not end in time is freed as maybe sent.
PostgreSQL may be away when it is told to: then outcomes wait for it as long as conversations may last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Coroutine, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from app import log, store
from app.accounts.domains import DomainBook
from app.accounts.templates import TemplateBook
from app.config import Settings
from app.delivery.claims import Claims
from app.delivery.connections import Connections
from app.delivery.contents import Contents
from app.delivery.deliver import Deliveries
from app.delivery.filling import Filler
from app.delivery.lanes import Job
from app.delivery.lease import Lease
from app.delivery.placing import Placing
from app.delivery.route import Router
from app.delivery.settle import Settler, Verdict
from app.delivery.site_names import SiteNames
from app.jobs import Wakes
from app.keyring import Keyring
from app.store.queue import UNKNOWN_SITE, Claimed, Share
from app.store.states import RecipientState

_PROMOTED_AT_ONCE = 1000
_LOOKS_PER_POLL = 5  # for what has become due, while there is some
_WIDEN_AFTER_SECONDS = 0.5
_NARROW_AFTER_SECONDS = 30.0
_BEGIN_AGAIN_SECONDS = 1.0
_LEAST_SETTLING_SECONDS = 5.0


class Drain:
    """One worker's delivery, from `run()` until its task is told to stop by `stop()`."""

    def __init__(
        self,
        database: store.db.Database,
        settings: Settings,
        *,
        domains: DomainBook,
        templates: TemplateBook,
        keyring: Keyring,
        router: Router,
        wakes: Wakes,
        tls_context: ssl.SSLContext,
        events_woken: asyncio.Event,
    ) -> None:
        self._database = database
        self._settings = settings
        self._wakes = wakes
        self._events_woken = events_woken
        self.lease = Lease(database, settings, wakes, f"{socket.gethostname()}:{os.getpid()}", self.figures)
        self._connections = Connections(settings, tls_context)
        self._settler = Settler(database, wakes, self._on_settled)
        self._contents = Contents(database)
        self._names = SiteNames()
        self._deliveries = Deliveries(
            database,
            settings,
            lease=self.lease,
            names=self._names,
            domains=domains,
            contents=self._contents,
            filler=Filler(templates, settings),
            keyring=keyring,
            router=router,
            connections=self._connections,
            settler=self._settler,
            want=self._on_want,
            strayed=self._on_strayed,
        )
        self._claims = Claims(
            database,
            settings,
            self.lease,
            wakes,
            in_hand=lambda: self._deliveries.unsettled,
            bytes_in_hand=lambda: self._deliveries.unsettled_bytes,
            held_of=self._deliveries.held_of,
            rows_of=self._deliveries.rows_of,
            buffered=self._deliveries.buffered,
            take=self._take,
        )
        self._placing = Placing(database, settings, self.lease, wakes, router, self._claims.tell)
        self._stop = asyncio.Event()
        self._narrow_due: dict[int, float] = {}

    def stop(self) -> None:
        self._stop.set()

    def figures(self) -> dict[str, Any]:
        """What the heartbeat row says of this worker."""
        return {
            "outcomes": dict(self._settler.outcomes),
            "in_hand": self._deliveries.unsettled,
            "conversing": self._deliveries.conversing,
            "connections_opened": self._connections.opened,
            "connections_idle": self._connections.idle_count,
            "held_back": self._deliveries.held_back(),
            "delivery_seconds": self._settler.latency.figures(),
        }

    async def run(self) -> None:
        """Deliver until told to stop, then leave cleanly."""
        if not await self._begin():
            return
        claiming = asyncio.create_task(self._claims.run(), name="claims")
        loops = [
            asyncio.create_task(_for_ever(name, loop), name=name)
            for name, loop in {
                "lease": self.lease.keep(),
                "settle": self._settler.run(),
                "placing": self._placing.run(),
                "promoting": self._promote(),
                "listening": self._listen(),
                "sweeping": self._connections.sweep(),
                "slots": self._adjust_slots(),
            }.items()
        ]
        await self._stop.wait()
        await self._leave(claiming)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def _begin(self) -> bool:
        """Whether there is a lease; none when we are told to stop before PostgreSQL gives one."""
        while not self._stop.is_set():
            try:
                await self.lease.begin()
                return True
            except store.db.CONNECTION_ERRORS as error:
                log.loop_failed("lease", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _BEGIN_AGAIN_SECONDS)
        self.lease.forgo()
        return False

    async def _leave(self, claiming: asyncio.Task[None]) -> None:
        """The clean stop: claims first, then what is not begun, then what is under way, then the books.

        A step that fails takes none of the others with it. If the last one does, our lease runs out and others take over.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.drain_seconds
        self._claims.stop()
        await claiming
        await _try("stopping", self.lease.tell_stopping())
        unbegun = self._deliveries.take_back()
        given_back = await _try("giving back", self._give_back(unbegun))
        await self._deliveries.finish_within(ends_at - loop.time())
        await _try("settling", asyncio.wait_for(self._settler.wait_idle(), max(ends_at - loop.time(), _LEAST_SETTLING_SECONDS)))
        if not given_back:  # PostgreSQL was away; what it has back now is not freed as maybe sent
            given_back = await _try("giving back", self._give_back(unbegun))
        await _try("closing", self._connections.close())
        await _try("leaving", self.lease.end())
        log.worker_stopped(self.lease.worker_id, len(unbegun) if given_back else 0)

    async def _give_back(self, jobs: list[Job]) -> None:
        for owner, own in groupby(sorted(jobs, key=lambda j: j.owner), key=lambda j: j.owner):
            given = list(own)
            async with self._database.hot() as connection:
                await store.queue.release(connection, owner, [job.claimed.recipient_id for job in given])
            self._wakes.tell_ready({job.claimed.share for job in given})

    # --- claimed rows become jobs

    async def _take(self, connection: store.db.HotConnection, owner: int, rows: list[Claimed]) -> None:
        """Load what was claimed and offer it for delivery, but for what was suppressed since; what cannot be loaded has failed."""
        found = await store.deliverables.load_deliverables(connection, [r.account_id for r in rows], [r.recipient_id for r in rows])
        deliverables = {d.recipient_id: d for d in found}
        await self._contents.load_small(connection, rows, {d.recipient_id: d.purge_on for d in found if d.suppressed_for is None})
        await self._names.learn(connection, (row.site_id for row in rows))
        jobs: list[Job] = []
        lost: list[UUID] = []
        for row in sorted(rows, key=lambda r: r.due_at):
            deliverable = deliverables.get(row.recipient_id)
            if deliverable is None:
                lost.append(row.recipient_id)
                continue
            if deliverable.suppressed_for is not None:
                self._deliveries.turn_away(Job(owner, row, deliverable, None, None), RecipientState.SUPPRESSED, deliverable.suppressed_for)
                continue
            loaded = self._contents.of(store.ids.message_of(row.recipient_id))
            jobs.append(Job(owner, row, deliverable, *loaded))
        self._deliveries.offer(jobs)
        if lost:
            await store.queue.delete_rows(connection, owner, lost)
            log.rows_without_message(len(lost))

    # --- the small loops

    async def _listen(self) -> None:
        async for shares, accounts in self._wakes.listen():
            if accounts:
                self._events_woken.set()
            told = [Share(*share) for share in shares]
            if any(share.site_id == UNKNOWN_SITE for share in told):
                self._placing.wake()
            self._claims.tell(told)

    async def _promote(self) -> None:
        """Make ready what has become due; one worker does it, the first of the live. While there is some it looks more often.

        What is made ready at once is tried at once, and holds up whatever comes after it: little at a time is better.
        """
        pause = self._settings.poll_seconds
        while True:
            await asyncio.sleep(pause)
            pause = self._settings.poll_seconds
            if not self.lease.live or self.lease.live[0].id != self.lease.worker_id:
                continue
            try:
                async with self._database.hot() as connection:
                    shares = await store.queue.promote_due(connection, _PROMOTED_AT_ONCE)
                while shares:
                    pause = self._settings.poll_seconds / _LOOKS_PER_POLL
                    told = set(shares)
                    self._claims.tell(told, rewind=True)
                    self._wakes.tell_ready(share for share in shares if not self.lease.serves_alone(share.site_id))
                    if UNKNOWN_SITE in {share.site_id for share in told}:
                        self._placing.wake()
                    if len(shares) < _PROMOTED_AT_ONCE:
                        break
                    async with self._database.hot() as connection:
                        shares = await store.queue.promote_due(connection, _PROMOTED_AT_ONCE)
            except Exception as error:
                log.loop_failed("promoting", error)

    async def _adjust_slots(self) -> None:
        """Give a site that its owner cannot keep up with to more workers, and take it back when it is quiet."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.25)
            for site_id in self._claims.full_sites():
                slot = self.lease.slot_of(site_id)
                if site_id <= 0 or slot is None or slot[1] != 0 or self._deliveries.is_limited(site_id):
                    continue
                self._narrow_due[site_id] = loop.time() + _NARROW_AFTER_SECONDS
                if self._claims.full_for(site_id) > _WIDEN_AFTER_SECONDS and slot[0] < len(self.lease.live):
                    await self._write_slots(site_id, slot[0] + 1)
            for site_id, due in list(self._narrow_due.items()):
                if loop.time() > due:
                    del self._narrow_due[site_id]
                    await self._write_slots(site_id, 1)

    async def _write_slots(self, site_id: int, slots: int) -> None:
        try:
            async with self._database.hot() as connection:
                await store.sites.write_slots(connection, site_id, slots)
                self.lease.slots = await store.sites.read_slots(connection)
        except store.db.CONNECTION_ERRORS as error:
            log.loop_failed("slots", error)

    def _on_settled(self, verdicts: Sequence[Verdict]) -> None:
        self._deliveries.settled(verdicts)
        self._claims.room_made()

    def _on_strayed(self) -> None:
        self._claims.strayed = True

    def _on_want(self, site_id: int, lane_class: int, buffered: int) -> None:
        self._claims.want(site_id, lane_class, buffered)


async def _try(step: str, doing: Awaitable[None]) -> bool:
    """Whether a step of leaving could be made."""
    try:
        await doing
    except Exception as error:
        log.loop_failed(step, error)
        return False
    return True


async def _for_ever(name: str, loop: Coroutine[Any, Any, None]) -> None:
    """A loop of the drain must not end; if it does, the process ends and is started again."""
    try:
        await loop
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        log.loop_failed(name, error)
        os._exit(70)
