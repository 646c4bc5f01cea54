"""Loops that outlive what befalls them, and waits that end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app import log


async def keep(name: str, step: Callable[[], Awaitable[bool | None]], seconds: float) -> None:
    """Take a step for ever: the next one at once when it says that there may be more, else after so many seconds.

    A step that fails is told of. It must leave things so that a later one finds them.
    """
    while True:
        try:
            if await step():
                continue
        except Exception as error:
            log.loop_failed(name, error)
        await asyncio.sleep(seconds)


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, but no longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
