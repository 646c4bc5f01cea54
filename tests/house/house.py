"""A house: embedded PostgreSQL and Valkey, a migrated database with its first account, API, workers, and whom they talk to.

    async with House(directory) as house:
        sink = house.start_sink(delay_ms=25)
        house.start_api(); house.start_workers(2)

Call it from the main thread: the servers end with the thread that started them. Settings are given without their prefix, as
`{"lease_seconds": 3}`; what is given wins over what is set here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from app import store
from app.accounts.credentials import ALL, create_key
from app.accounts.domains import add_domain
from app.accounts.first import ensure_first_account
from app.config import Settings
from app.embedded import EmbeddedServers
from app.events.posts import SECRET_PURPOSE, new_secret
from app.keyring import Keyring
from app.store.db import Database
from app.store.migrate import upgrade
from tests.house.children import Child

_READY_SECONDS = 60.0
DOMAIN = "shop.example.test"


class House:
    """The servers and the children of one run, under `directory` (a temporary one when None)."""

    def __init__(self, directory: Path | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._own_directory = directory is None
        self.directory = directory or make_directory()
        self.servers = EmbeddedServers(self.directory)
        self.settings: dict[str, Any] = dict(settings or {})
        self.children: list[Child] = []
        self.api: Child | None = None
        self.smtp: Child | None = None
        self.submission_port = 0
        self.submission_tls_port = 0
        self.workers: list[Child] = []
        self.sink_port = 0
        self.endpoints: list[UUID] = []
        self.token = ""
        self.sender = ""
        self.account_id = 0
        self.database: Database

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.database.close()
        self.close()

    async def _open(self) -> None:
        self.servers.start()
        self.api_port = free_port()
        await asyncio.to_thread(upgrade, self.servers.database_url)
        self.database = Database(self.servers.database_url)
        keyring = Keyring.create(self.directory / "keyring.json")
        account = await ensure_first_account(self.database, keyring, domain=DOMAIN)
        self.account_id, self.token, self.sender = account.account_id, account.api_token or "", account.from_address

    def close(self) -> None:
        """End everything and remove a directory of our own."""
        for child in reversed(self.children):
            child.kill()
        self.servers.stop()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- settings

    @property
    def environment(self) -> dict[str, str]:
        """The settings as the children of this house see them."""
        values: dict[str, Any] = {
            "database_url": self.servers.database_url,
            "redis_url": self.servers.redis_url,
            "keyring_path": self.directory / "keyring.json",
            "api_port": self.api_port,
            "webhook_allow_private": True,
            "allow_private_next_hops": True,
            "log_level": "WARNING",
        }
        return {f"STAFFETTA_{name.upper()}": str(value) for name, value in (values | self.settings).items()}

    def read_settings(self) -> Settings:
        """The same as the house's own code sees them."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return Settings()
        finally:
            os.environ.clear()
            os.environ.update(before)

    # --- the house's own

    def start_api(self, module: Sequence[str] = ("app.cli", "serve")) -> Child:
        self.api = self._add(Child("api", module, log=self._log("api"), environment=self.environment))
        return self.api

    def start_smtp(self, **settings: Any) -> Child:
        """The SMTP server for applications, on `submission_port` with STARTTLS and `submission_tls_port`; with these settings too."""
        self.submission_port, self.submission_tls_port = free_port(), free_port()
        ports = {"submission_ports": self.submission_port, "submission_tls_ports": self.submission_tls_port, "return_ports": free_port()}
        self.settings |= ports | settings
        self.smtp = self._add(Child("smtp", ("app.cli", "smtp"), log=self._log("smtp"), environment=self.environment))
        return self.smtp

    def start_worker(self, module: Sequence[str] = ("app.cli", "worker")) -> Child:
        worker = self._add(Child("worker", module, log=self._log("worker"), environment=self.environment))
        self.workers.append(worker)
        return worker

    def start_workers(self, count: int, module: Sequence[str] = ("app.cli", "worker")) -> list[Child]:
        return [self.start_worker(module) for _ in range(count)]

    def stop_workers(self) -> None:
        """End all workers cleanly, side by side."""
        for worker in self.workers:
            worker.send(15)
        for worker in self.workers:
            worker.stop()
        self.workers.clear()

    async def wait_for_api(self) -> None:
        """Until a request is answered."""
        await self._wait(self._api_answers, "the API", self.api)

    async def wait_for_smtp(self) -> None:
        """Until it takes connections."""
        await self._wait(self._smtp_answers, "the SMTP server", self.smtp)

    async def wait_for_workers(self) -> None:
        """Until every worker has its first heartbeat written."""
        for worker in self.workers:
            await self._wait(lambda worker=worker: self._has_lease(worker), "a worker", worker)  # type: ignore[misc]

    async def worker_id(self, worker: Child) -> int | None:
        """The id under which a worker's process holds its lease now."""
        async with self.database.hot() as connection:
            found: int | None = await connection.fetchval("SELECT max(id) FROM workers WHERE name LIKE $1", f"%:{worker.pid}")
        return found

    async def _has_lease(self, worker: Child) -> bool:
        return await self.worker_id(worker) is not None

    async def _api_answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.api_port)
        except OSError:
            return False
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.read(12)).startswith(b"HTTP/1.1")
        except OSError:
            return False
        finally:
            writer.close()

    async def _smtp_answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.submission_port)
        except OSError:
            return False
        try:
            return (await reader.read(4)).startswith(b"220")
        except OSError:
            return False
        finally:
            writer.close()

    async def _wait(self, ready: Any, what: str, child: Child | None) -> None:
        until = time.monotonic() + _READY_SECONDS
        while not await ready():
            if child is not None and not child.runs:
                raise RuntimeError(f"{what} ended: {child.last_words()}")
            if time.monotonic() > until:
                raise RuntimeError(f"{what} is not ready after {_READY_SECONDS:.0f} s")
            await asyncio.sleep(0.02)

    # --- the world outside

    @property
    def dots(self) -> Path:
        """The sink's log."""
        return self.directory / "dots.tsv"

    def start_sink(
        self,
        *,
        delay_ms: float = 0.0,
        script: Mapping[str, Any] | None = None,
        smarthost: bool = True,
        log: Path | None = None,
        keep: Path | None = None,
        keep_each: int = 1,
        host: str = "127.0.0.1",
    ) -> Child:
        """The SMTP sink; the house is told to send everything there, by smarthost or by the port of every MX.

        With `keep` it keeps one mail in `keep_each`.
        """
        arguments = ["tests.doubles.sink", "--host", host, "--port", str(self.sink_port), "--log", str(log or self.dots)]
        arguments += ["--delay-ms", str(delay_ms)]
        if keep is not None:
            arguments += ["--keep", str(keep), "--keep-each", str(keep_each)]
        if script is not None:
            path = self.directory / "faults.json"
            path.write_text(json.dumps(script))
            arguments += ["--script", str(path)]
        sink = self._add(Child("sink", arguments, log=self._log("sink"), speaks=True))
        self.sink_port = json.loads(sink.first_line())["port"]
        self.settings |= {"smarthost": f"127.0.0.1:{self.sink_port}"} if smarthost else {"smtp_port": self.sink_port}
        return sink

    def stop_sink(self, sink: Child) -> dict[str, Any]:
        """End the sink; what it counted."""
        sink.send(15)
        counted: dict[str, Any] = json.loads(sink.rest(10).splitlines()[-1])
        return counted

    def start_zones(self, zones: Mapping[str, Any] | None = None) -> Child:
        """A name server; without zones it gives every domain under .example an MX of its own at 127.0.0.1."""
        path = self.directory / "zones.json"
        path.write_text(json.dumps(zones or {"*.example": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"], "ttl": 3600}}))
        zones = self.start_double("zones", ["tests.doubles.dns", "--port", "0", "--zones", str(path)])
        self.settings["dns_servers"] = f"127.0.0.1:{json.loads(zones.first_line())['port']}"
        return zones

    async def add_account(self, name: str, domain: str) -> tuple[int, str, str]:
        """(account id, API key, a sender's address) of another account."""
        keyring = Keyring.load(self.directory / "keyring.json")
        async with self.database.transaction() as connection:
            account_id = await store.accounts.insert_account(connection, name)
            await add_domain(connection, keyring, account_id, domain)
            _, token = await create_key(connection, keyring, account_id, name="house", scopes=[ALL])
        return account_id, token, f"hello@{domain}"

    async def add_endpoint(
        self, url: str, *, account_id: int | None = None, batch_size: int = 1, types: Sequence[str] | None = None
    ) -> UUID:
        """A webhook endpoint of an account (of the first one), subscribed to everything from now on."""
        owner = self.account_id if account_id is None else account_id
        keyring = Keyring.load(self.directory / "keyring.json")
        secret = keyring.seal(new_secret(), account_id=owner, purpose=SECRET_PURPOSE)
        async with self.database.transaction() as connection:
            endpoint = await store.webhooks.insert_endpoint(
                connection, endpoint_id=store.ids.new_id(), account_id=owner, url=url, secret=secret, event_types=types,
                batch_size=batch_size,
            )  # fmt: skip
        assert endpoint is not None
        self.endpoints.append(endpoint.id)
        return endpoint.id

    def start_double(self, name: str, arguments: Sequence[str]) -> Child:
        """Another double that says one line when it is ready."""
        return self._add(Child(name, arguments, log=self._log(name), speaks=True))

    # --- parts

    def _add(self, child: Child) -> Child:
        self.children.append(child)
        return child

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def parts(self, **others: Iterable[int]) -> dict[str, Iterable[int]]:
        """The trees whose CPU is counted, by name."""
        own: dict[str, Iterable[int]] = {
            "api": [self.api.pid] if self.api is not None else [],
            "smtp": [self.smtp.pid] if self.smtp is not None else [],
            "workers": [worker.pid for worker in self.workers],
            "postgres": [self.servers.pids["postgres"]],
            "valkey": [self.servers.pids["valkey"]],
        }
        return own | others


OURS = ("api", "smtp", "workers", "postgres", "valkey")


def make_directory() -> Path:
    """A temporary directory that the servers' unprivileged user may pass."""
    directory = Path(tempfile.mkdtemp(prefix="staffetta-house-"))
    directory.chmod(0o711)
    return directory


def free_port() -> int:
    """A port that stays free while its server is away: below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port
