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
from app.events.record import Suppressed, suppress
from app.jobs import Wakes
from app.loops import wait_at_most
from app.store.db import CONNECTION_ERRORS, HotConnection
from app.store.settlement import Settlement
from app.store.states import RecipientState

BATCH_ROWS = 50
LINGER_SECONDS = 0.02

# PostgreSQL's troubles, not the outcome's.
_PASSING = (*CONNECTION_ERRORS, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError, asyncpg.InternalServerError)
_RETRY_SECONDS = 0.3


@dataclass(slots=True)
class Verdict:
    """A settlement, and which address it suppresses (its suppression key and the reason), if any."""

    settlement: Settlement
    suppresses: tuple[str, str] | None
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
                await wait_at_most(self._full, LINGER_SECONDS)
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
        settlements = [v.settlement for v in batch]
        async with self._database.hot() as connection:
            if any(v.suppresses for v in batch):
                async with connection.transaction():
                    counted = await store.settlement.settle(connection, settlements)
                    await self._suppress(connection, [batch[s.place] for s in counted])
            else:
                counted = await store.settlement.settle(connection, settlements)
        now = time.time()
        for verdict in batch:
            self.outcomes[verdict.settlement.state.value] += 1
            if verdict.settlement.state is RecipientState.DELIVERED:
                self.latency.add(now - verdict.wanted_at)
        if len(counted) < len(batch):
            log.stale_outcomes(len(batch) - len(counted))
        self._wakes.tell_events({s.account_id for s in settlements})

    @staticmethod
    async def _suppress(connection: HotConnection, counted: Sequence[Verdict]) -> None:
        """Consequences come with the event, and only with one that counted."""
        await suppress(
            connection,
            [
                Suppressed(v.settlement.account_id, v.suppresses[0], v.suppresses[1], v.settlement.recipient_id)
                for v in counted
                if v.suppresses is not None
            ],
        )


def _without_words(verdict: Verdict) -> Verdict:
    """The same fate without the remote server's words."""
    attempt = verdict.settlement.attempt
    bare = replace(attempt, reply=None, enhanced=None) if attempt else None
    return replace(verdict, settlement=replace(verdict.settlement, attempt=bare, reply=None, reason=None, facts="{}"))
