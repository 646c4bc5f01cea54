"""Settling: outcomes become history in batches.

Outcomes are collected for at most 20 ms or 50 of them and written in one transaction: attempts, recipient states, queue rows and
events together. While PostgreSQL is away they are kept and tried again: the mail was sent, forgetting it would send it twice. An
outcome that cannot be written (a byte that PostgreSQL refuses) is written alone, its words taken out.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import asyncpg

from app import log, store
from app.events.record import Event, EventType, record
from app.jobs import Wakes
from app.store.db import CONNECTION_ERRORS, HotConnection
from app.store.settlement import Settled, Settlement
from app.store.states import RecipientState

BATCH_ROWS = 50
LINGER_SECONDS = 0.02

_EVENT_OF = {
    RecipientState.DELIVERED: EventType.DELIVERED,
    RecipientState.DEFERRED: EventType.DEFERRED,
    RecipientState.BOUNCED: EventType.BOUNCED,
    RecipientState.EXPIRED: EventType.EXPIRED,
    RecipientState.FAILED: EventType.FAILED,
    RecipientState.HELD: EventType.HELD,
}

# PostgreSQL's troubles, not the outcome's.
_PASSING = (*CONNECTION_ERRORS, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError, asyncpg.InternalServerError)
_RETRY_SECONDS = 0.3


@dataclass(slots=True)
class Verdict:
    """A settlement with what its event says. `address` is the suppression key."""

    settlement: Settlement
    facts: dict[str, Any]
    address: str
    reply_class: str | None
    wanted_at: float  # Unix time of acceptance, or of send_at


class Latency:
    """How long deliveries took, as cumulative buckets (upper bound in seconds, count)."""

    BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

    def __init__(self) -> None:
        self._counts = [0] * (len(self.BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self.BOUNDS, seconds)] += 1
        self._sum += seconds

    def figures(self) -> dict[str, Any]:
        bounds = [*(str(bound) for bound in self.BOUNDS), "+Inf"]
        return {"buckets": list(zip(bounds, accumulate(self._counts), strict=True)), "sum": round(self._sum, 3)}


class Settler:
    """The settle loop of one worker. `settled` is told which verdicts are written."""

    def __init__(self, database: store.db.Database, wakes: Wakes, settled: Callable[[Sequence[Verdict]], None]) -> None:
        self._database = database
        self._wakes = wakes
        self._settled = settled
        self._waiting: list[Verdict] = []
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self.outcomes: Counter[str] = Counter()
        self.latency = Latency()
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Until everything that was put is written."""
        await self._idle.wait()

    def put(self, verdict: Verdict) -> None:
        self._waiting.append(verdict)
        self._some.set()
        self._idle.clear()
        if len(self._waiting) >= BATCH_ROWS:
            self._full.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            if len(self._waiting) < BATCH_ROWS:
                self._full.clear()
                try:
                    async with asyncio.timeout(LINGER_SECONDS):
                        await self._full.wait()
                except TimeoutError:
                    pass
            batch, self._waiting = self._waiting[: 4 * BATCH_ROWS], self._waiting[4 * BATCH_ROWS :]
            if not self._waiting:
                self._some.clear()
            await self._settle(batch)
            if not self._waiting:
                self._idle.set()

    async def _settle(self, batch: Sequence[Verdict]) -> None:
        """Write a batch, however long PostgreSQL is away, full or busy; what it refuses for its content is written alone."""
        while True:
            try:
                await self._write(batch)
            except _PASSING as error:
                log.loop_failed("settle", error)
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:
                log.loop_failed("settle", error)
                if len(batch) > 1:
                    for verdict in batch:
                        await self._settle([verdict])
                    return
                bare = _without_words(batch[0])
                if bare == batch[0]:
                    # Nothing of it can be written: it goes back to the queue by and by, and is held if that goes on.
                    log.outcome_dropped(str(bare.settlement.recipient_id))
                    break
                batch = [bare]
            else:
                break
        self._settled(batch)

    async def _write(self, batch: Sequence[Verdict]) -> None:
        async with self._database.hot() as connection, connection.transaction():
            counted = await store.settlement.settle(connection, [v.settlement for v in batch])
            await self._tell(connection, batch, counted)
        now = time.time()
        for verdict in batch:
            self.outcomes[verdict.settlement.state.value] += 1
            if verdict.settlement.state is RecipientState.DELIVERED:
                self.latency.add(now - verdict.wanted_at)
        if len(counted) < len(batch):
            log.stale_outcomes(len(batch) - len(counted))
        self._wakes.tell_events({v.settlement.account_id for v in batch})

    async def _tell(self, connection: HotConnection, batch: Sequence[Verdict], counted: Sequence[Settled]) -> None:
        by_id = {settled.recipient_id: settled for settled in counted}
        events = []
        for verdict in batch:
            settled = by_id.get(verdict.settlement.recipient_id)
            if settled is not None:
                facts = verdict.facts | {"attempts": settled.attempts}
                if settled.maybe_sent:
                    facts["maybe_sent"] = True
                s = verdict.settlement
                events.append(
                    Event(_EVENT_OF[s.state], s.account_id, s.recipient_id, settled.events, facts, verdict.address, verdict.reply_class)
                )
        await record(connection, events)


def _without_words(verdict: Verdict) -> Verdict:
    """The same fate without the remote server's words."""
    attempt = verdict.settlement.attempt
    bare = replace(attempt, reply=None, enhanced=None) if attempt else None
    return replace(verdict, settlement=replace(verdict.settlement, attempt=bare, reply=None, reason=None), facts={})
