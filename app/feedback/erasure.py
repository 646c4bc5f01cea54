"""A person asks to be forgotten (GDPR, article 17): the house forgets what it knows of one address in one account.

1. What waits for the address is cancelled, with its event. What a worker has in hand is waited for: its outcome would write the address
   anew.
2. In history the address, and whatever else tells of whom it is, is taken out of the rows; rows and sums stay (store.erasure).
3. Content is deleted, unless others of the same message still wait for it: what they get must not change. It goes with its day.
4. Mail that came in from the address loses author, subject and content. What others wrote about the person is theirs.
5. Suppressions stay, with the address in the clear: they are kept for the person's sake, to obey who does not want mail, and can only be
   obeyed by whoever can read them. Why and since when stays, the mail that was the cause does not; nor who lifted what.

Each step is safe to run again; an erasure that was interrupted is finished by the next. Tokens in mail that was sent lead to a recipient
without address: links still redirect, nothing is told of it, and nobody is unsubscribed by them (store.readers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from app import store
from app.errors import FieldError, InvalidRequest
from app.events.record import Event, EventType, record
from app.mail.address import parse_mailbox, suppression_key
from app.store.erasure import ERASED

REASON = "erased"
READ_AT_ONCE = 20_000
WRITTEN_AT_ONCE = 100
_LOOKS = 20
_LOOK_AGAIN_SECONDS = 1.5

Progress = Callable[[int], None]


@dataclass(slots=True)
class Erased:
    """What was erased, in rows. Of those `in_hand` nothing was: workers had them, and the erasure must be run again."""

    recipients: int = 0
    cancelled: int = 0
    attempts: int = 0
    events: int = 0
    messages: int = 0  # their subject, metadata and tags
    contents: int = 0
    contents_kept: int = 0  # others of the message wait for it
    inbound: int = 0  # mails that came in from the address
    reactivations: int = 0
    webhook_answers: int = 0
    suppressions_kept: int = 0
    in_hand: int = 0


def read_key(email: str) -> str:
    """The suppression key of an address: all its spellings are one person. InvalidRequest when it is none."""
    try:
        return suppression_key(parse_mailbox(email))
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("#/email", "invalid_address", str(error))]) from error


async def erase(
    database: store.db.Database, account_id: int, email: str, *, progress: Progress = lambda _rows: None, looks: int = _LOOKS
) -> Erased:
    """Forget an address. `progress` is told how many recipients of the account were read.

    `looks`: how often it is looked again at what workers have in hand.
    """
    key = read_key(email)
    done = Erased()
    in_hand: list[UUID] = []
    end: UUID | None = UUID(int=0)
    read = 0
    while end is not None:
        async with database.hot() as connection:
            end, found = await store.erasure.find_recipients(connection, account_id, key, end, READ_AT_ONCE)
        for place in range(0, len(found), WRITTEN_AT_ONCE):
            in_hand += await _erase_some(database, account_id, key, found[place : place + WRITTEN_AT_ONCE], done)
        read += READ_AT_ONCE
        progress(read)
    for _ in range(looks):
        if not in_hand:
            break
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        in_hand = await _erase_some(database, account_id, key, in_hand, done)
    done.in_hand = len(in_hand)
    await _erase_inbound(database, account_id, key, done)
    await _erase_answers(database, account_id, key, done)
    async with database.hot() as connection, connection.transaction():
        done.suppressions_kept, done.reactivations = await store.erasure.empty_lists(connection, account_id, key)
    return done


async def _erase_some(database: store.db.Database, account_id: int, key: str, recipients: list[UUID], done: Erased) -> list[UUID]:
    """One transaction: cancel what waits, empty what is decided; returns those that workers have in hand."""
    async with database.hot() as connection, connection.transaction():
        withdrawn = await store.queue.withdraw(connection, account_id, recipients)
        told = await store.messages.cancel_recipients(connection, account_id, withdrawn)
        facts = {"recipient": ERASED, "reason": REASON}
        await record(connection, [Event(EventType.CANCELLED, t.account_id, t.recipient_id, t.events, facts) for t in told])
        in_hand = await store.erasure.find_queued(connection, recipients)
        decided = [one for one in recipients if one not in in_hand]
        emptied = await store.erasure.empty_history(connection, account_id, key, decided)
    done.recipients += len(decided)
    done.cancelled += len(told)
    done.attempts += emptied.attempts
    done.events += emptied.events
    done.messages += emptied.messages
    done.contents += emptied.contents
    done.contents_kept += emptied.contents_kept
    return sorted(in_hand)


async def _erase_inbound(database: store.db.Database, account_id: int, key: str, done: Erased) -> None:
    end: UUID | None = UUID(int=0)
    while end is not None:
        async with database.hot() as connection:
            end, found = await store.erasure.find_inbound(connection, account_id, key, end, READ_AT_ONCE)
        for place in range(0, len(found), WRITTEN_AT_ONCE):
            some = found[place : place + WRITTEN_AT_ONCE]
            async with database.hot() as connection, connection.transaction():
                await store.erasure.empty_inbound(connection, account_id, some)
            done.inbound += len(some)


async def _erase_answers(database: store.db.Database, account_id: int, key: str, done: Erased) -> None:
    after: tuple[UUID, UUID] | None = (UUID(int=0), UUID(int=0))
    while after is not None:
        async with database.hot() as connection:
            after, emptied = await store.erasure.empty_answers(connection, account_id, key, after, READ_AT_ONCE)
        done.webhook_answers += emptied
