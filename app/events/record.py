"""record(): the only way anything becomes history; the first event of a message is written by the statement that accepts it.

An event is an immutable fact about one recipient (`accepted`: about the message). It is written in the transaction that made
it true, and its consequences with it: an address that a receiver called dead is suppressed in the same breath. Who is told
(feed, webhooks) reads the log later; nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from app import store
from app.events.suppression import suppression_reason
from app.store.db import HotConnection


class EventType(StrEnum):
    ACCEPTED = "message.accepted"  # committed; from here on every recipient reaches one final state
    DELIVERED = "message.delivered"  # the next hop said 250; this does not mean "in the inbox"
    DEFERRED = "message.deferred"  # not now; the next attempt has its time
    BOUNCED = "message.bounced"  # refused for good in the dialogue
    EXPIRED = "message.expired"  # given up by age
    SUPPRESSED = "message.suppressed"  # not tried: the address is on the suppression list
    CANCELLED = "message.cancelled"  # withdrawn by its account before it was tried
    FAILED = "message.failed"  # could not be rendered or built
    HELD = "message.held"  # waits for somebody's word; the reason is in the facts


@dataclass(slots=True)
class Event:
    """`about` is the recipient's id, of `accepted` the message's; `number` counts the recipient's events from 1."""

    type: EventType
    account_id: int
    about: UUID
    number: int
    facts: dict[str, Any]
    # Only for events that may suppress: the address and the class of the reply.
    address: str | None = None
    reply_class: str | None = None


def accepted_facts(from_address: str, subject: str, recipients: int) -> str:
    """What `accepted` says, as JSON text. The accepting statement writes it (and `suppressed` of who ends at the door) itself."""
    return orjson.dumps({"from": from_address, "subject": subject, "recipients": recipients}).decode()


async def record(connection: HotConnection, events: Sequence[Event]) -> None:
    """Write events and their consequences, within the transaction that the caller has open on `connection`."""
    if not events:
        return
    new_id = store.ids.new_id
    await store.events.insert_events(
        connection,
        [store.events.EventRow(e.account_id, new_id(), e.about, e.type.value, e.number, orjson.dumps(e.facts).decode()) for e in events],
    )
    suppressed = [
        store.suppressions.NewSuppression(e.account_id, "*", e.address, reason, e.about)
        for e in events
        if e.address is not None and (reason := suppression_reason(e.type.value, e.reply_class)) is not None
    ]
    if suppressed:
        await store.suppressions.add_suppressions(connection, suppressed)
