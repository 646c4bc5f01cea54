"""The inbox as a running thing: both of its servers in one loop, from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from app import log, store
from app.accounts.domains import find_dkim_record
from app.config import Settings
from app.inbox.keep import Keep
from app.inbox.server import smtp_factory
from app.inbox.shelf import Shelf
from app.inbox.verdict import FindKey, Verifier
from app.inbox.web import build_app

_HOST = "127.0.0.1"  # everything in here is readable without a log-in
# A message taken in at the size limit comes out larger: trace fields, signatures, List-Unsubscribe, tracked links.
_GROWTH_BYTES = 1024 * 1024


class Inbox:
    """Both servers on `directory`; a port of 0 takes a free one, told by `smtp_port` and `http_port` once started."""

    def __init__(
        self, directory: Path, *, find_key: FindKey, smtp_port: int = 0, http_port: int = 0, max_message_bytes: int = 25 * 1024 * 1024
    ) -> None:
        self.keep = Keep(directory)
        self._verifier = Verifier(self.keep, find_key)
        self.smtp_port = smtp_port
        self.http_port = http_port
        self._max_message_bytes = max_message_bytes
        self._smtp: asyncio.Server | None = None
        self._http: _HttpServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Both servers listen when this returns; OSError when a port is taken."""
        smtp_socket = _listen(self.smtp_port)
        try:
            http_socket = _listen(self.http_port)
        except OSError:
            smtp_socket.close()
            raise
        self.smtp_port, self.http_port = smtp_socket.getsockname()[1], http_socket.getsockname()[1]
        factory = smtp_factory(self.keep, max_message_bytes=self._max_message_bytes)
        self._smtp = await asyncio.get_running_loop().create_server(factory, sock=smtp_socket)
        app = build_app(Shelf(self.keep, self._verifier, smtp_port=self.smtp_port))
        config = uvicorn.Config(
            app, log_config=None, log_level=logging.WARNING, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2
        )
        self._http = _HttpServer(config)
        self._serving = asyncio.create_task(self._http.serve(sockets=[http_socket]))
        await self._http.listening.wait()

    async def close(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
        if self._http is not None and self._serving is not None:
            self._http.should_exit = True
            await self._serving
        self._verifier.close()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; ends the process with one line when it cannot start."""
    log.set_up(settings.log_level, role="inbox")
    try:
        asyncio.run(_run(settings))
    except OSError as error:
        ports = f"{settings.inbox_smtp_port} and {settings.inbox_http_port}"
        sys.exit(f"The local inbox cannot start on ports {ports} with {settings.inbox_directory}: {error}")


async def _run(settings: Settings) -> None:
    database = store.db.Database(settings.database_url)

    async def find_key(selector: str, domain: str) -> str | None:
        return await find_dkim_record(database, selector, domain)

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    inbox = Inbox(
        settings.inbox_directory,
        find_key=find_key,
        smtp_port=settings.inbox_smtp_port,
        http_port=settings.inbox_http_port,
        max_message_bytes=settings.max_message_bytes + _GROWTH_BYTES,
    )
    await inbox.start()
    await stopping.wait()
    await inbox.close()
    await database.close()


class _HttpServer(uvicorn.Server):
    """uvicorn that says when it listens, without its signal handlers: whoever started the inbox stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP (socket.create_server's do not). Without it the replies
    # to a pipelined group wait for the client's delayed ACK: 40 ms per message.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_HOST, port))
        listening.listen(512)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
