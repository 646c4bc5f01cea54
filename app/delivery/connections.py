"""Open connections to receiving servers, kept for the next message whoever sends it.

A connection is kept by next hop for some idle seconds and a number of deliveries, and is used last in, first out, so that a quiet
site ends with none. A broken one is never kept. TLS that failed with a host is remembered for a while, and mail that may go without
it goes without it (opportunistic TLS, RFC 3207 §4.1 as everybody practises it).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable

from app.config import Settings
from app.delivery.transport import Connection, Conversation, Hop, Phase

_SWEEP_SECONDS = 1.0
_TLS_BROKEN_SECONDS = 3600.0


class Connections:
    """The connections of one worker that are not in use right now."""

    def __init__(self, settings: Settings, tls_context: ssl.SSLContext) -> None:
        self._settings = settings
        self._tls_context = tls_context
        self._idle: dict[tuple[str, str, int], list[tuple[Connection, float]]] = {}
        self._uses: dict[Connection, int] = {}
        self._tls_broken: dict[tuple[str, int], float] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.opened = 0

    def take(self, hop: Hop) -> Connection | None:
        """An idle connection to this hop that is still good, or None."""
        kept = self._idle.get((hop.host, hop.address, hop.port))
        while kept:
            connection, _ = kept.pop()
            if connection.usable:
                return connection
            self._close(connection)
        return None

    async def open(self, hop: Hop) -> Connection | Conversation:
        """A new connection, or the conversation that ended before it began."""
        place = (hop.host, hop.port)
        tls = "never" if self._tls_broken.get(place, 0.0) > time.monotonic() else "opportunistic"
        opened = await self._open(hop, tls)
        if isinstance(opened, Conversation) and opened.phase is Phase.TLS:
            self._tls_broken[place] = time.monotonic() + _TLS_BROKEN_SECONDS
            opened = await self._open(hop, "never")
        return opened

    async def _open(self, hop: Hop, tls: str) -> Connection | Conversation:
        self.opened += 1
        return await Connection.open(hop, helo_name=self._settings.helo_name, tls_context=self._tls_context, tls=tls)

    def give_back(self, connection: Connection) -> None:
        """After a conversation: kept if it can serve another."""
        uses = self._uses.get(connection, 0) + 1
        if not connection.usable or uses >= self._settings.deliveries_per_connection:
            self._close(connection)
            return
        self._uses[connection] = uses
        hop = connection.hop
        self._idle.setdefault((hop.host, hop.address, hop.port), []).append((connection, time.monotonic()))

    async def sweep(self) -> None:
        """Close for ever what has been idle for too long."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            oldest = time.monotonic() - self._settings.connection_idle_seconds
            self._drop(lambda since: since < oldest)
            now = time.monotonic()
            self._tls_broken = {place: until for place, until in self._tls_broken.items() if until > now}

    def drop_oldest(self, most: int) -> None:
        """Close idle connections, the longest idle first, until at most `most` are left."""
        idle = sorted((since for kept in self._idle.values() for _, since in kept), reverse=True)
        if len(idle) > most:
            limit = idle[most]
            self._drop(lambda since: since <= limit)

    async def close(self) -> None:
        self._drop(lambda _since: True)
        if self._closing:
            await asyncio.wait(self._closing, timeout=2)

    @property
    def idle_count(self) -> int:
        return sum(len(kept) for kept in self._idle.values())

    def _drop(self, is_over: Callable[[float], bool]) -> None:
        for place, kept in list(self._idle.items()):
            over = [connection for connection, since in kept if is_over(since)]
            if over:
                left = [pair for pair in kept if not is_over(pair[1])]
                if left:
                    self._idle[place] = left
                else:
                    del self._idle[place]
                for connection in over:
                    self._close(connection)
            elif not kept:
                del self._idle[place]

    def _close(self, connection: Connection) -> None:
        self._uses.pop(connection, None)
        task = asyncio.ensure_future(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
