"""The whole house for one story: API, worker, DNS, receiving servers and a webhook receiver, in one loop, over real sockets.

house    everything started; deliveries go by MX of the scripted zones to the scripted sink
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import store, worker
from app.accounts.credentials import ALL, Sender
from app.accounts.domains import add_domain
from app.accounts.first import ensure_first_account
from app.config import Settings
from app.intake.submit import Intake
from app.keyring import Keyring
from app.main import build_app
from tests.doubles.dns import DnsServer
from tests.doubles.hooks import HookReceiver
from tests.doubles.sink import Sink

DOMAIN = "shop.example.test"


@dataclass
class House:
    settings: Settings
    database: store.db.Database
    keyring: Keyring
    api: httpx2.AsyncClient
    account_id: int
    sink: Sink
    dns: DnsServer
    hooks: HookReceiver
    intake: Intake
    workers: list[tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=list)

    @property
    def sender(self) -> Sender:
        """The first account's, as a door finds it."""
        return Sender(self.account_id, "house", frozenset({ALL}))

    async def send(self, to: Any = "ada@x.test", **fields: Any) -> dict[str, Any]:
        """POST a message that is accepted; returns the 202's body."""
        body = {"from": f"Shop <orders@{DOMAIN}>", "to": to, "subject": "Your order", "text": "Thank you."} | fields
        answer = await self.api.post("/v1/messages", json=body)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def message(self, message_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/v1/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def states(self, message_id: str) -> list[str]:
        return [recipient["state"] for recipient in (await self.message(message_id))["recipients"]]

    async def until_states(self, message_id: str, *states: str, seconds: float = 10.0) -> dict[str, Any]:
        """The message, once its recipients have these states."""
        await until(lambda: self.states(message_id), lambda now: now == list(states), seconds)
        return await self.message(message_id)

    def start_worker(self, **overrides: Any) -> asyncio.Event:
        """Another worker; setting the event stops it cleanly."""
        stop = asyncio.Event()
        settings = self.settings.model_copy(update=overrides)
        self.workers.append((asyncio.create_task(worker.serve(settings, stop)), stop))
        return stop


async def until(look: Callable[[], Any], is_right: Callable[[Any], bool], seconds: float = 10.0) -> Any:
    """What `look` gives once it is right; the last look stands in the failure."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        seen = look()
        if asyncio.iscoroutine(seen):
            seen = await seen
        if is_right(seen):
            return seen
        assert asyncio.get_running_loop().time() < end, f"waited {seconds} s, last seen: {seen}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def house(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[House]:
    keyring_path = tmp_path / "keyring.json"
    keyring = Keyring.create(keyring_path)
    database = store.db.Database(database_url)
    first = await ensure_first_account(database, keyring, domain=DOMAIN)
    zones = {"x.test": {"MX": [[10, "mx.x.test"]]}, "mx.x.test": {"A": ["127.0.0.1"]}}
    async with contextlib.AsyncExitStack() as stack:
        sink = await stack.enter_async_context(Sink())
        dns = await stack.enter_async_context(DnsServer(zones))
        hooks = await stack.enter_async_context(HookReceiver())
        settings = Settings(
            database_url=database_url,
            redis_url=redis_url,
            keyring_path=keyring_path,
            dns_servers=(f"127.0.0.1:{dns.port}",),
            smtp_port=sink.port,
            allow_private_next_hops=True,
            webhook_allow_private=True,
            heartbeat_seconds=0.2,
            lease_seconds=3.0,
            poll_seconds=0.2,
            retry_first_seconds=0.3,
        )
        app = build_app(settings)
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx2.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {first.api_token}"}
        api = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://api.test", headers=headers))
        opened = House(settings, database, keyring, api, first.account_id, sink, dns, hooks, app.state.house.intake)
        opened.start_worker()
        yield opened
        for _, stop in opened.workers:
            stop.set()
        await asyncio.gather(*(task for task, _ in opened.workers))
    await database.close()


async def other_account(house: House, name: str, domain: str) -> int:
    async with house.database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, name)
        await add_domain(connection, house.keyring, account_id, domain)
    return account_id
