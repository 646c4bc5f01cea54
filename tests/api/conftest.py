"""The API as its clients see it: the real application on a real database, two tenants, requests over ASGI.

house    the opened application (one database per module) with the tenants `shop` and `rival`
shop     a client with a key of the first tenant that may do everything; its domain is shop.example.test
rival    the same of another tenant; its domain is rival.example.test
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app import store
from app.accounts.credentials import create_key
from app.accounts.domains import add_domain
from app.config import Settings
from app.embedded import EmbeddedServers
from app.keyring import Keyring
from app.main import build_app

_numbers = itertools.count(1)
MOST_REQUEST_BYTES = 2 * 1024 * 1024


@dataclass
class Tenant:
    account_id: int
    domain: str
    token: str
    client: httpx2.AsyncClient

    def message(self, **fields: Any) -> dict[str, Any]:
        """A message that is accepted as it is."""
        return {"from": f"Shop <orders@{self.domain}>", "to": "ada@example.com", "subject": "Your order", "text": "Thank you."} | fields

    async def send(self, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/messages", json=self.message(**fields))
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted


@dataclass
class OpenHouse:
    app: FastAPI
    settings: Settings
    database: store.db.Database
    keyring: Keyring
    shop: Tenant
    rival: Tenant


@pytest.fixture(scope="module")
async def house(servers: EmbeddedServers, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenHouse]:
    name = f"api_{next(_numbers)}"
    settings = Settings(
        database_url=servers.create_database(name, template),
        redis_url=servers.redis_url,
        keyring_path=tmp_path_factory.mktemp("keys") / "keyring.json",
        max_request_bytes=MOST_REQUEST_BYTES,
        max_message_bytes=1024 * 1024,
        max_recipients=50,
    )
    Keyring.create(Path(settings.keyring_path))
    app = build_app(settings)
    async with app.router.lifespan_context(app):
        inside = app.state.house
        tenants = [await _add_tenant(app, inside.database, inside.keyring, each) for each in ("shop", "rival")]
        yield OpenHouse(app, settings, inside.database, inside.keyring, *tenants)
        for tenant in tenants:
            await tenant.client.aclose()
    servers.drop_database(name)


async def _add_tenant(app: FastAPI, database: store.db.Database, keyring: Keyring, name: str) -> Tenant:
    async with database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, name)
        domain = await add_domain(connection, keyring, account_id, f"{name}.example.test", ("ed25519-sha256",))
        _, token = await create_key(connection, keyring, account_id, name="test", scopes=["*"])
    return Tenant(account_id, domain.name, token, client_of(app, token))


def client_of(app: FastAPI, token: str | None) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://relay.test", headers=headers)


@pytest.fixture
def shop(house: OpenHouse) -> Tenant:
    return house.shop


@pytest.fixture
def rival(house: OpenHouse) -> Tenant:
    return house.rival


@pytest.fixture
async def count_rows(house: OpenHouse) -> Any:
    """How many messages there are, of whomever: nothing that is refused may leave one."""

    async def count() -> int:
        async with house.database.hot() as connection:
            number: int = await connection.fetchval("SELECT count(*) FROM messages")
            return number

    return count
