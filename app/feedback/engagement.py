"""What a reader does with a mail: leaves its stream, comes back, chooses among streams.

Each is the reader's own word: the suppression and the event are one transaction, and doing it twice is doing it once (no second event).
Leaving one stream leaves the others alone. Coming back lifts what the reader said before, a complaint too; what a receiver or the account
said stays. Whoever holds the token acts for the recipient it was made for: there is no other proof, and none is asked (RFC 8058 §3.2).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app import store
from app.accounts.streams import MOST_STREAMS
from app.events.record import Event, EventType, record
from app.events.suppression import Reason
from app.jobs import Wakes
from app.mail.address import suppression_key
from app.mail.tokens import Token
from app.store.db import Database, HotConnection

RECIPIENT = "recipient"
_OWN_WORDS = (Reason.UNSUBSCRIBE.value, Reason.COMPLAINT.value)


class Way(StrEnum):
    """How a reader said it."""

    ONE_CLICK = "one_click"  # the mail program's button: List-Unsubscribe-Post
    PAGE = "page"  # the button of the page behind the link
    PREFERENCES = "preferences"  # the page with all streams
    MAIL = "mail"  # a mail to the address that the mail came from


@dataclass(frozen=True, slots=True)
class Reader:
    """Who holds a token: the recipient that it was made for. `sender`: the From of that mail, where it is known."""

    account_id: int
    recipient_id: UUID
    address: str
    sender: str | None = None


async def find_reader(database: Database, token: Token) -> Reader | None:
    """The recipient of a token; None when its history is no longer kept."""
    async with database.hot() as connection:
        address = await store.readers.find_address(connection, token.account_id, token.recipient_id)
        sender = await store.readers.find_sender(connection, token.account_id, token.recipient_id)
    return Reader(token.account_id, token.recipient_id, address, sender) if address is not None else None


async def find_left(database: Database, reader: Reader) -> frozenset[str]:
    """The streams that the reader has left by his own word."""
    async with database.hot() as connection:
        found = await store.suppressions.find_suppressions(connection, reader.account_id, suppression_key(reader.address))
    return frozenset(one.stream for one in found if one.reason in _OWN_WORDS)


async def choose(database: Database, wakes: Wakes, reader: Reader, *, leave: Collection[str], join: Collection[str], way: Way) -> None:
    """Leave and join streams; committed when it returns."""
    address = suppression_key(reader.address)
    events: list[tuple[EventType, str]] = []
    async with database.hot() as connection, connection.transaction():
        # Rows are met in one order by everybody: two pages sent at once wait for each other.
        await store.suppressions.find_suppressions(connection, reader.account_id, address, locked=True)
        if leave:
            left = await store.suppressions.add_own_words(
                connection, reader.account_id, address, reader.recipient_id, sorted(leave), Reason.UNSUBSCRIBE
            )
            events += [(EventType.UNSUBSCRIBED, stream) for stream in left]
        if join:
            lifted = await store.suppressions.lift_suppressions(
                connection,
                reader.account_id,
                address,
                streams=sorted(join),
                reasons=_OWN_WORDS,
                lifted_by=RECIPIENT,
                most=MOST_STREAMS,
            )
            events += [(EventType.RESUBSCRIBED, one.stream) for one in lifted]
        for kind, stream in events:
            await _record(connection, reader, kind, {"recipient": reader.address, "stream": stream, "way": way.value})
    if events:
        wakes.tell_events([reader.account_id])


async def _record(connection: HotConnection, reader: Reader, kind: EventType, facts: dict[str, str]) -> None:
    number = await store.readers.number_event(connection, reader.account_id, reader.recipient_id)
    if number is not None:
        await record(connection, [Event(kind, reader.account_id, reader.recipient_id, number, facts)])
