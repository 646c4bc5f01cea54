"""Open connections to receiving servers, kept for the next message whoever sends it.

A connection is kept by next hop for some idle seconds and a number of deliveries, and is used last in, first out, so that a quiet
site ends with none. At most MOST_IDLE are kept, or a newsletter to 20,000 sites would use up the process's file descriptors; the hop
without mail for longest loses its own first. A broken one is never kept.

Remembered for a while are: a host whose TLS failed and that then took a connection in the clear, where mail that may go without TLS goes
without it (opportunistic TLS, RFC 3207 §4.1 as everybody practises it; mail for which TLS is demanded has connections of its own); a host
that lost an envelope sent ahead; and one that cannot be reached: others of the route are tried before it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Sequence

from app.config import Settings
from app.delivery.transport import Connection, Conversation, Hop, Phase, Timeouts, Tls

MOST_IDLE = 1000
_SWEEP_SECONDS = 1.0
_REMEMBERED_SECONDS = 3600.0
_UNREACHED_SECONDS = 120.0


class Connections:
    """The connections of one worker that are not in use right now."""

    def __init__(self, settings: Settings, tls_context: ssl.SSLContext) -> None:
        self._settings = settings
        self._tls_context = tls_context
        self._verifying_context: ssl.SSLContext | None = None
        self._timeouts = Timeouts().scaled(settings.smtp_patience)
        # The next hops in the order in which a connection came back to them.
        self._idle: OrderedDict[tuple[str, str, int, Tls], list[Connection]] = OrderedDict()
        self.idle_count = 0
        self._tls_broken: dict[tuple[str, int], float] = {}
        self._one_by_one: dict[tuple[str, int], float] = {}
        self._unreached: dict[tuple[str, int], float] = {}
        self._closing: dict[asyncio.Task[None], Hop] = {}
        self.opened = 0

    def take(self, hop: Hop) -> Connection | None:
        """An idle connection to this hop that is still good, or None."""
        kept = self._idle.get((hop.host, hop.address, hop.port, hop.tls))
        while kept:
            connection = kept.pop()
            self.idle_count -= 1
            if connection.usable:
                return connection
            self._close(connection)
        return None

    async def open(self, hop: Hop) -> Connection | Conversation:
        """A new connection, or the conversation that ended before it began."""
        place = (hop.host, hop.port)
        if hop.deliveries and (ending := [task for task, closed in self._closing.items() if closed == hop]):
            await asyncio.wait(ending)  # a host that counts connections counts those that say goodbye
        if hop.tls is not Tls.OPPORTUNISTIC:
            return await self._open(hop, hop.tls)
        if self._tls_broken.get(place, 0.0) > time.monotonic():
            return await self._open(hop, Tls.NEVER)
        opened = await self._open(hop, Tls.OPPORTUNISTIC)
        if isinstance(opened, Conversation) and opened.phase is Phase.TLS:
            opened = await self._open(hop, Tls.NEVER)
            if isinstance(opened, Connection):
                self._tls_broken[place] = time.monotonic() + _REMEMBERED_SECONDS
        return opened

    async def _open(self, hop: Hop, tls: Tls) -> Connection | Conversation:
        self.opened += 1
        opened = await Connection.open(
            hop, helo_name=self._settings.helo_name, tls_context=self._context_for(tls), timeouts=self._timeouts, tls=tls
        )
        if isinstance(opened, Conversation) and opened.phase is not Phase.TLS:
            self._unreached[hop.address, hop.port] = time.monotonic() + _UNREACHED_SECONDS
        elif self._unreached:
            self._unreached.pop((hop.address, hop.port), None)
        return opened

    def _context_for(self, tls: Tls) -> ssl.SSLContext:
        if tls is not Tls.VERIFY:
            return self._tls_context
        if self._verifying_context is None:
            self._verifying_context = ssl.create_default_context()
        return self._verifying_context

    def in_order(self, hops: Sequence[Hop]) -> Sequence[Hop]:
        """The hops of a route, those that could not be reached a while ago after the others."""
        unreached = self._unreached
        return sorted(hops, key=lambda hop: (hop.address, hop.port) in unreached) if unreached else hops

    def give_back(self, connection: Connection, *, keep: bool = True) -> None:
        """After a conversation: kept if it can serve another, and if the site may still have it."""
        if keep and connection.usable and not self.is_spent(connection):
            hop = connection.hop
            place = (hop.host, hop.address, hop.port, hop.tls)
            self._idle.setdefault(place, []).append(connection)
            self._idle.move_to_end(place)
            self.idle_count += 1
            while self.idle_count > MOST_IDLE:
                self._drop_one()
        else:
            self._close(connection)

    def is_spent(self, connection: Connection) -> bool:
        """Whether it has had as many messages as one connection may have."""
        return connection.served >= (connection.hop.deliveries or self._settings.deliveries_per_connection)

    def takes_ahead(self, hop: Hop) -> bool:
        """Whether an envelope may leave with the body before it."""
        return (hop.host, hop.port) not in self._one_by_one

    def lost_ahead(self, hop: Hop) -> None:
        """A server could not do with an envelope that came with the body before it: for a while it gets them one by one."""
        self._one_by_one[hop.host, hop.port] = time.monotonic() + _REMEMBERED_SECONDS

    async def sweep(self) -> None:
        """Close for ever what has been idle for too long, and what the other side has closed."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            self._drop_before(now - self._settings.connection_idle_seconds)
            for remembered in (self._tls_broken, self._one_by_one, self._unreached):
                for place in [place for place, until in remembered.items() if until <= now]:
                    del remembered[place]

    async def close(self) -> None:
        self._drop_before(float("inf"))
        if self._closing:
            await asyncio.wait(self._closing, timeout=2)

    def _drop_one(self) -> None:
        """Close one of the hop that has gone without mail for longest."""
        place, kept = next(iter(self._idle.items()))
        if kept:
            self.idle_count -= 1
            self._close(kept.pop(0))
        if not kept:
            del self._idle[place]

    def _drop_before(self, since: float) -> None:
        for place, kept in list(self._idle.items()):
            over = [connection for connection in kept if connection.idle_since < since or not connection.usable]
            left = [connection for connection in kept if connection not in over] if over else kept
            if left:
                self._idle[place] = left
            else:
                del self._idle[place]
            self.idle_count -= len(over)
            for connection in over:
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        task = asyncio.ensure_future(connection.close())
        self._closing[task] = connection.hop
        task.add_done_callback(self._closing.pop)
