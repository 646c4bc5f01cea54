"""The HTTP API as processes: uvicorn on uvloop and httptools, one listening socket for all of them."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import log
from app.cli.herd import Herd
from app.config import Settings
from app.heap import freeze_heap
from app.keyring import Keyring
from app.main import build_app
from app.sockets import listen

_BACKLOG = 2048
_SHUTDOWN_SECONDS = 15


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    log.set_up(settings.log_level, role="api")
    Keyring.load(settings.keyring_path)  # one line when there is none, instead of a server that fails while it starts
    try:
        listening = listen(settings.api_host, settings.api_port, _BACKLOG)
    except OSError as error:
        sys.exit(f"staffetta: {error.strerror} (STAFFETTA_API_PORT)")
    if settings.api_processes > 1:
        Herd("api", settings.api_processes, lambda: _run_server(settings, listening)).run()
    else:
        _run_server(settings, listening)


class _Http(HttpToolsProtocol):
    """Uvicorn's own, over a transport that sends an answer whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, _Whole(cast(asyncio.Transport, transport), self.loop)))


class _Whole:
    """A transport whose writes wait for their second one, for the present turn of the loop at most.

    Uvicorn writes the head of an answer and its body apart, and uvloop sends each write at once: two system calls and two packets
    for a few hundred bytes, which was a tenth of what accepting a message cost.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._first: bytes | None = None

    def write(self, data: Any) -> None:
        if self._first is None:
            self._first = data
            self._loop.call_soon(self._send)
        else:
            first, self._first = self._first, None
            self._transport.write(first + data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        first, self._first = self._first, None
        if first is not None and not self._transport.is_closing():  # the client may have gone meanwhile
            self._transport.write(first)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        freeze_heap()


def _run_server(settings: Settings, listening: socket.socket) -> None:
    config = uvicorn.Config(
        build_app(settings),
        loop="uvloop",
        http=_Http,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    _Server(config).run(sockets=[listening])
