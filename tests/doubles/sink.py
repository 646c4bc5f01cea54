"""An SMTP sink: a real server that takes mail, misbehaves by script, and logs the final dot of every message.

    python -m tests.doubles.sink --port 0 --log dots.tsv --script faults.json --delay-ms 20

It prints `{"port": …, "pid": …}` when ready and, on SIGTERM, one JSON line of statistics. In a test's own loop:
`async with Sink(Script.parse({"rules": […]})) as sink: … sink.port, sink.dots, sink.messages`.

Rules. The log has one line for each final dot that arrived, put down before the reply leaves and in the file at most 10 ms
later: time, recipients, Message-ID, bytes on the wire, verdict, connection, tab separated (`read_log`). The verdict is
"accepted", "no_recipient" or the name of the fault that met the dot. The fast path (pipelined MAIL, RCPT, DATA; then the
body) costs two reads and two writes; everything else may be slow. It is no mail server: it checks no syntax.

The faults are in `sink_script`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.doubles.sink_log import Dot, DotLog
from tests.doubles.sink_receiver import Receiver
from tests.doubles.sink_script import Script

DEFAULT_OFFER = ("PIPELINING", "8BITMIME", "SIZE 36700160", "SMTPUTF8", "ENHANCEDSTATUSCODES")


class Sink:
    """One listening sink. `remember` keeps dots and raw messages in memory for tests; `keep` writes one in `keep_each` to files."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        offer: tuple[str, ...] = DEFAULT_OFFER,
        delay_ms: float = 0.0,
        log: Path | None = None,
        keep: Path | None = None,
        keep_each: int = 1,
        remember: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script or Script()
        self.offer = offer
        self.delay_seconds = delay_ms / 1000
        self.keep = keep
        self.keep_each = keep_each
        self.remember = remember
        self.tls = tls
        self.dots: list[Dot] = []
        self.messages: list[bytes] = []
        self.lines: list[bytes] = []  # with `remember`: every command line
        self.open: set[Receiver] = set()
        self.connections = 0
        self.peak_connections = 0
        self.transactions = 0
        self.transactions_per_connection: Counter[int] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.port = 0
        self.log = DotLog(log) if log else None
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Receiver(self, loop), host, port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for receiver in list(self.open):
            receiver.abort()
        await asyncio.sleep(0)
        if self.log:
            self.log.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def take(self, dot: Dot, raw: bytes) -> None:
        """Put a final dot on record, before its reply leaves."""
        self.verdicts[dot.verdict] += 1
        if self.log:
            self.log.write(dot)
        if self.remember:
            self.dots.append(dot)
            self.messages.append(unstuffed(raw))
        if self.keep and (number := sum(self.verdicts.values())) % self.keep_each == 0:
            (self.keep / f"{number:08d}-{dot.verdict}.eml").write_bytes(unstuffed(raw))

    def statistics(self) -> dict[str, object]:
        counts = self.transactions_per_connection + Counter(receiver.transactions for receiver in self.open)
        return {
            "connections": self.connections,
            "peak_connections": self.peak_connections,
            "transactions": self.transactions,
            "transactions_per_connection": dict(sorted(counts.items())),
            "verdicts": dict(self.verdicts),
            "cpu_seconds": round(time.process_time(), 3),
        }


def unstuffed(raw: bytes) -> bytes:
    """The message as it was before dot-stuffing (RFC 5321 §4.5.2)."""
    raw = raw[1:] if raw.startswith(b".") else raw
    return raw.replace(b"\r\n.", b"\r\n") if b"\r\n." in raw else raw


if __name__ == "__main__":
    from tests.doubles.sink_cli import main

    main()
