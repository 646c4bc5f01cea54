"""Counts that processes share, in Valkey (or Redis): how often somebody guessed, how much somebody may still send this minute.

Everything here may vanish. A call that gets no answer within a second answers None, and for some seconds nobody asks again:
whoever counts here counts for himself as well, and goes on by that: `Buckets` are how much one process lets through by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import redis.asyncio as redis
from redis.exceptions import RedisError

from app import log
from app.recent import Recent

_PREFIX = "staffetta:tally:"
_PATIENCE_SECONDS = 1.0
_REST_SECONDS = 5.0
_CONNECTIONS = 16
_GONE = (RedisError, OSError, asyncio.TimeoutError)

# A bucket that holds a minute's worth, on Valkey's own clock. Gives as much as there is, at most what is wanted.
_TAKE = """
local most, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = most
if kept[1] then left = math.min(most, tonumber(kept[1]) + math.max(0, now - tonumber(kept[2])) * most / 60) end
local given = math.min(wanted, math.floor(left))
left = left - given
redis.call('HSET', KEYS[1], 'left', string.format('%.6f', left), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 120)
return {given, string.format('%.6f', left)}
"""


class Tally:
    """The counts, over a few connections of this process."""

    def __init__(self, redis_url: str) -> None:
        pool: Any = redis.BlockingConnectionPool.from_url(
            redis_url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            socket_timeout=_PATIENCE_SECONDS,
        )
        self._redis: Any = redis.Redis.from_pool(pool)
        self._take: Any = self._redis.register_script(_TAKE)
        self._away_until = 0.0
        self._is_lost = False

    async def close(self) -> None:
        await self._redis.aclose()

    async def read(self, names: Sequence[str]) -> list[int] | None:
        """The counts of these names, 0 where there is none."""
        found = await self._ask(lambda: self._redis.mget([_PREFIX + name for name in names]))
        return [int(each or 0) for each in found] if found is not None else None

    async def count(self, names: Sequence[str], seconds: int) -> None:
        """One more for each, forgotten so long after the first."""

        async def work() -> Any:
            async with self._redis.pipeline(transaction=True) as pipe:
                for name in names:
                    pipe.incr(_PREFIX + name)
                    pipe.expire(_PREFIX + name, seconds, nx=True)
                return await pipe.execute()

        await self._ask(work)

    async def remember(self, seconds_by_name: Mapping[str, int]) -> None:
        """A count of one for each, for so long from now on."""

        async def work() -> Any:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, seconds in seconds_by_name.items():
                    pipe.set(_PREFIX + name, 1, ex=seconds)
                return await pipe.execute()

        await self._ask(work)

    async def take(self, name: str, most_per_minute: int, wanted: int) -> tuple[int, float] | None:
        """(how many of `wanted` are given, how many are left), of so many a minute."""
        found = await self._ask(lambda: self._take(keys=[_PREFIX + name], args=[most_per_minute, wanted]))
        return (int(found[0]), float(found[1])) if found is not None else None

    async def _ask(self, work: Any) -> Any:
        if time.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await work()
        except _GONE as error:
            self._away_until = time.monotonic() + _REST_SECONDS
            if not self._is_lost:
                log.tally_lost(error)
            self._is_lost = True
            return None
        if self._is_lost:
            log.tally_back()
        self._is_lost = False
        return found


class Buckets:
    """Of each name so much in so many seconds, in the memory of this process; who was not asked for longest is forgotten first."""

    def __init__(self, remembered: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: Recent[Hashable, tuple[float, float]] = Recent(remembered)

    def take(self, name: Hashable, most: int, seconds: float) -> float:
        """Seconds until there is one; 0: there is, and it is taken."""
        now = self._clock()
        left, at = self._left.get(name, (float(most), now))
        left = min(float(most), left + (now - at) * most / seconds)
        is_given = left >= 1.0
        self._left[name] = (left - is_given, now)
        return 0.0 if is_given else (1.0 - left) * seconds / most
