"""A house under attack: it is loaded, what dies in it is started again, and what happened is gathered for the checker.

    async with Harness(options) as harness:
        await harness.load()
        …  (faults)
        evidence = await harness.gather()

Faults append to `harness.faults`; what takes time to be known of one (how long until its rows were in other hands) is watched beside.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app import store
from app.store.db import CONNECTION_ERRORS
from tests.chaos.evidence import Evidence, Fault, read_acks, read_attempted, read_database, read_dots, read_posts, write_faults
from tests.chaos.options import Options
from tests.house.children import Child
from tests.house.house import House

_LOOK_SECONDS = 0.2
_CLIENT_SECONDS = 90.0
_WEBHOOK_SECONDS = 90.0
_SINK_FAULTS = {
    "rules": [
        {"fault": "rcpt_550", "recipient": "^gone"},
        {"fault": "defer", "share": 0.02},
        {"fault": "rcpt_451", "share": 0.01},
        {"fault": "mail_421", "after_transactions": 15, "share": 0.2},
    ]
}


class Harness:
    """One run. `worker_sabotage` and `api_module` make it a spoilt house."""

    def __init__(
        self,
        options: Options,
        *,
        worker_sabotage: str | None = None,
        api_module: tuple[str, ...] = ("app.cli", "serve"),
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.options = options
        self.say = say
        self.house = House(
            settings={
                "lease_seconds": options.lease_seconds,
                "heartbeat_seconds": options.heartbeat_seconds,
                "connections_per_site": 8,
                "deliveries_per_connection": 20,
                "connection_idle_seconds": 3,
                "retry_first_seconds": 2,
            }
        )
        directory = self.house.directory
        self.deaths = directory / "deaths.jsonl"
        self.attempted, self.acks, self.posts = directory / "attempted.tsv", directory / "acks.tsv", directory / "posts.log"
        self._worker_words = (worker_sabotage,) if worker_sabotage else ()
        self._workers_started = 0
        self._api_module = api_module
        self.faults: list[Fault] = []
        self.taken: set[int] = set()  # ids of workers that a fault has taken
        self.given_up: dict[int, float] = {}
        self.keep_down: set[str] = set()  # servers that are not to be started again now
        self.leaving: set[int] = set()  # process ids that are not to be replaced
        self.client_said: dict[str, Any] = {}
        self._watches: list[asyncio.Task[Fault]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._known_workers: set[int] = set()
        self._client: Child | None = None
        self._asking = asyncio.Lock()
        self._connection: store.db.HotConnection | None = None
        self._tenants: list[list[str]] = []

    async def __aenter__(self) -> Self:
        await self.house.__aenter__()
        try:
            await self._open()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._end_loops()
        await self.house.__aexit__(kind, error, trace)

    async def _open(self) -> None:
        house, options = self.house, self.options
        self.sink = house.start_sink(delay_ms=options.sink_delay_ms, script=_SINK_FAULTS, smarthost=False)
        house.start_zones()
        receiver = house.start_double("receiver", ["tests.doubles.hooks", "--log", str(self.posts)])
        url = receiver.first_line()
        for number in range(options.tenants):
            account_id, token, sender = await house.add_account(f"tenant{number}", f"tenant{number}.test")
            await house.add_endpoint(url, account_id=account_id)
            self._tenants.append([token, sender])
        house.start_api(self._api_module)
        for _ in range(options.workers):
            self._start_worker()
        await house.wait_for_api()
        await house.wait_for_workers()
        self._loops = [asyncio.create_task(self._supervise()), asyncio.create_task(self._watch_workers())]

    async def load(self, *, clients: int = 8, prefix: str = "a", messages_per_second: float | None = None) -> None:
        """Start the clients; they ask as fast as it goes unless told otherwise."""
        plan = {
            "port": self.house.api_port,
            "tenants": self._tenants,
            "attempted": str(self.attempted),
            "acks": str(self.acks),
            "dots": str(self.house.dots),
            "clients": clients,
            "most_behind": self.options.most_behind,
            "messages_per_second": messages_per_second,
            "prefix": prefix,
        }
        self._client = self.house.start_double("client", ["tests.chaos.client", json.dumps(plan)])
        await asyncio.to_thread(self._client.first_line)

    # --- keeping it alive

    async def _supervise(self) -> None:
        """Start again what died, as a supervisor of the operating system would."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self.keep_down:
                self.house.servers.tend()
            if self.house.api is not None and not self.house.api.runs:
                self.house.start_api(self._api_module)
            for worker in list(self.house.workers):
                if not worker.runs and worker.pid not in self.leaving:
                    self.house.workers.remove(worker)
                    self._start_worker()

    def _start_worker(self) -> None:
        """Every other one is as if on a machine of its own: deaths are known by the kernel's word, and by the lease alone."""
        self._workers_started += 1
        stranger = () if self._workers_started % 2 else ("--stranger",)
        self.house.start_worker(("tests.chaos.mortal_worker", str(self.deaths), *stranger, *self._worker_words))

    async def _watch_workers(self) -> None:
        """Note when a worker is seen to have left or been given up; it was so some moments before."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            rows = await self.ask("SELECT id FROM workers", patience=0.0)
            if rows is None:
                continue
            now, live = time.time(), {row[0] for row in rows}
            for gone in self._known_workers - live:
                self.given_up.setdefault(gone, now)
            self._known_workers |= live

    async def ask(self, query: str, *arguments: Any, patience: float = 30.0) -> list[Any] | None:
        """Rows of a query over the harness's own connection; None when the database stays away for longer than `patience`."""
        until = time.monotonic() + patience
        while True:
            try:
                async with self._asking:
                    return await self._fetch(query, arguments)
            except (*CONNECTION_ERRORS, TimeoutError):
                if time.monotonic() >= until:
                    return None
                await asyncio.sleep(0.1)

    async def _fetch(self, query: str, arguments: Sequence[Any]) -> list[Any]:
        connection = self._connection or await self.house.database.open_hot()
        self._connection = None  # of a query that is broken off nothing more can be expected
        try:
            rows: list[Any] = await connection.fetch(query, *arguments)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return rows

    # --- faults

    def note(self, fault: Fault) -> None:
        self.faults.append(fault)
        self.say(f"{fault.kind}: {fault.claimed} claimed, {len(fault.owned)} taken with it")

    def note_later(self, watch: Coroutine[Any, Any, Fault]) -> None:
        self._watches.append(asyncio.create_task(watch))

    # --- the end

    async def gather(self) -> Evidence:
        """Stop the clients, let the house come to rest, and collect what is left."""
        await self.stop_clients()
        self.say("the clients have stopped")
        await self._wait_until_empty()
        self.say("the queue is empty" if not await self.ask("SELECT FROM queue LIMIT 1") else "the queue is not empty")
        await self._wait_for_webhooks()
        self.say("webhooks have been told")
        self.faults += await asyncio.gather(*self._watches)
        await self._end_loops()
        # What is left in a queue that did not become empty stays as it is while one list is read after the other.
        await asyncio.to_thread(self.house.stop_workers)
        evidence = Evidence(
            attempted=read_attempted(self.attempted),
            acks=read_acks(self.acks),
            dots=read_dots(self.house.dots),
            faults=sorted(self.faults, key=lambda fault: fault.at),
            given_up=dict(self.given_up),
            posts=read_posts(self.posts),
        )
        await read_database(self.house.database, evidence)
        write_faults(self.house.directory / "faults.jsonl", evidence.faults)
        return evidence

    async def stop_clients(self) -> None:
        if self._client is not None:
            self._client.send(15)
            self.client_said = json.loads((await asyncio.to_thread(self._client.rest, _CLIENT_SECONDS)).splitlines()[-1])
            self._client = None

    async def _wait_until_empty(self) -> None:
        until = time.monotonic() + self.options.drain_seconds
        while time.monotonic() < until:
            rows = await self.ask("SELECT count(*) FROM queue WHERE due_at < 'infinity'")
            if rows is not None and rows[0][0] == 0:
                return
            await asyncio.sleep(0.3)

    async def _wait_for_webhooks(self) -> None:
        until = time.monotonic() + _WEBHOOK_SECONDS
        while time.monotonic() < until:
            async with self.house.database.reading() as connection:
                lags = [await store.webhooks.read_lag(connection, endpoint) for endpoint in self.house.endpoints]
            if not any(lag.events or lag.retries for lag in lags):
                break
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.3)  # the receiver writes its log ten times a second

    async def _end_loops(self) -> None:
        for task in (*self._loops, *self._watches):
            task.cancel()
        await asyncio.gather(*self._loops, *self._watches, return_exceptions=True)
        self._loops = []
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def last_death(self, pid: int) -> dict[str, Any] | None:
        """What a mortal worker wrote before it died, or None."""
        lines = self.deaths.read_text().splitlines() if self.deaths.exists() else []
        return next((line for line in map(json.loads, reversed(lines)) if line["pid"] == pid), None)

    def keep_logs(self, place: Path | None) -> None:
        """Copy what the run wrote down, without the database."""
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            for path in self.house.directory.iterdir():
                if path.suffix in {".log", ".tsv", ".jsonl"}:
                    shutil.copy2(path, place / path.name)

    def logs(self) -> str:
        """The last words of everything, for a run that went wrong."""
        paths: list[Path] = sorted(self.house.directory.glob("*.log"))
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in paths if path != self.posts)
