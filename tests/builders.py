"""Values for tests: sensible defaults, overridden by name. No factory library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app import store
from app.store.db import Database
from app.store.queue import Ask, Claimed, Share
from app.store.settlement import AttemptRow, Settlement
from app.store.states import RecipientState
from app.store.submissions import NewMessage, NewRecipient, WrittenRecipient

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def a_message(*addresses: str, **overrides: Any) -> NewMessage:
    """A submission ready to be written, to one@x.test unless told otherwise."""
    message_id = overrides.pop("id", None) or store.ids.new_message_id()
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "account_id": 1,
        "id": message_id,
        "stream": "transactional",
        "lane_class": 0,
        "domain_id": 1,
        "from_address": "shop@sender.test",
        "subject": "Your order",
        "rfc_message_id": f"<{message_id.hex}@sender.test>",
        "tags": "[]",
        "metadata": "{}",
        "send_at": None,
        "expires_at": now + timedelta(days=1),
        "purge_on": (now + timedelta(days=5)).date(),
        "head": b"Subject: Your order\r\n",
        "body": b"Thank you.\r\n",
        "recipients": [
            NewRecipient(store.ids.recipient_id(message_id, n), address, address.lower(), "to")
            for n, address in enumerate(addresses or ("one@x.test",), 1)
        ],
        "idempotency_key": None,
        "body_hash": None,
    }
    return NewMessage(**(values | overrides))


async def write(database: Database, *messages: NewMessage) -> list[WrittenRecipient]:
    async with database.hot() as connection:
        return await store.submissions.write_submissions(connection, messages)


async def a_worker(database: Database, lease_seconds: float = 60.0) -> int:
    async with database.hot() as connection:
        return await store.workers.register_worker(connection, "test", lease_seconds)


async def claim_all(database: Database, owner: int, *, site_id: int = 0, account_id: int = 1, take: int = 100) -> list[Claimed]:
    async with database.hot() as connection:
        return await store.queue.claim(connection, owner, [Ask(Share(site_id, 0, account_id), EPOCH, take)])


def an_attempt(**overrides: Any) -> AttemptRow:
    values: dict[str, Any] = {
        "id": store.ids.new_id(),
        "phase": "dot",
        "code": 250,
        "enhanced": "2.0.0",
        "reply": "queued",
        "mx": "mx.x.test",
        "ip": "192.0.2.1",
        "source": None,
        "tls": None,
        "connect_ms": 1,
        "total_ms": 2,
    }
    return AttemptRow(**(values | overrides))


def a_settlement(owner: int, claimed: Claimed, state: RecipientState = RecipientState.DELIVERED, **overrides: Any) -> Settlement:
    values: dict[str, Any] = {
        "owner": owner,
        "account_id": claimed.account_id,
        "recipient_id": claimed.recipient_id,
        "state": state,
        "due_at": None,
        "reason": None,
        "reply": "250 queued",
        "site_id": None,
        "attempt": an_attempt(),
        "event": f"message.{state}",
        "facts": "{}",
    }
    return Settlement(**(values | overrides))
