"""Opens and clicks: noted at the door, written beside it, in groups.

The answer never waits for the database: a redirect works while PostgreSQL is away. What was noted then is written when it is back, as
far as the waiting line is long enough; that an open or a click is told is best effort, and the only thing in the house that is.

The first one by a person marks the recipient, so that uniques add up; machines are told and mark nothing (`machines`). The same hit
again within a group (a program that loads a picture twice) is one. Each is looked at a second time later (`second_looks`); a HEAD is
told to nobody, and noted for that alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from app import log, store
from app.events.record import Event, EventType, record
from app.feedback.hindsight import asker_of
from app.jobs import Wakes
from app.mail.tokens import TokenKind
from app.store.db import CONNECTION_ERRORS, Database
from app.store.readers import Engagement
from app.store.second_looks import Look

_GROUP = 500
_MOST_WAITING = 20_000
_REST_SECONDS = 0.05  # company for the next ones: nobody waits for this
_AWAY_SECONDS = 1.0
_TYPES = {TokenKind.OPEN: EventType.OPENED, TokenKind.CLICK: EventType.CLICKED}

_dropped = Counter("staffetta_hits_dropped_total", "Opens and clicks that were noted, and could not be written.")


@dataclass(frozen=True, slots=True)
class Hit:
    """A pixel loaded or a link followed. `machine`: why it is taken for one, None for a person; `url` of a click."""

    kind: TokenKind
    account_id: int
    recipient_id: UUID
    at: datetime
    url: str | None
    machine: str | None
    agent: str
    ip: str
    head: bool = False


class Hits:
    """The line of what is to be written, of one process."""

    def __init__(self, database: Database, wakes: Wakes, second_look_seconds: float) -> None:
        self._database = database
        self._wakes = wakes
        self._second_look_seconds = second_look_seconds
        self._waiting: deque[Hit] = deque()
        self._something = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writing = asyncio.create_task(self._write_for_ever())

    async def close(self) -> None:
        """Write what waits, if the database is there."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        with contextlib.suppress(*CONNECTION_ERRORS):
            while self._waiting:
                await self._write(self._next_group())

    def note(self, hit: Hit) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            _dropped.inc()
            return
        self._waiting.append(hit)
        self._something.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            await asyncio.sleep(_REST_SECONDS)
            while self._waiting:
                group = self._next_group()
                try:
                    await self._write(group)
                except CONNECTION_ERRORS as error:
                    self._waiting.extendleft(reversed(group))
                    log.loop_failed("hits", error)
                    await asyncio.sleep(_AWAY_SECONDS)
                except Exception as error:  # not these, but those after them
                    log.loop_failed("hits", error)
                    _dropped.inc(len(group))

    def _next_group(self) -> list[Hit]:
        """The next hits, one of a kind of each recipient, link and asker."""
        group: dict[tuple[object, ...], Hit] = {}
        while self._waiting and len(group) < _GROUP:
            hit = self._waiting.popleft()
            key = (hit.kind, hit.account_id, hit.recipient_id, hit.url, hit.machine, hit.agent, hit.ip, hit.head)
            group.setdefault(key, hit)
        return list(group.values())

    async def _write(self, group: list[Hit]) -> None:
        """Marks, numbers, events and second looks of a group, in one transaction."""
        ordered = sorted((hit for hit in group if not hit.head), key=lambda hit: (hit.account_id, hit.recipient_id, hit.at))
        async with self._database.hot() as connection, connection.transaction():
            rows = [Engagement(h.account_id, h.recipient_id, h.at, h.kind is TokenKind.CLICK, h.machine is None) for h in ordered]
            numbered = await store.readers.mark_engagements(connection, rows)
            await record(
                connection,
                [
                    Event(_TYPES[hit.kind], hit.account_id, hit.recipient_id, number.number, _facts(hit, number.address, number.is_first))
                    for hit, number in zip(ordered, numbered, strict=True)
                    if number is not None
                ],
            )
            looks = [_look(hit, number.number) for hit, number in zip(ordered, numbered, strict=True) if number is not None]
            looks += [_look(hit, 0) for hit in group if hit.head]
            await store.second_looks.add_looks(connection, looks, self._second_look_seconds)
        if ordered:
            self._wakes.tell_events({hit.account_id for hit in ordered})


def _look(hit: Hit, number: int) -> Look:
    kind = "head" if hit.head else "click" if hit.kind is TokenKind.CLICK else "open"
    return Look(hit.account_id, hit.recipient_id, number, hit.at, kind, asker_of(hit.ip, hit.agent))


def _facts(hit: Hit, address: str, is_first: bool) -> dict[str, object]:
    facts: dict[str, object] = {"recipient": address, "first": is_first, "by": "machine" if hit.machine else "person"}
    if hit.machine:
        facts["machine_reason"] = hit.machine
    if hit.url is not None:
        facts["url"] = hit.url
    return facts | {"user_agent": hit.agent, "ip": hit.ip, "at": hit.at}
