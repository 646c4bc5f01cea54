"""record(): the only way anything becomes history.

An event is an immutable fact about one recipient (`accepted`: about the message; inbound.*: about a mail that came in; webhook.*: about
an endpoint; credential.*: about an incident). It is written in the transaction that made it true, and its consequences with it: an
address that a receiver called dead is suppressed in the same breath. The two statements that every message passes, accept and settle,
carry their events themselves, in the words and under the names of this file. Who is told (feed, webhooks) reads the log later; nothing
is sent from here. Only an erasure changes what was written (store.erasure).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from app import store
from app.store.db import HotConnection
from app.store.states import RecipientState


class EventType(StrEnum):
    ACCEPTED = "message.accepted"  # committed; from here on every recipient reaches one final state
    DELIVERED = "message.delivered"  # the next hop said 250; this does not mean "in the inbox"
    DEFERRED = "message.deferred"  # not now; the next attempt has its time
    BOUNCED = "message.bounced"  # refused for good: in the dialogue, or reported after it was delivered (facts: late)
    COMPLAINED = "message.complained"  # its reader called it spam; no more of its stream to the address
    EXPIRED = "message.expired"  # given up by age
    SUPPRESSED = "message.suppressed"  # not tried, or not again: the address is on the suppression list
    CANCELLED = "message.cancelled"  # withdrawn by its account before it was tried
    FAILED = "message.failed"  # could not be rendered or built
    HELD = "message.held"  # waits for somebody's word; the reason is in the facts
    OPENED = "message.opened"  # its pixel was loaded; the facts say whether by a person, as far as one can tell
    CLICKED = "message.clicked"  # a link of it was followed; likewise
    RECLASSED = "message.reclassed"  # what was said of an open or a click is corrected; the facts say of which, and what holds now
    UNSUBSCRIBED = "message.unsubscribed"  # its reader left a stream (facts: which, and how): no more of it to the address
    RESUBSCRIBED = "message.resubscribed"  # its reader came back to a stream
    REPLIED = "message.replied"  # a person answered it, by mail to an inbound route
    INBOUND_RECEIVED = "inbound.received"  # a mail came in by an inbound route
    CREDENTIAL_HELD = "credential.held"  # an SMTP credential did what it never does: its mail is held until somebody decides
    WEBHOOK_FAILING = "webhook.failing"  # a webhook endpoint has been down for a day; it will be disabled
    WEBHOOK_DISABLED = "webhook.disabled"  # nothing is posted to it until its account enables it again
    WEBHOOK_TEST = "webhook.test"  # asked for by the account; posted, and in no feed


# What a verdict of delivery is called in history.
EVENT_OF = {
    RecipientState.DELIVERED: EventType.DELIVERED,
    RecipientState.DEFERRED: EventType.DEFERRED,
    RecipientState.BOUNCED: EventType.BOUNCED,
    RecipientState.EXPIRED: EventType.EXPIRED,
    RecipientState.FAILED: EventType.FAILED,
    RecipientState.SUPPRESSED: EventType.SUPPRESSED,
}


@dataclass(slots=True)
class Event:
    """`about` is the recipient's id, of `accepted` the message's, of inbound.* the mail's that came in, of webhook.* the endpoint's, of
    credential.* the incident's.

    `number` counts the recipient's events from 1, and is 0 for what is not about a recipient.
    """

    type: EventType
    account_id: int
    about: UUID
    number: int
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An address (mail.address.suppression_key) that an event about a recipient suppresses, in all streams."""

    account_id: int
    address: str
    reason: str
    about: UUID


def as_facts(facts: dict[str, Any]) -> str:
    """Facts as they are stored; a time in them (UTC) as everywhere outside: RFC 3339 with a Z."""
    return orjson.dumps(facts, option=orjson.OPT_UTC_Z).decode()


def accepted_facts(from_address: str, subject: str, recipients: int) -> str:
    """What `accepted` says. The accepting statement writes it (and `suppressed` of who ends at the door) itself."""
    return as_facts({"from": from_address, "subject": subject, "recipients": recipients})


async def record(connection: HotConnection, events: Sequence[Event]) -> None:
    """Write events, within the transaction that the caller has open on `connection`."""
    if not events:
        return
    new_id = store.ids.new_id
    await store.events.insert_events(
        connection,
        [store.events.EventRow(e.account_id, new_id(), e.about, e.type.value, e.number, as_facts(e.facts)) for e in events],
    )


async def suppress(connection: HotConnection, addresses: Sequence[Suppressed]) -> None:
    """The consequence of events, in their transaction: what events.suppression said is not sent to any more."""
    if addresses:
        rows = [store.suppressions.NewSuppression(a.account_id, "*", a.address, a.reason, a.about) for a in addresses]
        await store.suppressions.add_suppressions(connection, rows)
