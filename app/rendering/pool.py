"""The pool of limited processes: who is rendered when, and what ends a process.

One render of an account at a time, the others of it wait in a short line; the whole line is bounded too, beyond it nothing waits. A
render that takes WALL_SECONDS is ended by killing its process, which is replaced. There are three kinds of processes, so that who writes
bombs meets others who do, and nobody else waits for them: an account whose template had to be ended is a *suspect* for a while, all
suspects share one process at the lowest priority; *newcomers*, of whom nothing is known, share another; accounts whose renders
have ended well so far have the *regular* ones.

Processes are started when they are first needed and kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from app.errors import Throttled, Unavailable
from app.recent import Recent

WALL_SECONDS = 1.7
# Who had less of a CPU in all that time was not slow.
_STARVED_SECONDS = 0.4
_TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 20.0
SUSPECT_SECONDS = 300.0
# After so many an account is no newcomer.
_GOOD_ANSWERS = 10
_REMEMBERED = 10_000
_MOST_WAITING_OF_ACCOUNT = 100
_MOST_WAITING = 1_000
# How much others go before: who waits for mail to be accepted, goes before all templates.
_NICENESS = {"regular": 5, "newcomer": 10, "suspect": 19}
_MOST_ANSWER = 64 * 1024 * 1024
_ROOT = str(Path(__file__).resolve().parents[2])


class RenderEnded(Exception):
    """The process was killed, or died of it: too slow, or too much memory."""


class _Child:
    """One limited process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, niceness: int) -> _Child:
        command = (sys.executable, "-P", "-m", "app.rendering.child", str(niceness))
        environment = {"PYTHONPATH": _ROOT, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", env=environment)
        child = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child._read()
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: bytes) -> dict[str, Any]:
        """The answer; RenderEnded when there is none in time, Unavailable when the machine hardly let the process run."""
        used_before = self._used_seconds()
        try:
            async with asyncio.timeout(WALL_SECONDS):
                assert self._process.stdin is not None
                self._process.stdin.write(len(request).to_bytes(4, "big") + request)
                await self._process.stdin.drain()
                return await self._read()
        except TimeoutError as error:
            if self._used_seconds() - used_before < _STARVED_SECONDS:
                raise Unavailable("This machine is too busy to render templates.", retry_after_seconds=2) from error
            raise RenderEnded from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise RenderEnded from error

    def _used_seconds(self) -> float:
        """CPU of its own; 0 when it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        size = int.from_bytes(await self._process.stdout.readexactly(4), "big")
        if size > _MOST_ANSWER:
            raise RenderEnded
        answer: dict[str, Any] = orjson.loads(await self._process.stdout.readexactly(size))
        return answer

    async def end(self) -> None:
        """Kill it, and wait until the system has it no more."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


class _Lane:
    """So many processes of one kind."""

    def __init__(self, kind: str, number: int) -> None:
        self._niceness = _NICENESS[kind]
        self._free = asyncio.Semaphore(number)
        self._idle: list[_Child] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._coming: set[asyncio.Task[None]] = set()
        self.children: set[_Child] = set()

    async def ask(self, request: bytes) -> dict[str, Any]:
        async with self._free:
            if not self._idle and self._coming:
                await asyncio.wait(self._coming, return_when=asyncio.FIRST_COMPLETED)
            child = self._idle.pop() if self._idle else await self._start()
            answer = await self._ask(child, request)
            # Its memory was full of what others had rendered: a new one has all of it.
            return await self._ask(await self._start(), request) if "again" in answer else answer

    async def _ask(self, child: _Child, request: bytes) -> dict[str, Any]:
        try:
            answer = await child.ask(request)
        except BaseException:  # cancelled too: what it would answer next is not for the next one
            self._replace(child)
            raise
        if "again" in answer:
            self._drop(child)
        elif answer.pop("leave", False):
            self._replace(child)
        else:
            self._idle.append(child)
        return answer

    async def _start(self) -> _Child:
        try:
            child = await _Child.start(self._niceness)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, RenderEnded) as error:
            raise Unavailable("Templates cannot be rendered right now.", retry_after_seconds=2) from error
        self.children.add(child)
        return child

    async def close(self) -> None:
        for task in self._coming:
            task.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)
        for child in list(self.children):
            self._drop(child)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _replace(self, child: _Child) -> None:
        """End one, and start the next at once: whoever comes after a bomb should not wait for Python to begin."""
        self._drop(child)
        coming = asyncio.create_task(self._bring())
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def _bring(self) -> None:
        with contextlib.suppress(Unavailable):  # the next who asks will try, and be told
            self._idle.append(await self._start())

    def _drop(self, child: _Child) -> None:
        self.children.discard(child)
        ending = asyncio.create_task(child.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class Pool:
    """All limited processes of this process."""

    def __init__(self, processes: int) -> None:
        self._regular = _Lane("regular", processes)
        self._newcomers = _Lane("newcomer", 1)
        self._suspects = _Lane("suspect", 1)
        self._lanes = (self._regular, self._newcomers, self._suspects)
        self._good_answers: Recent[int, int] = Recent(_REMEMBERED)
        self._suspect_until: dict[int, float] = {}
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[int, int] = defaultdict(int)
        self._all_waiting = 0

    async def ask(self, account_id: int, request: dict[str, Any]) -> dict[str, Any]:
        """What a process answers. RenderEnded when it had to be ended, Throttled or Unavailable when too many wait."""
        octets = orjson.dumps(request)
        async with self._turn_of(account_id):
            try:
                answer = await self._lane_of(account_id).ask(octets)
            except RenderEnded:
                self._suspect(account_id)
                raise
            if answer.get("fault", {}).get("code") in ("too_slow", "too_much"):
                self._suspect(account_id)
            else:
                self._trust(account_id)
            return answer

    async def close(self) -> None:
        for lane in self._lanes:
            await lane.close()

    def pids(self) -> list[int]:
        """The processes that are there now."""
        return [child.pid for lane in self._lanes for child in lane.children]

    def _lane_of(self, account_id: int) -> _Lane:
        if self._suspect_until.get(account_id, 0.0) > time.monotonic():
            return self._suspects
        return self._regular if self._good_answers.get(account_id, 0) >= _GOOD_ANSWERS else self._newcomers

    def _trust(self, account_id: int) -> None:
        self._good_answers[account_id] = self._good_answers.get(account_id, 0) + 1

    def _suspect(self, account_id: int) -> None:
        self._good_answers.pop(account_id, None)
        now = time.monotonic()
        self._suspect_until = {one: until for one, until in self._suspect_until.items() if until > now}
        self._suspect_until[account_id] = now + SUSPECT_SECONDS

    @asynccontextmanager
    async def _turn_of(self, account_id: int) -> AsyncIterator[None]:
        if self._waiting[account_id] >= _MOST_WAITING_OF_ACCOUNT:
            raise Throttled("Too many templates of this account wait to be rendered.", retry_after_seconds=2)
        if self._all_waiting >= _MOST_WAITING:
            raise Unavailable("Too many templates wait to be rendered.", retry_after_seconds=2)
        self._waiting[account_id] += 1
        self._all_waiting += 1
        try:
            async with self._turns[account_id]:
                yield
        finally:
            self._waiting[account_id] -= 1
            self._all_waiting -= 1
            if not self._waiting[account_id]:
                del self._waiting[account_id], self._turns[account_id]
