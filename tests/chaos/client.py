"""The clients of a chaos run: they POST messages with a key of their own, and ask again until they have read an answer.

    python -m tests.chaos.client '{"port": 8025, "tenants": [["token", "sender"]], "attempted": "…", "acks": "…", "dots": "…"}'

Every address is used once. It is written down before its first request leaves, and again when the 202 has been read. A broken
connection, a timeout, 409 with Retry-After and 5xx are asked again with the same key and body; on SIGTERM no new message is begun.

They come in waves, as shops do: at the top of one a worker has a hundred recipients in hand, in between the machine can breathe. What
a fault has kept them from asking they ask afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop

_ANSWER_SECONDS = 15.0
_GIVE_UP_SECONDS = 60.0
_WAVE_SECONDS = 2.0
_GONE = "gone"
_TEXT = "Thank you for your order. It will be with you in two or three days.\n" * 8


@dataclass(frozen=True, slots=True)
class Plan:
    port: int
    tenants: list[list[str]]  # token, sender
    attempted: str
    acks: str
    dots: str
    clients: int = 8
    most_behind: int = 600
    messages_per_second: float | None = None  # on the average; as fast as it goes when None
    domains: int = 20
    prefix: str = "a"


class Clients:
    """Some clients in one loop, each with one message under way."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = itertools.count(1)
        self._attempted = os.open(plan.attempted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._acks = os.open(plan.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._dots = os.open(plan.dots, os.O_RDONLY | os.O_CREAT)
        self._began = 0.0
        self._delivered = 0
        self._acked = 0
        self._begun = 0
        self._stop = asyncio.Event()
        self.unanswered = 0
        self.retries = 0
        self.statuses: dict[int, int] = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=self._plan.clients)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._plan.port}", timeout=timeout, connector=connector) as session:
            self._began = time.monotonic()
            watching = asyncio.create_task(self._watch_sink())
            print("ready", flush=True)
            await asyncio.gather(*(self._post_for_ever(session) for _ in range(self._plan.clients)))
            watching.cancel()

    async def _watch_sink(self) -> None:
        while True:
            while piece := os.read(self._dots, 1 << 20):
                self._delivered += piece.count(b"\taccepted\t")
            await asyncio.sleep(0.02)

    async def _post_for_ever(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            if self._acked - self._delivered >= self._plan.most_behind or self._begun >= self._wanted():
                await asyncio.sleep(0.02)
                continue
            number = self._begun = next(self._numbers)
            addresses = self._addresses(number)
            os.write(self._attempted, ("\t".join(addresses) + "\n").encode())
            message = await self._post(session, number, addresses)
            if message is None:
                self.unanswered += 1
            else:
                # Who is gone is never delivered to: counted, they would fill the distance that is kept, and hold a long run back.
                self._acked += sum(not address.startswith(_GONE) for address in addresses)
                os.write(self._acks, ("\t".join((f"{time.time():.6f}", message, *addresses)) + "\n").encode())

    def _wanted(self) -> float:
        """How many messages are to be asked for by now: those of all waves that have begun."""
        if self._plan.messages_per_second is None:
            return math.inf
        waves = (time.monotonic() - self._began) // _WAVE_SECONDS + 1
        return waves * _WAVE_SECONDS * self._plan.messages_per_second

    def _addresses(self, number: int) -> list[str]:
        """One to three recipients; one in a hundred is at an address that the sink refuses for good."""
        name = _GONE if random.random() < 0.01 else "order"
        count = random.choice((1, 1, 1, 2, 3))
        domains = random.sample(range(self._plan.domains), count)
        return [f"{name}-{self._plan.prefix}{number}-{n}@site{domain}.example" for n, domain in enumerate(domains)]

    async def _post(self, session: aiohttp.ClientSession, number: int, addresses: list[str]) -> str | None:
        """The message's id once a 202 has been read; None when that did not come in time."""
        token, sender = self._plan.tenants[number % len(self._plan.tenants)]
        key = f"{self._plan.prefix}-{number}"
        body: dict[str, Any] = {"from": sender, "to": addresses, "subject": f"Order {key}", "text": _TEXT, "metadata": {"id": key}}
        raw = json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key, "Content-Type": "application/json"}
        until = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < until:
            try:
                async with session.post("/v1/messages", data=raw, headers=headers) as answer:
                    self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
                    if answer.status == 202:
                        told: str = (await answer.json())["id"]
                        return told.removeprefix("msg_")
                    if answer.status < 500 and answer.status != 409:
                        raise RuntimeError(f"refused: {answer.status} {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            self.retries += 1
            await asyncio.sleep(random.uniform(0.05, 0.3))
        return None


async def _main() -> None:
    clients = Clients(Plan(**json.loads(sys.argv[1])))
    await clients.run()
    print(json.dumps({"unanswered": clients.unanswered, "retries": clients.retries, "statuses": clients.statuses}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
