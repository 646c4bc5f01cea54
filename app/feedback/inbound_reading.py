"""Mail that came in is read: a worker's loop, from `received` to an event.

What was read is written in one transaction with the events and the end of its waiting, so that a worker that is killed leaves the mail as
it was and another reads it. One that nobody finished reading in `MOST_TAKES` tries is handed on unread: nothing is dropped in silence.

The answer to a sent mail is found by the Message-IDs that it names, which for mail composed here hold the message's id; the recipient by
the author's address, or if there is but one. An answer by a person is also an event of that recipient.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson

from app import log, store
from app.events.record import Event, EventType, record
from app.feedback.authentication import Verdicts, authenticate
from app.jobs import Wakes
from app.mail.address import Address, suppression_key
from app.mail.inbound import Inbound, read_inbound
from app.mail.inbound_trace import Origin
from app.resolver import Resolver
from app.store.db import Database, HotConnection
from app.store.ids import public_id
from app.store.inbound import Waiting, WasRead

TAKEN_SECONDS = 120.0
MOST_TAKES = 3
# Of each text, in an event: it is kept as long as history is, read by the thousand, and posted.
LONGEST_TOLD = 5000
_MOST_TOLD = 20
_LONGEST_NAME_TOLD = 100
_AT_ONCE = 8
_ID_DIGITS = 32

Sent = tuple[UUID | None, UUID | None]


async def keep_reading(database: Database, resolver: Resolver, wakes: Wakes, seconds: float) -> None:
    """Read what came in, several at a time; look for more every so many seconds."""
    under_way: set[asyncio.Task[None]] = set()
    try:
        while True:
            waiting = await _take(database) if len(under_way) < _AT_ONCE else None
            if waiting is not None:
                task = asyncio.create_task(_read_one(database, resolver, wakes, waiting))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            elif len(under_way) < _AT_ONCE:
                await asyncio.sleep(seconds)
            else:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _take(database: Database) -> Waiting | None:
    try:
        async with database.hot() as connection:
            return await store.inbound.take_waiting(connection, TAKEN_SECONDS)
    except Exception as error:
        log.loop_failed("inbound", error)
        return None


async def _read_one(database: Database, resolver: Resolver, wakes: Wakes, waiting: Waiting) -> None:
    try:
        await read_waiting(database, resolver, wakes, waiting)
    except Exception as error:  # the mail is taken up again when its time is over
        log.loop_failed("inbound", error)


async def read_waiting(database: Database, resolver: Resolver, wakes: Wakes, waiting: Waiting) -> None:
    """Read one mail, and tell what it says."""
    if waiting.raw is None or waiting.takes > MOST_TAKES:
        log.inbound_unreadable(public_id("inb", waiting.id), waiting.takes)
        mail, verdicts = None, Verdicts()
    else:
        mail = await asyncio.to_thread(read_inbound, waiting.raw)
        origin = Origin(waiting.envelope_from, waiting.client_ip, waiting.helo)
        verdicts = await authenticate(resolver, origin, [one.mailbox for one in mail.authors], waiting.raw)
    async with database.hot() as connection, connection.transaction():
        if not await store.inbound.end_waiting(connection, waiting):
            return
        sent = await _find_sent(connection, waiting.account_id, mail) if mail is not None else (None, None)
        await store.inbound.write_read(connection, waiting, _row(mail, verdicts, sent))
        await record(connection, await _events(connection, waiting, mail, verdicts, sent))
    wakes.tell_events([waiting.account_id])


def _row(mail: Inbound | None, verdicts: Verdicts, sent: Sent) -> WasRead:
    told = orjson.dumps(verdicts.as_facts()).decode()
    if mail is None:
        return WasRead("unreadable", None, None, False, 0, told, *sent, None)
    author = mail.authors[0].mailbox if mail.authors else None
    parsed = orjson.dumps(asdict(mail)).decode()
    return WasRead("read", author, mail.subject, mail.automatic, len(mail.attachments), told, *sent, parsed)


async def _find_sent(connection: HotConnection, account_id: int, mail: Inbound) -> Sent:
    """(the sent message that a mail answers, its recipient who wrote it)."""
    named = [*mail.in_reply_to, *reversed(mail.references)]
    ids = [found for one in named if (found := _message_id(one)) is not None]
    message_id = await store.inbound.find_sent(connection, account_id, named, ids) if named else None
    if message_id is None:
        return None, None
    recipients = await store.inbound.list_sent_to(connection, account_id, message_id)
    authors = {suppression_key(one.mailbox) for one in (*mail.authors, *mail.reply_to)}
    wrote = [one for one, address in recipients if suppression_key(address) in authors]
    if not wrote and len(recipients) == 1:
        wrote = [recipients[0][0]]
    return message_id, wrote[0] if wrote else None


def _message_id(rfc_id: str) -> UUID | None:
    """The id in the Message-ID of a mail that was composed here."""
    digits = rfc_id.partition("@")[0]
    if len(digits) != _ID_DIGITS:
        return None
    try:
        found = UUID(bytes=bytes.fromhex(digits))
    except ValueError:
        return None
    return found if store.ids.is_message(found) else None


async def _events(connection: HotConnection, waiting: Waiting, mail: Inbound | None, verdicts: Verdicts, sent: Sent) -> list[Event]:
    facts = facts_of(waiting, mail, verdicts, sent)
    events = [Event(EventType.INBOUND_RECEIVED, waiting.account_id, waiting.id, 0, facts)]
    message_id, recipient_id = sent
    if mail is None or message_id is None or mail.automatic:
        return events
    number = 0
    if recipient_id is not None:
        number = await store.readers.number_event(connection, waiting.account_id, recipient_id) or 0
        if not number:  # erased, or its events are too many
            return events
    told = {name: facts[name] for name in ("inbound_id", "from", "subject", "reply_text", "url")}
    return [*events, Event(EventType.REPLIED, waiting.account_id, recipient_id or message_id, number, told)]


def facts_of(waiting: Waiting, mail: Inbound | None, verdicts: Verdicts, sent: Sent) -> dict[str, Any]:
    """What the event says: docs/inbound.md tells each."""
    inbound_id = public_id("inb", waiting.id)
    facts: dict[str, Any] = {
        "inbound_id": inbound_id,
        "url": f"/v1/inbound-messages/{inbound_id}",
        "envelope": {"from": waiting.envelope_from, "to": waiting.envelope_to, "client_ip": waiting.client_ip, "helo": waiting.helo},
        "size_bytes": waiting.size_bytes,
        "authentication": verdicts.as_facts(),
        "in_reply_to": sent_object(sent),
    }
    if mail is None:
        return facts | {"unreadable": True}
    texts = {"text": mail.text, "html": mail.html, "reply_text": mail.reply_text}
    return facts | {
        "from": _person(mail.authors[0]) if mail.authors else None,
        "to": [_person(one) for one in mail.to[:_MOST_TOLD]],
        "cc": [_person(one) for one in mail.cc[:_MOST_TOLD]],
        "reply_to": [_person(one) for one in mail.reply_to[:_MOST_TOLD]],
        "subject": mail.subject,
        "date": mail.date,
        "rfc_message_id": mail.message_id,
        "automatic": mail.automatic,
        **{name: text[:LONGEST_TOLD] for name, text in texts.items()},
        "truncated": [name for name, text in texts.items() if len(text) > LONGEST_TOLD],
        "attachments": [
            {"number": one.number, "name": one.name, "content_type": one.content_type, "content_id": one.content_id or None,
             "size_bytes": one.size_bytes, "url": f"/v1/inbound-messages/{inbound_id}/attachments/{one.number}"}
            for one in mail.attachments[:_MOST_TOLD]
        ],
    }  # fmt: skip


def sent_object(sent: Sent) -> dict[str, str | None] | None:
    """The sent message that a mail answers, as it is shown."""
    message_id, recipient_id = sent
    if message_id is None:
        return None
    return {"message_id": public_id("msg", message_id), "recipient_id": public_id("rcp", recipient_id) if recipient_id else None}


def _person(one: Address) -> dict[str, str]:
    return {"email": one.mailbox, "name": one.name[:_LONGEST_NAME_TOLD]}
