"""What webhook tests stand on: accounts with endpoints and events, and a poster that runs beside the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from standardwebhooks import Webhook

from app import store
from app.config import Settings
from app.events.patience import Patience
from app.events.posts import SECRET_PURPOSE, new_secret, show_secret
from app.events.webhooks import WebhookPoster
from app.keyring import Keyring
from app.store.db import Database
from app.store.events import EventRow

# Seconds become milliseconds: the rules are the same.
QUICK = Patience(
    schedule_seconds=(0.1, 0.15, 0.2, 0.25),
    jitter=0.0,
    down_after=5,
    probe_first_seconds=0.1,
    probe_most_seconds=0.3,
    straggler_seconds=0.2,
)


@dataclass
class Told:
    """An account with an endpoint."""

    account_id: int
    endpoint_id: UUID
    secret: bytes
    event_ids: list[str] = field(default_factory=list)

    @property
    def verifier(self) -> Webhook:
        return Webhook(show_secret(self.secret))


class House:
    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.keyring = Keyring.create(directory / "keyring.json")
        self.settings = Settings(webhook_allow_private=True, webhook_timeout_seconds=1.0, poll_seconds=0.05, lease_seconds=2.0)

    async def add_account(self, name: str) -> int:
        async with self.database.hot() as connection:
            account_id: int = await connection.fetchval("INSERT INTO accounts (name) VALUES ($1) RETURNING id", name)
        return account_id

    async def subscribe(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        batch_size: int = 1,
        name: str = "shop",
        beside: Told | None = None,
    ) -> Told:
        """An endpoint of a new account, or of the one of another endpoint."""
        account_id = beside.account_id if beside is not None else await self.add_account(name)
        secret, endpoint_id = new_secret(), store.ids.new_id()
        async with self.database.transaction() as connection:
            made = await store.webhooks.insert_endpoint(
                connection,
                endpoint_id=endpoint_id,
                account_id=account_id,
                url=url,
                secret=self.keyring.seal(secret, account_id=account_id, purpose=SECRET_PURPOSE),
                event_types=events,
                streams=streams,
                tags=tags,
                batch_size=batch_size,
            )
        assert made is not None
        return Told(account_id, endpoint_id, secret)

    async def happen(
        self,
        told: Told,
        count: int,
        *,
        type_: str = "message.delivered",
        at: datetime | None = None,
        stream: str = "transactional",
        tag: str = "order",
        state: str = "delivered",
    ) -> list[str]:
        """Events of as many recipients of one message; returns their public ids."""
        moment = (at or datetime.now(UTC)).timestamp()
        message_id = store.ids.new_message_id(moment)
        recipients = [store.ids.recipient_id(message_id, n) for n in range(1, count + 1)]
        rows = [
            EventRow(told.account_id, store.ids.new_id(moment), about, type_, 1, '{"mx": "mx.example.net", "code": 250}')
            for about in recipients
        ]
        async with self.database.hot() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO messages (account_id, id, stream, domain_id, from_address, subject, rfc_message_id, tags, metadata,"
                " expires_at, purge_on, size_bytes)"
                " VALUES ($1, $2, $5, 1, 'shop@example.net', 'Hi', '<x@y>', $3::json, $4::json, now(), now()::date, 1)",
                told.account_id,
                message_id,
                orjson.dumps([tag]).decode(),
                '{"order": "4711"}',
                stream,
            )
            await connection.executemany(
                "INSERT INTO recipients (account_id, id, address, kind, state) VALUES ($1, $2, $3, 'to', $4)",
                [(told.account_id, about, f"r{n}@example.net", state) for n, about in enumerate(recipients, 1)],
            )
            await store.events.insert_events(connection, rows)
        ids = [store.ids.public_id("evt", row.id) for row in rows]
        told.event_ids += ids
        return ids

    async def add_worker(self, name: str = "worker") -> int:
        async with self.database.hot() as connection:
            return await store.workers.register_worker(connection, name, 60.0)

    @asynccontextmanager
    async def posting(self, patience: Patience = QUICK) -> AsyncIterator[Running]:
        worker_id = await self.add_worker()
        poster = WebhookPoster(self.database, self.keyring, self.settings, worker_id, patience=patience)
        running = Running(poster)
        running.task = asyncio.create_task(poster.run(running.stop, running.wake))
        try:
            yield running
        finally:
            running.stop.set()
            await asyncio.wait_for(running.task, 20)
            async with self.database.hot() as connection:
                await store.workers.delete_worker(connection, worker_id)

    async def endpoint(self, told: Told) -> Any:
        return await self.row("SELECT * FROM webhook_endpoints WHERE id = $1", told.endpoint_id)

    async def waiting(self, told: Told) -> list[Any]:
        async with self.database.hot() as connection:
            return list(await connection.fetch("SELECT * FROM webhook_retries WHERE endpoint_id = $1", told.endpoint_id))

    async def attempts(self, told: Told) -> list[Any]:
        """What was recorded of its posts, oldest first."""
        async with self.database.hot() as connection:
            query = "SELECT * FROM webhook_attempts WHERE account_id = $1 AND endpoint_id = $2 ORDER BY id"
            return list(await connection.fetch(query, told.account_id, told.endpoint_id))

    async def replay(self, told: Told, **fields: Any) -> UUID:
        """Order one; of all that happened, unless `fields` say otherwise."""
        values: dict[str, Any] = {
            "event_ids": None,
            "from_at": datetime(2020, 1, 1, tzinfo=UTC),
            "to_at": datetime.now(UTC) + timedelta(seconds=1),
            "event_types": None,
            "states": None,
            "most_events": 100_000,
        }
        async with self.database.transaction() as connection:
            made = await store.webhook_replays.insert_replay(
                connection, replay_id=store.ids.new_id(), account_id=told.account_id, endpoint_id=told.endpoint_id, **values | fields
            )
        assert made is not None
        return made.id

    async def replayed(self, replay_id: UUID) -> Any:
        return await self.row("SELECT * FROM webhook_replays WHERE id = $1", replay_id)

    async def unread(self, told: Told) -> int:
        async with self.database.reading() as connection:
            return (await store.webhooks.read_lag(connection, told.endpoint_id)).events

    async def row(self, query: str, *arguments: object) -> Any:
        async with self.database.hot() as connection:
            return await connection.fetchrow(query, *arguments)


class Running:
    def __init__(self, poster: WebhookPoster) -> None:
        self.poster = poster
        self.stop, self.wake = asyncio.Event(), asyncio.Event()
        self.task: asyncio.Task[None]

    async def kill(self) -> None:
        """As if the process were gone: nothing is settled."""
        self.stop.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.task = asyncio.create_task(asyncio.sleep(0))


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until it holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def parse(body: bytes) -> Any:
    return orjson.loads(body)
