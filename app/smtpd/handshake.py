"""A port with TLS from the first octet (RFC 8314 §3.3): who connects is one of the crowd at once, not when the handshake is over.

A server of asyncio tells of a connection only after its handshake: thousands that never end theirs would be seen by nobody. Here each is a
stranger from the moment it is accepted, so it has to go where there is no room, like who connects in the clear and says nothing; and the
handshake is given up after HANDSHAKE_SECONDS. Nothing can be said to who is turned away: TLS has not begun.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from app import log
from app.smtpd.connection import HANDSHAKE_SECONDS, Connection
from app.smtpd.replies import Refusal

# When no connection can be taken because this process has no more files: some end soon.
_PAUSE_SECONDS = 0.1


class TlsPort:
    """A listening socket and those who are shaking hands at it. To be made in the running loop."""

    def __init__(self, listening: socket.socket, make: Callable[[], Connection], tls: ssl.SSLContext) -> None:
        self._listening = listening
        self._make = make
        self._tls = tls
        self._accepting = asyncio.create_task(self._accept(), name="implicit tls")

    def close(self) -> None:
        """Take no more."""
        self._accepting.cancel()
        self._accepting.add_done_callback(lambda _: self._listening.close())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._listening)
            except OSError as error:
                log.loop_failed("smtp", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            session = self._make()
            try:
                session.arrive(peer)
            except Refusal:
                accepted.close()
                continue
            session.handshake = loop.create_task(self._shake_hands(session, accepted))

    async def _shake_hands(self, session: Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: session, accepted, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            accepted.close()
        finally:
            session.handshake = None
            if session.transport is None:
                session.leave()
