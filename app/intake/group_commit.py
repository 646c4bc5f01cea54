"""Group commit: submissions that arrive while one commit is under way form the next one.

One statement and one commit for all of them. After a group of several the writer rests for a moment while the line is short: what
a commit costs by itself is as much as several messages. A lone client never waits for that. Groups are bounded in rows and bytes (a
body above them goes alone), the waiting line is bounded too: beyond it a submission is refused at once instead of late.
A database error re-runs each submission of the group alone, so that one bad row never sinks its neighbours; when PostgreSQL is
away all of them are refused and nothing is half-written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from app import log
from app.errors import Conflict, InvalidMessage, RelayError, Unavailable
from app.store.db import CONNECTION_ERRORS, away
from app.store.submissions import NewMessage, WrittenRecipient

# What became of each recipient, in order. None: the submission's idempotency key is taken, nothing of it was written.
Verdict = list[WrittenRecipient] | None
Write = Callable[[Sequence[NewMessage]], Awaitable[list[Verdict]]]

# Contents above this have a line of their own: one takes as long to write as many small ones.
LARGE_BYTES = 128 * 1024
# The rest between small groups: so long, unless so many are waiting.
_REST_SECONDS = 0.002
_COMPANY = 8
_RETRY_AFTER_SECONDS = 2


@dataclass(slots=True, eq=False)
class _Waiting:
    message: NewMessage
    size_bytes: int
    verdict: asyncio.Future[Verdict]


class GroupCommit:
    """The waiting line and its one writer. `write` commits a group and returns a verdict for each of it, in order."""

    def __init__(self, write: Write, *, group_rows: int, group_bytes: int, waiting_rows: int, waiting_bytes: int) -> None:
        self._write = write
        self._group_rows = group_rows
        self._group_bytes = group_bytes
        self._waiting_rows = waiting_rows
        self._waiting_bytes = waiting_bytes
        self._line: deque[_Waiting] = deque()
        self._line_rows = 0
        self._line_bytes = 0
        self._arrived = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write_groups(), name="group-commit")

    async def close(self) -> None:
        """Stop after the commit under way; whoever still waits is refused."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        self._refuse(list(self._line), Unavailable("The server is stopping.", retry_after_seconds=_RETRY_AFTER_SECONDS))
        self._line.clear()

    def add(self, message: NewMessage) -> asyncio.Future[Verdict]:
        """Join the line; the future is done after the commit. Raises Unavailable when the line is full."""
        size = message.stored_bytes
        rows = len(message.recipients)
        is_full = self._line_rows + rows > self._waiting_rows or self._line_bytes + size > self._waiting_bytes
        if is_full and self._line:
            raise Unavailable("Too many submissions are waiting to be written.", retry_after_seconds=_RETRY_AFTER_SECONDS)
        waiting = _Waiting(message, size, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self._line_rows += rows
        self._line_bytes += size
        self._arrived.set()
        return waiting.verdict

    async def _write_groups(self) -> None:
        while True:
            await self._arrived.wait()
            group = self._next_group()
            if not group:
                self._arrived.clear()
                continue
            try:
                await self._write_group(group)
            except asyncio.CancelledError:
                self._refuse(group, Unavailable("The server is stopping.", retry_after_seconds=_RETRY_AFTER_SECONDS))
                raise
            if len(group) > 1 and len(self._line) < _COMPANY:
                await asyncio.sleep(_REST_SECONDS)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        rows = size = 0
        while self._line:
            first = self._line[0]
            added = len(first.message.recipients)
            if group and (rows + added > self._group_rows or size + first.size_bytes > self._group_bytes):
                break
            self._line.popleft()
            self._line_rows -= added
            self._line_bytes -= first.size_bytes
            if first.verdict.done():  # its client went away while it waited
                continue
            group.append(first)
            rows += added
            size += first.size_bytes
        return group

    async def _write_group(self, group: list[_Waiting]) -> None:
        try:
            verdicts = await self._write([w.message for w in group])
        except CONNECTION_ERRORS as error:
            log.accept_failed(len(group), error)
            self._refuse(group, away("nothing was accepted"))
        except Exception as error:
            if len(group) == 1:
                self._refuse(group, _refusal_of(error))
                return
            for waiting in group:
                await self._write_group([waiting])
        else:
            for waiting, verdict in zip(group, verdicts, strict=True):
                if not waiting.verdict.done():
                    waiting.verdict.set_result(verdict)

    @staticmethod
    def _refuse(group: Sequence[_Waiting], error: RelayError) -> None:
        for waiting in group:
            if not waiting.verdict.done():
                waiting.verdict.set_exception(error)


def _refusal_of(error: Exception) -> RelayError:
    """What a submission that failed alone is told."""
    if isinstance(error, RelayError):
        return error
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Conflict("A request with this Idempotency-Key is still under way.", retry_after_seconds=1)
    if isinstance(error, asyncpg.DataError):
        log.accept_failed(1, error)
        return InvalidMessage("The message holds a character that cannot be stored.")
    log.accept_failed(1, error)
    return away("nothing was accepted")
