"""Is the program of this container alive? The API answers /healthz, the SMTP server greets; a worker's lease runs in the database.

Which of them it is, is told by who answers, so that one image has one health check. A database that is away is no reason to end a
worker: it waits, and nothing is gained by a new one.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import sys

from app import store
from app.config import Settings

_PATIENCE_SECONDS = 3.0


def run_alive(settings: Settings) -> int:
    """The exit status."""
    if answers(settings.api_host, settings.api_port, "/healthz") or any(
        greets(settings.submission_host, port) for port in settings.submission_ports
    ):
        return 0
    try:
        alive = asyncio.run(asyncio.wait_for(_worker_lives(settings), _PATIENCE_SECONDS))
    except store.db.CONNECTION_ERRORS as error:
        print(f"staffetta: cannot tell, the database is away: {type(error).__name__}", file=sys.stderr)
        return 0
    if not alive:
        print("staffetta: neither an API nor an SMTP server answers here, and no worker of this machine has a lease", file=sys.stderr)
    return 0 if alive else 1


def answers(host: str, port: int, path: str) -> bool:
    """Whether an HTTP server on this machine says 200 to a GET."""
    connection = http.client.HTTPConnection(_here(host), port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def greets(host: str, port: int) -> bool:
    """Whether an SMTP server on this machine says 220 at a port."""
    try:
        with socket.create_connection((_here(host), port), timeout=_PATIENCE_SECONDS) as connection:
            return connection.recv(512).startswith(b"220 ")
    except OSError:
        return False


def _here(host: str) -> str:
    """Where a server that listens at `host` is found."""
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 (compared, not bound)


async def _worker_lives(settings: Settings) -> bool:
    database = store.db.Database(settings.database_url, hot_connections=1)
    try:
        async with database.hot() as connection:
            return await store.workers.lives_on(connection, socket.gethostname())
    finally:
        await database.close()
