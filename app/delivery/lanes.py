"""Lanes in the owner's memory: what was claimed and not yet tried, in a fair order.

A lane is a receiving site × class. Transactional mail goes before bulk at the same site; within a class the accounts take turns by
deficit round robin (Shreedhar & Varghese, 1995), each turn paid in bytes plus a fixed price per attempt, so that neither many small
nor a few huge mails of one account hold up the others. Losing this memory is harmless: the rows are in the queue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from app.delivery.pacing import Pace, Silence
from app.delivery.providers import Provider
from app.mail.tracking import CutBody
from app.store.deliverables import Deliverable
from app.store.moulds import Mould
from app.store.queue import Claimed

TRANSACTIONAL, BULK = 0, 1

_ATTEMPT_COST = 8 * 1024
_QUANTUM = 64 * 1024


@dataclass(slots=True, eq=False)
class Filling:
    """A message that is made to mail at delivery: its part of a mould, and what was made of it. Its recipients share it."""

    message_id: UUID
    mould: Mould
    stored: bytes
    made: tuple[bytes, bytes, CutBody | None] | None = None  # head, body, the body in pieces
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class Job:
    """A claimed recipient on its way. head and body are None while a large content is not loaded, or a filling not made to mail yet."""

    owner: int
    claimed: Claimed
    deliverable: Deliverable
    head: bytes | None
    body: bytes | None
    cut: CutBody | None = None  # the body in pieces, when there is something in it to track
    filling: Filling | None = None

    @property
    def held(self) -> tuple[int, UUID]:
        return self.owner, self.claimed.recipient_id

    @property
    def is_loaded(self) -> bool:
        return self.body is not None or self.filling is not None

    @property
    def cost(self) -> int:
        return self.claimed.bytes + _ATTEMPT_COST


class FairBuffer:
    """Jobs by account, taken in deficit round robin."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, deque[Job]] = OrderedDict()
        self._credit: dict[int, int] = {}
        self.count = 0

    def push(self, job: Job) -> None:
        account = job.claimed.account_id
        jobs = self._accounts.get(account)
        if jobs is None:
            jobs = self._accounts[account] = deque()
            self._credit[account] = _QUANTUM
        jobs.append(job)
        self.count += 1

    def has_other_than(self, account_id: int | None) -> bool:
        """Whether there is a job, and not of this account alone."""
        return len(self._accounts) > (account_id in self._accounts)

    def pop(self, without: int | None = None) -> Job | None:
        """The next job, but for those of one account."""
        while self.has_other_than(without):
            account, jobs = next(iter(self._accounts.items()))
            if account == without:
                self._accounts.move_to_end(account)
                continue
            if self._credit[account] <= 0:
                # Its turn is over: new credit, and to the end of the line.
                self._credit[account] += _QUANTUM
                self._accounts.move_to_end(account)
                continue
            job = jobs.popleft()
            self.count -= 1
            self._credit[account] -= job.cost
            if not jobs:
                del self._accounts[account], self._credit[account]
            return job
        return None

    def clear(self) -> Iterator[Job]:
        while (job := self.pop()) is not None:
            yield job


class Site:
    """One receiving site that this worker serves: its two lanes, how many conversations are under way, and what holds it back."""

    __slots__ = ("busy", "id", "is_known", "is_resting", "lanes", "name", "pace", "provider", "silence")

    def __init__(self, site_id: int, name: str | None = None) -> None:
        self.id = site_id
        self.name = name  # None for lanes of exceptions, whose rows are of many sites
        self.lanes = (FairBuffer(), FairBuffer())
        self.busy = 0
        self.is_known = False  # whether a route has told of its limits
        self.is_resting = False  # until its pace lets it go on
        self.provider: Provider | None = None
        self.pace: Pace | None = None
        self.silence: Silence | None = None

    @property
    def buffered(self) -> int:
        return self.lanes[TRANSACTIONAL].count + self.lanes[BULK].count

    def push(self, job: Job) -> None:
        self.lanes[job.claimed.lane_class].push(job)

    def pop(self, *, with_bulk: bool = True, without: int | None = None) -> Job | None:
        """The next job: transactional first; without bulk, or those of one account, if need be."""
        return self.lanes[TRANSACTIONAL].pop(without) or (self.lanes[BULK].pop(without) if with_bulk else None)

    def clear(self) -> Iterator[Job]:
        for lane in self.lanes:
            yield from lane.clear()
