"""The load generator: POSTs prebuilt requests over kept connections, from a process of its own.

    python -m tests.house.load '{"port": 8025, "token": "…", "sender": "hello@shop.example.test", "seconds": 10}'

Closed loop: each connection sends the next request when it has its answer. Open loop (`rate`): requests are due by the clock, and a
latency counts from when its request was due, not from when a connection was free for it. They are due at even distances, or, with a
`seed`, at random ones of the same mean (a Poisson process), as mail comes from many who know nothing of each other. With `dots` (the
sink's log) no request leaves while `most_behind` accepted recipients are not delivered yet. It says one JSON line at its end (Outcome),
and "ready" before.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.house.requests import Requests

_TICK_SECONDS = 0.002
_SLOW_TICK_SECONDS = 0.02  # when nothing depends on the clock but the end
_LATE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Ends after `seconds` or `count` requests; `requests` are the options of Requests."""

    port: int
    token: str
    sender: str
    seconds: float | None = None
    count: int | None = None
    connections: int = 16
    rate: float | None = None
    seed: int | None = None
    first: int = 0
    requests: dict[str, Any] = field(default_factory=dict)
    dots: str | None = None
    dots_before: int = 0
    most_behind: int = 2000
    marks: str | None = None  # a file for "number, sent, answered" of each request


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan. Latencies are of 2xx answers, in milliseconds; times are of the wall."""

    accepted: int  # recipients
    in_time: int  # of them before the seconds were over
    answers: dict[str, int]
    broken: int
    began_at: float
    ended_at: float
    seconds: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_ms_each: float

    @property
    def rate(self) -> float:
        return self.in_time / self.seconds


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""
        self._transport: Any = None
        self.number = 0
        self.began = 0.0
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.lost(self)

    def send(self, number: int, request: bytes, began: float) -> None:
        self.number, self.began, self.busy = number, began, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data if self._answer else data
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            return
        mark = answer.find(b"content-length: ", 0, end)
        length = int(answer[mark + 16 : answer.find(b"\r", mark)]) if mark >= 0 else 0
        if len(answer) < end + 4 + length:
            return
        self._answer = b""
        self.busy = False
        self._load.answered(self, answer[9:12])

    def close(self) -> None:
        self._transport.close()


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = Requests(sender=plan.sender, token=plan.token, **plan.requests)
        self._next = plan.first
        self._end = plan.first + plan.count if plan.count is not None else sys.maxsize
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._latencies: list[float] = []
        self._answers: Counter[str] = Counter()
        self._broken = 0
        self._under_way = 0
        self._accepted = 0
        self._in_time = 0
        self._dots = _Dots(plan.dots, plan.dots_before) if plan.dots else None
        self._marks = Path(plan.marks).open("w") if plan.marks else None  # noqa: SIM115  (open as long as the run)
        self._stopped = False
        self._done = asyncio.Event()

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port)
            self._idle.append(connection)
        self._requests.make(0)
        print("ready", flush=True)
        cpu, began, began_at = time.process_time(), time.perf_counter(), time.time()
        self._latest = began + self._plan.seconds if self._plan.seconds is not None else float("inf")
        ticking = asyncio.create_task(self._tick(began))
        await self._done.wait()
        ticking.cancel()
        try:
            async with asyncio.timeout(_LATE_SECONDS):
                while self._under_way:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self._broken += self._under_way
        if self._marks:
            self._marks.close()
        return self._outcome(began_at, self._plan.seconds or time.perf_counter() - began, time.process_time() - cpu)

    def _outcome(self, began_at: float, seconds: float, cpu: float) -> Outcome:
        latencies = sorted(self._latencies) or [0.0]
        sent = max(1, self._next - self._plan.first)
        return Outcome(
            accepted=self._accepted,
            in_time=self._in_time,
            answers=dict(self._answers),
            broken=self._broken,
            began_at=began_at,
            ended_at=began_at + seconds,
            seconds=seconds,
            p50_ms=latencies[len(latencies) // 2] * 1000,
            p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * 1000,
            most_ms=latencies[-1] * 1000,
            cpu_ms_each=cpu / sent * 1000,
        )

    # --- who sends when

    async def _tick(self, began: float) -> None:
        """Clock of the open loop, and of whoever waits for the deliveries to catch up."""
        rate, due = self._plan.rate, began
        chance = random.Random(self._plan.seed) if self._plan.seed is not None else None
        pause = _TICK_SECONDS if rate is not None or self._dots is not None else _SLOW_TICK_SECONDS
        while True:
            now = time.perf_counter()
            if now >= self._latest:
                self._finish()
                return
            if rate is not None:
                while due <= now:
                    self._due.append(due)
                    due += chance.expovariate(rate) if chance is not None else 1 / rate
            if self._dots is not None:
                self._dots.look()
            while self._idle and self._may_send():
                self._send(self._idle.popleft())
            await asyncio.sleep(pause)

    def _may_send(self) -> bool:
        if self._stopped:
            return False
        if self._next >= self._end:
            self._finish()
            return False
        if self._plan.rate is not None and not self._due:
            return False
        behind = self._accepted + self._under_way - self._dots.count if self._dots is not None else 0
        return behind < self._plan.most_behind

    def _send(self, connection: _Connection) -> None:
        number = self._next
        self._next += 1
        self._under_way += 1
        began = self._due.popleft() if self._plan.rate is not None else time.perf_counter()
        connection.send(number, self._requests.make(number), began)

    def answered(self, connection: _Connection, status: bytes) -> None:
        self._under_way -= 1
        now = time.perf_counter()
        if status == b"202":
            self._accepted += self._requests.recipients_each
            if now < self._latest:
                self._in_time += self._requests.recipients_each
                self._latencies.append(now - connection.began)
        self._answers[status.decode()] += 1
        if self._marks:
            at = time.time()
            self._marks.write(f"{connection.number}\t{at - (now - connection.began):.6f}\t{at:.6f}\n")
        if self._may_send():
            self._send(connection)
        else:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        if connection.busy:
            self._broken += 1
            self._under_way -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._idle and not self._under_way:
            self._finish()

    def _finish(self) -> None:
        self._stopped = True
        self._done.set()


class _Dots:
    """How many lines the sink's log has beyond those before."""

    def __init__(self, path: str, before: int) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CREAT)
        self.count = -before

    def look(self) -> None:
        while piece := os.read(self._file, 1 << 20):
            self.count += piece.count(b"\n")


def run_plan(plan: Plan) -> Outcome:
    return uvloop.run(Load(plan).run())


def plan_argument(plan: Plan) -> str:
    return json.dumps(asdict(plan))


if __name__ == "__main__":
    print(json.dumps(asdict(run_plan(Plan(**json.loads(sys.argv[1]))))))
