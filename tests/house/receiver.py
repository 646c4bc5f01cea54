"""The cheapest webhook receiver: counts posts and says 204, so that a measured run pays for the house and not for its double.

python -m tests.house.receiver        prints its URL; on SIGTERM one JSON line: {"posts": …, "bytes": …}
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import uvloop

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Counts:
    posts = 0
    bytes = 0


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        rest = self._rest + data
        while (end := rest.find(b"\r\n\r\n")) >= 0:
            mark = rest.find(b"Content-Length: ", 0, end)
            length = int(rest[mark + 16 : rest.find(b"\r", mark)])
            if len(rest) < end + 4 + length:
                break
            _Counts.posts += 1
            _Counts.bytes += length
            rest = rest[end + 4 + length :]
            self._transport.write(_ANSWER)
        self._rest = rest


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", flush=True)
    await stop.wait()
    print(json.dumps({"posts": _Counts.posts, "bytes": _Counts.bytes}), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
