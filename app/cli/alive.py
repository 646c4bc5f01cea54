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
    if _api_answers(settings) or any(greets(settings.submission_host, port) for port in settings.submission_ports):
        return 0
    try:
        alive = asyncio.run(asyncio.wait_for(_worker_lives(settings), _PATIENCE_SECONDS))
    except store.db.CONNECTION_ERRORS as error:
        print(f"staffetta: cannot tell, the database is away: {type(error).__name__}", file=sys.stderr)
        return 0
    if not alive:
        print("staffetta: neither an API nor an SMTP server answers here, and no worker of this machine has a lease", file=sys.stderr)
    return 0 if alive else 1


def _api_answers(settings: Settings) -> bool:
    local = "127.0.0.1" if settings.api_host in {"0.0.0.0", "::", ""} else settings.api_host  # noqa: S104 (compared, not bound)
    connection = http.client.HTTPConnection(local, settings.api_port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def greets(host: str, port: int) -> bool:
    """Whether an SMTP server on this machine says 220 at a port."""
    local = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 (compared, not bound)
    try:
        with socket.create_connection((local, port), timeout=_PATIENCE_SECONDS) as connection:
            return connection.recv(512).startswith(b"220 ")
    except OSError:
        return False


async def _worker_lives(settings: Settings) -> bool:
    database = store.db.Database(settings.database_url, hot_connections=1)
    try:
        async with database.hot() as connection:
            return await store.workers.lives_on(connection, socket.gethostname())
    finally:
        await database.close()
