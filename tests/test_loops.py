"""Loops that outlive what befalls them, and waits that end."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from app.loops import keep, wait_at_most


async def test_steps_follow_at_once_while_there_is_more_and_go_on_after_a_failure(monkeypatch):
    told: list[tuple[str, str]] = []
    monkeypatch.setattr("app.log.loop_failed", lambda name, error: told.append((name, str(error))))
    answers: list[bool | Exception | None] = [True, RuntimeError("no luck"), True, None, False, True]
    at: list[float] = []
    over = asyncio.Event()

    async def step() -> bool | None:
        at.append(time.monotonic())
        if len(at) == len(answers):
            over.set()
        answer = answers[len(at) - 1] if len(at) <= len(answers) else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    keeping = asyncio.create_task(keep("trial", step, 0.05))
    await asyncio.wait_for(over.wait(), 5)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    rested = [later - sooner > 0.04 for sooner, later in pairwise(at)][:5]
    assert rested == [False, True, False, True, True], "a rest after what failed and where there was no more"
    assert told == [("trial", "no luck")]


async def test_a_wait_ends_with_its_event_or_its_time():
    event = asyncio.Event()
    began = time.monotonic()
    await wait_at_most(event, 0.05)
    assert time.monotonic() - began > 0.04
    asyncio.get_running_loop().call_later(0.01, event.set)
    await wait_at_most(event, 10)
    assert time.monotonic() - began < 5
