"""A scripted webhook receiver: takes posts, answers as its script says, keeps or logs each post. It verifies nothing itself.

In a test's own loop:           async with HookReceiver([Rule("500", times=3)]) as hooks: … hooks.url, hooks.posts
In a process of its own:        python -m tests.doubles.hooks --port 0 --log FILE [--script FILE]     (prints its URL)

A script is a list of rules; the first that holds answers, no rule = 200. As JSON: {"rules": [{"answer": "500", "share": 0.3}]}.
Answers: any status ("200", "410", "429" with retry_after, "301" with location …), and

    slow      200 after `seconds`                        hang     nothing, ever
    huge      200 with `size` bytes of body              drip     200, then a byte of its long body every `seconds`
    drop      the connection is closed                   garbage  no HTTP
    inflate   200 whose body says that it is gzip        endless  100 Continue over and over

A line of the log is `time webhook-id status body`: JSON bodies have no line ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httptools

try:
    from uvloop import run
except ImportError:
    from asyncio import run

_FLUSH_SECONDS = 0.1


@dataclass(slots=True)
class Rule:
    """When an answer is given: `times` at most, to a `share` of the posts, only to bodies that contain a text."""

    answer: str = "200"
    share: float = 1.0
    times: int | None = None
    contains: str | None = None
    seconds: float = 1.0
    size: int = 1 << 20
    retry_after: str | None = None
    location: str | None = None
    body: str = ""

    def holds(self, body: bytes) -> bool:
        if self.times == 0 or (self.contains is not None and self.contains.encode() not in body):
            return False
        if self.share < 1.0 and random.random() >= self.share:
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True, slots=True)
class Hook:
    """One post as it came."""

    id: str
    at: float
    answer: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HookReceiver:
    """A receiver on loopback. Rules may be exchanged while it runs."""

    rules: Sequence[Rule] = ()
    port: int = 0
    log: BinaryIO | None = None
    tls: ssl.SSLContext | None = None
    posts: list[Hook] = field(default_factory=list)
    count: int = 0
    connections: int = 0
    most_under_way: int = 0
    under_way: int = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._open: set[_Connection] = set()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for connection in list(self._open):
            connection.end()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [post.id for post in self.posts]

    @property
    def event_ids(self) -> list[str]:
        """The ids of all events, single and batched, in the order they came."""
        return [event["id"] for post in self.posts for event in _events_of(post.json)]

    def answer_to(self, headers: dict[str, str], body: bytes) -> Rule:
        rule = next((rule for rule in self.rules if rule.holds(body)), None) or Rule()
        self.count += 1
        hook = Hook(headers.get("webhook-id", ""), time.time(), rule.answer, headers, body)
        if self.log is None:
            self.posts.append(hook)
        else:
            self.log.write(b"%.6f %s %s %s\n" % (hook.at, hook.id.encode(), hook.answer.encode(), body))
        return rule


def _events_of(body: Any) -> Iterator[Any]:
    yield from body["data"] if isinstance(body["data"], list) else [body["data"]]


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: HookReceiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._receiver.connections += 1
        self._receiver._open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._receiver._open.discard(self)
        for task in self._tasks:
            task.cancel()

    def end(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        rule = self._receiver.answer_to(self._headers, b"".join(self._body))
        if rule.answer == "200" and not rule.body:
            self._transport.write(_OK)
            return
        task = asyncio.get_running_loop().create_task(self._answer(rule))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, rule: Rule) -> None:
        receiver, write = self._receiver, self._transport.write
        receiver.under_way += 1
        receiver.most_under_way = max(receiver.most_under_way, receiver.under_way)
        try:
            match rule.answer:
                case "slow":
                    await asyncio.sleep(rule.seconds)
                    write(_OK)
                case "hang":
                    await asyncio.sleep(3600)
                case "drop":
                    self._transport.abort()
                case "garbage":
                    write(b"220 mail.example.test ESMTP\r\n\r\n")
                case "huge":
                    write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % rule.size)
                    write(b"x" * rule.size)
                case "inflate":
                    write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz")
                case "drip":
                    write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    await self._repeat(b"x", rule.seconds)
                case "endless":
                    await self._repeat(b"HTTP/1.1 100 Continue\r\n\r\n", rule.seconds)
                case status:
                    write(_plain_answer(int(status), rule))
        finally:
            receiver.under_way -= 1

    async def _repeat(self, piece: bytes, seconds: float) -> None:
        while not self._transport.is_closing():
            self._transport.write(piece)
            await asyncio.sleep(seconds)


def _plain_answer(status: int, rule: Rule) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted"]
    if rule.retry_after is not None:
        lines.append(f"Retry-After: {rule.retry_after}")
    if rule.location is not None:
        lines.append(f"Location: {rule.location}")
    if status != 204:
        lines.append(f"Content-Length: {len(rule.body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + rule.body).encode()


def read_script(path: Path) -> list[Rule]:
    return [Rule(**rule) for rule in json.loads(path.read_text(encoding="utf-8"))["rules"]]


async def _serve(arguments: argparse.Namespace) -> None:
    log = Path(arguments.log).open("ab", buffering=1 << 20)  # noqa: SIM115  (open as long as the process)
    receiver = HookReceiver(read_script(Path(arguments.script)) if arguments.script else (), arguments.port, log)
    await receiver.start()
    print(receiver.url, flush=True)
    try:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            log.flush()
    finally:
        log.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.hooks", description="A scripted webhook receiver.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True, help="file that each post is appended to")
    parser.add_argument("--script", help="JSON file with rules")
    arguments = parser.parse_args()
    try:
        run(_serve(arguments))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
