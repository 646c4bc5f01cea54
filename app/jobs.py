"""Wakes by Valkey (or Redis): who has something to do, told within milliseconds.

A wake is a hint. Publishing never raises and never waits for long; a wake that is lost costs the time to the next poll, never
mail. After a silence a wake leaves at once, those that follow go together, one publication in REST_SECONDS. What is told of events alone
goes to those who hear them (workers that post webhooks), and while there is nobody it is not told at all. arq's crons are in `worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import redis.asyncio as redis
from redis.exceptions import RedisError

from app import log
from app.loops import wait_at_most

_CHANNEL = "staffetta:wakes"  # shares that are ready, and the events of the same commit
_EVENTS_CHANNEL = "staffetta:events"  # events alone
# Who reads events reads many at once: a wake for them alone waits for company.
_EVENTS_LINGER_SECONDS = 0.02
# Each publication wakes every worker. After one of few rows the rest is in proportion to them, as in delivery.claims: at a hundred messages
# a second each may go by itself, at a thousand ten go together.
REST_SECONDS = 0.01
_REST_IN_FULL = 4  # rows
# So long nobody is told of events alone after nobody heard of some.
_UNHEARD_SECONDS = 1.0
_GONE = (RedisError, OSError, asyncio.TimeoutError)


class Wakes:
    """The wakes of one process, over one connection; `reachable` tells whether the last word went through."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Any = redis.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=1, retry_on_timeout=False)
        self._url = redis_url
        self._ready: set[tuple[int, ...]] = set()
        self._rows = 0
        self._events: set[int] = set()
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._closed = False
        self._unheard_until = 0.0
        self._hears_events = False
        self._subscription: Any = None
        self.reachable = True

    def start(self) -> None:
        self._publisher = asyncio.create_task(self._publish(), name="wakes")

    async def close(self) -> None:
        self._closed = True
        if self._publisher is not None:
            self._publisher.cancel()
            await asyncio.gather(self._publisher, return_exceptions=True)
        await self._redis.aclose()

    def tell_ready(self, shares: Iterable[tuple[int, int, int]]) -> None:
        """These shares (site, lane class, account) have ready rows. Who gives one for each row lets them go sooner when they are few."""
        told = [tuple(share) for share in shares]  # plain tuples: orjson refuses named ones
        self._ready.update(told)
        self._rows += len(told)
        if self._ready:
            self._urgent.set()
            self._some.set()

    def tell_events(self, account_ids: Iterable[int]) -> None:
        """These accounts have new events."""
        self._events.update(account_ids)
        if time.monotonic() >= self._unheard_until:
            self._some.set()

    async def hear_events(self, wanted: bool) -> None:
        """Whether `listen` is to give what is told of events alone, too; by itself it does not."""
        changed, self._hears_events = wanted is not self._hears_events, wanted
        if changed and self._subscription is not None:
            # When it fails `listen` fails as well, and begins anew with what is wanted then.
            with contextlib.suppress(*_GONE):
                await (self._subscription.subscribe if wanted else self._subscription.unsubscribe)(_EVENTS_CHANNEL)

    async def _publish(self) -> None:
        # The flag too: a cancellation that meets the client in the middle of a command can come back as its timeout.
        while not self._closed:
            await self._some.wait()
            if not self._ready:
                await wait_at_most(self._urgent, _EVENTS_LINGER_SECONDS)
            told = orjson.dumps([list(self._ready), list(self._events)])
            are_events, rows = not self._ready, self._rows
            self._rows = 0
            self._ready.clear()
            self._events.clear()
            self._some.clear()
            self._urgent.clear()
            try:
                heard = await self._redis.publish(_EVENTS_CHANNEL if are_events else _CHANNEL, told)
            except Exception as error:  # whatever it is: a publisher that ended would make every wake late
                self._lost(error)
                await asyncio.sleep(0.2)
            else:
                self._back()
                if are_events and not heard:
                    self._unheard_until = time.monotonic() + _UNHEARD_SECONDS
                await asyncio.sleep(REST_SECONDS * min(max(rows, 1) / _REST_IN_FULL, 1.0))

    async def listen(self) -> AsyncIterator[tuple[list[tuple[int, int, int]], list[int]]]:
        """Shares and accounts as others tell of them, for ever: while Valkey is away this just waits and tries again."""
        while True:
            # A long-lived subscription reads without a deadline: silence is normal.
            source: Any = redis.Redis.from_url(self._url, socket_connect_timeout=1, health_check_interval=15)
            try:
                async with source.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_CHANNEL)
                    self._subscription = channel  # from here on hear_events does it
                    if self._hears_events:
                        await channel.subscribe(_EVENTS_CHANNEL)
                    self._back()
                    async for message in channel.listen():
                        ready, accounts = orjson.loads(message["data"])
                        yield [(a, b, c) for a, b, c in ready], accounts
            except _GONE as error:
                self._lost(error)
                await asyncio.sleep(0.5)
            finally:
                self._subscription = None
                await source.aclose()

    def _lost(self, error: BaseException) -> None:
        if self.reachable:
            log.wakes_lost(error)
        self.reachable = False

    def _back(self) -> None:
        if not self.reachable:
            log.wakes_back()
        self.reachable = True


@dataclass(frozen=True, slots=True)
class Waker:
    """Valkey as it says it is. `most_bytes` is 0 when nothing bounds its memory."""

    version: str
    most_bytes: int
    policy: str  # what it does at the bound


async def ask_waker(redis_url: str) -> Waker:
    """What Valkey says about itself; OSError when it is away."""
    asked: Any = redis.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=2)
    try:
        said = await asked.info()
    except _GONE as error:
        raise OSError(str(error)) from error
    finally:
        await asked.aclose()
    return Waker(said.get("valkey_version") or said["redis_version"], int(said["maxmemory"]), said["maxmemory_policy"])
