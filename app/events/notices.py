"""What an account is told about its own webhook endpoints and SMTP credentials: events in its feed, and to its (other) endpoints.

They are written in the transaction that found it out, so that none is told twice or not at all.
"""

from __future__ import annotations

from typing import Any

from app.events.record import Event, EventType, record
from app.store.db import HotConnection
from app.store.ids import public_id
from app.store.incidents import Incident
from app.store.webhook_rounds import Health, OwnedEndpoint


async def tell_account(connection: HotConnection, endpoint: OwnedEndpoint, health: Health, error: str | None) -> None:
    """Record what a round made of an endpoint, if it is news."""
    facts: dict[str, Any] = {
        "webhook_id": public_id("whk", endpoint.id),
        "url": endpoint.url,
        "since": health.down_since,
        "last_error": error,
    }
    news = []
    if health.told_failing and health.disabled_for is None:
        news.append(_event(EventType.WEBHOOK_FAILING, endpoint, facts))
    if health.disabled_for is not None:
        news.append(_event(EventType.WEBHOOK_DISABLED, endpoint, facts | {"reason": health.disabled_for}))
    await record(connection, news)


async def tell_held(connection: HotConnection, incident: Incident, kind: str) -> None:
    """Record that the mail of an SMTP credential is held from now on: once for each incident, however much comes."""
    facts = {
        "incident_id": public_id("inc", incident.id),
        "user_name": incident.credential,
        "kind": kind,
        "reason": incident.reason,
        "network": incident.network,
    }
    await record(connection, [Event(EventType.CREDENTIAL_HELD, incident.account_id, incident.id, 0, facts)])


def _event(kind: EventType, endpoint: OwnedEndpoint, facts: dict[str, Any]) -> Event:
    return Event(kind, endpoint.account_id, endpoint.id, 0, facts)
