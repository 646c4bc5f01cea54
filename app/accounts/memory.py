"""What a process remembers of what accounts have: asked of PostgreSQL once by many, known for seconds, within bounds.

1. What was found is known for KNOWN_SECONDS: so long a change that another process made may go unseen here.
2. That there is nothing is known for a shorter time, and in a place of its own: who guesses pushes out other guesses, never what is known.
3. One asks, and all who want the same wait for that answer. Who gives up waiting takes it from nobody; a question that fails
   fails for those who wait, and the next one asks anew.
4. What is forgotten while it is asked for stays forgotten, because the answer may be of before the change: whoever comes later asks anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, Generic, TypeVar

from app.recent import Recent

KNOWN_SECONDS = 10.0
MISSING_SECONDS = 2.0
MOST_KNOWN = 10_000

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """The answers to one question, by what it is asked about. `ask` gives None for what is not there."""

    def __init__(
        self,
        ask: Callable[[Key], Coroutine[Any, Any, Value | None]],
        *,
        most: int = MOST_KNOWN,
        seconds: float = KNOWN_SECONDS,
        missing_seconds: float = MISSING_SECONDS,
    ) -> None:
        self._ask = ask
        self.seconds = seconds
        self.missing_seconds = missing_seconds
        self._known: Recent[Key, tuple[Value, float]] = Recent(most)
        self._missing: Recent[Key, float] = Recent(most)
        self._asked: dict[Key, asyncio.Task[Value | None]] = {}

    def kept(self, key: Key) -> Value | None:
        """What is known, without asking."""
        known = self._known.get(key)
        return known[0] if known is not None and known[1] > monotonic() else None

    async def find(self, key: Key) -> Value | None:
        """What is known, or what is there; raises what `ask` raises."""
        known = self.kept(key)
        if known is not None or self._missing.get(key, 0.0) > monotonic():
            return known
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(self._ask(key))
            asked.add_done_callback(partial(self._answered, key))
        return await asyncio.shield(asked)

    def forget(self, key: Key) -> Value | None:
        """It was changed here; returns what was known of it, be that old."""
        self._asked.pop(key, None)
        self._missing.pop(key, None)
        known = self._known.pop(key, None)
        return known[0] if known is not None else None

    def forget_all(self, is_meant: Callable[[Key], bool]) -> None:
        """The same for all of a kind."""
        for key in {*self._asked, *self._missing, *self._known}:
            if is_meant(key):
                self.forget(key)

    def _answered(self, key: Key, asked: asyncio.Task[Value | None]) -> None:
        has_failed = asked.cancelled() or asked.exception() is not None
        if self._asked.get(key) is not asked:  # forgotten meanwhile
            return
        del self._asked[key]
        if has_failed:
            return
        found, now = asked.result(), monotonic()
        if found is not None:
            self._missing.pop(key, None)
            self._known[key] = (found, now + self.seconds)
        else:
            self._known.pop(key, None)
            self._missing[key] = now + self.missing_seconds
