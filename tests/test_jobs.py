"""Wakes: who is told of what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app import jobs
from app.jobs import Wakes

READY = (7, 0, 1)


class _Ear:
    """A process that listens, and what it heard."""

    def __init__(self, wakes: Wakes) -> None:
        self.wakes = wakes
        self.shares: list[tuple[int, int, int]] = []
        self.accounts: list[int] = []

    async def listen(self) -> None:
        async for shares, accounts in self.wakes.listen():
            self.shares += shares
            self.accounts += accounts


@asynccontextmanager
async def an_ear(redis_url: str, *, hears_events: bool) -> AsyncIterator[_Ear]:
    """Listening; `hears_events` is said before it begins."""
    ear = _Ear(Wakes(redis_url))
    await ear.wakes.hear_events(hears_events)
    listening = asyncio.create_task(ear.listen())
    try:
        await until(lambda: ear.wakes._subscription is not None)
        await asyncio.sleep(0.1)
        yield ear
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await ear.wakes.close()


@asynccontextmanager
async def a_mouth(redis_url: str) -> AsyncIterator[Wakes]:
    wakes = Wakes(redis_url)
    wakes.start()
    try:
        yield wakes
    finally:
        await wakes.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_events_alone_are_told_to_those_who_hear_them(redis_url: str) -> None:
    async with an_ear(redis_url, hears_events=True) as poster, an_ear(redis_url, hears_events=False) as other, a_mouth(redis_url) as mouth:
        mouth.tell_events([1])
        await until(lambda: poster.accounts == [1])
        mouth.tell_ready([READY])
        mouth.tell_events([2])
        await until(lambda: other.shares == [READY] and poster.shares == [READY])
        assert (poster.accounts, other.accounts) == ([1, 2], [2])  # with what is ready they go to all: it goes there anyway


async def test_one_who_begins_to_hear_hears_and_one_who_ceases_does_not(redis_url: str) -> None:
    async with an_ear(redis_url, hears_events=False) as first, an_ear(redis_url, hears_events=True) as second, a_mouth(redis_url) as mouth:
        await first.wakes.hear_events(True)
        await second.wakes.hear_events(False)
        await asyncio.sleep(0.1)
        mouth.tell_events([3])
        await until(lambda: first.accounts == [3])
        assert second.accounts == []


async def test_what_nobody_hears_is_not_told_for_a_while(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with the next ready rows, and by itself again when the while is over."""
    monkeypatch.setattr(jobs, "_UNHEARD_SECONDS", 0.5)
    async with an_ear(redis_url, hears_events=False) as other, a_mouth(redis_url) as mouth:
        mouth.tell_events([1])
        await until(lambda: mouth._unheard_until > 0)
        mouth.tell_events([2])
        assert not mouth._some.is_set()
        mouth.tell_ready([READY])
        await until(lambda: other.shares == [READY])
        assert other.accounts == [2]
        await other.wakes.hear_events(True)
        await asyncio.sleep(0.6)
        mouth.tell_events([4])
        await until(lambda: other.accounts == [2, 4])


async def test_a_wake_is_told_once_for_many_rows_of_a_share(redis_url: str) -> None:
    async with an_ear(redis_url, hears_events=False) as ear, a_mouth(redis_url) as mouth:
        mouth.tell_ready([READY] * 5)
        await until(lambda: bool(ear.shares))
        await asyncio.sleep(0.05)
        assert ear.shares == [READY]
