"""The pages for readers on the real application: the house and tenants of the API's tests, and mail that was accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest

from app.mail.tokens import MAC_PURPOSE, TokenKind, TokenWriter, encode_payload
from app.store.ids import parse_public_id
from tests.api.conftest import client_of, house, rival, shop

__all__ = ["house", "rival", "shop"]


@dataclass
class Mail:
    """A bulk mail to one reader, with what its links carry."""

    tenant: Any
    address: str
    recipient_id: UUID
    unsubscribe: str
    preferences: str

    async def fate(self, stream: str = "bulk") -> tuple[str, str | None]:
        """What is said of the next mail to this reader."""
        (recipient,) = (await self.tenant.send(to=self.address, stream=stream))["recipients"]
        return recipient["state"], recipient["reason"]

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What the reader did, in order."""
        found = await self.tenant.client.get(f"/v1/messages/msg_{self.recipient_id.hex[:28]}0000")
        return [(one["type"], one["facts"]) for one in found.json()["timeline"] if "subscribed" in one["type"]]


@pytest.fixture
async def reader(house: Any) -> Any:
    """A browser: no key."""
    async with client_of(house.app, None) as client:
        yield client


@pytest.fixture
def send(house: Any) -> Any:
    async def send(tenant: Any, address: str, stream: str = "bulk") -> Mail:
        (recipient,) = (await tenant.send(to=address, stream=stream))["recipients"]
        recipient_id = parse_public_id("rcp", recipient["id"])
        assert recipient_id is not None
        keyring = house.keyring
        writer = TokenWriter(keyring.current_id, keyring.mac_key(MAC_PURPOSE), tenant.account_id, recipient_id)
        leave = writer.write(TokenKind.UNSUBSCRIBE, [encode_payload(stream.encode())])[0].decode()
        chooses = writer.write(TokenKind.PREFERENCES, [b""])[0].decode()
        return Mail(tenant, address, recipient_id, f"/u/{leave}", f"/p/{chooses}")

    return send


def text_of(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text
