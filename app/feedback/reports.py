"""What becomes of a mail that came back to a return path: the bounce, the complaint or the wish in it becomes history.

Whose mail it is about is the return path's word alone (mail.envelope): what a report says of addresses may be redacted, rewritten or
forged. What it says of the fate is mail.report's; here it meets what is known of the recipient:

    bounce        delivered → bounced_late, and the address is suppressed if the report proves that there is no such mailbox or domain
    complaint     the message's stream is suppressed for the address; other streams go on (a complaint is no word about them)
    unsubscribe   as by the link in the mail (engagement), which bulk mail alone has: nothing else can be left
    all others    nothing: a delay, an autoreply or a person's answer is no fate

Each is done once, however often it is reported. A report can be faster than our own books: a receiver that takes a mail and sends it back
at once may be here before the 250 is written down. Then the answer is LATER, and the sender comes again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any

from app import log, store
from app.events.record import Event, EventType, Suppressed, record, suppress
from app.events.suppression import Reason
from app.feedback.engagement import Reader, Way, choose
from app.jobs import Wakes
from app.keyring import Keyring
from app.mail.address import suppression_key
from app.mail.envelope import RETURN_PATH_PURPOSE, Returned, decode_return_path, find_return_path
from app.mail.letter import read_letter
from app.mail.report import Report, Reported, ReportKind, read_report
from app.store.db import Database, HotConnection

COMPLAINTS = "complaints"  # the local part to give to feedback loops, at the domain of the return paths
_LONGEST_REASON = 500


class Taken(Enum):
    """What became of a report."""

    RECORDED = "recorded"
    KNOWN = "known"  # it says nothing new, or its recipient is no longer kept
    NOTHING = "nothing"  # it is no word on a fate
    LATER = "later"  # our own books are not as far: it shall come again


@dataclass(frozen=True, slots=True)
class ReturnAddress:
    """An address that mail comes back to: a recipient's return path, or (None) the one that feedback loops are told."""

    returned: Returned | None


class ReturnPaths:
    """The addresses of this house, and what to do with mail to them."""

    def __init__(self, database: Database, wakes: Wakes, keyring: Keyring, domain: str) -> None:
        self._database = database
        self._wakes = wakes
        self._keyring = keyring
        self._for_complaints = f"{COMPLAINTS}@{domain.lower()}"

    def find(self, address: str) -> ReturnAddress | None:
        """Whom mail to an address is about; None when it is none of ours, or nobody of the house made it."""
        returned = decode_return_path(address, self._keys())
        if returned is not None:
            return ReturnAddress(returned)
        return ReturnAddress(None) if address.lower() == self._for_complaints else None

    async def take(self, address: ReturnAddress, raw: bytes) -> Taken:
        """Read a mail that came back and write down what it means. Raises what the database raises when it is away."""
        report = await asyncio.to_thread(read_report, raw)
        returned = address.returned
        if returned is None and report.kind is ReportKind.COMPLAINT:
            returned = await asyncio.to_thread(_find_quoted, raw, self._keys())
        taken = await take_report(self._database, self._wakes, returned, report) if returned is not None else Taken.NOTHING
        log.report_taken(report.kind.value, taken.value)
        return taken

    def _keys(self) -> list[bytes]:
        return [self._keyring.mac_key(RETURN_PATH_PURPOSE, key_id) for key_id in self._keyring.ids]


def _find_quoted(raw: bytes, keys: list[bytes]) -> Returned | None:
    """The return path of the mail that a complaint quotes: as it stands there, or in a part that the report has encoded."""
    decoded = (page.text.encode(errors="replace") for page in read_letter(raw).pages)
    return next((found for octets in chain((raw,), decoded) if (found := find_return_path(octets, keys)) is not None), None)


async def take_report(database: Database, wakes: Wakes, returned: Returned, report: Report) -> Taken:
    """Write down what a report means for the recipient of a return path; committed when it returns."""
    match report.kind:
        case ReportKind.BOUNCE:
            taken = await _bounce(database, returned, report)
        case ReportKind.COMPLAINT:
            taken = await _complaint(database, returned, report)
        case ReportKind.UNSUBSCRIBE:
            return await _unsubscribe(database, wakes, returned)
        case _:
            return Taken.NOTHING
    if taken is Taken.RECORDED:
        wakes.tell_events([returned.account_id])
    return taken


async def _bounce(database: Database, returned: Returned, report: Report) -> Taken:
    async with database.hot() as connection, connection.transaction():
        address = await store.readers.find_address(connection, *returned)
        if address is None:
            return Taken.KNOWN
        said = _said_of(report, address)
        reason = _reason(said)
        told = await store.settlement.bounce_late(connection, *returned, reason, _reply(said))
        if told is None:
            return Taken.LATER if await store.settlement.is_unsettled(connection, returned.recipient_id) else Taken.KNOWN
        facts = {"recipient": told.address, "late": True, "reason": reason, **_facts(said)}
        await record(connection, [Event(EventType.BOUNCED, returned.account_id, returned.recipient_id, told.events, facts)])
        if said is not None and said.suppresses and said.reply_class is not None:
            cause = Reason(said.reply_class.value)
            await suppress(connection, [Suppressed(returned.account_id, suppression_key(told.address), cause, returned.recipient_id)])
    return Taken.RECORDED


async def _complaint(database: Database, returned: Returned, report: Report) -> Taken:
    async with database.hot() as connection, connection.transaction():
        reader = await _reader(connection, returned)
        if reader is None:
            return Taken.KNOWN
        stream = await store.readers.find_stream(connection, *returned) or store.suppressions.EVERY_STREAM
        key = suppression_key(reader.address)
        added = await store.suppressions.add_own_words(
            connection, returned.account_id, key, returned.recipient_id, [stream], Reason.COMPLAINT
        )
        number = await store.readers.number_event(connection, *returned) if added else None
        if number is None:
            return Taken.KNOWN
        facts: dict[str, Any] = {"recipient": reader.address, "stream": stream, "feedback_type": report.feedback_type or "abuse"}
        await record(connection, [Event(EventType.COMPLAINED, returned.account_id, returned.recipient_id, number, facts)])
    return Taken.RECORDED


async def _unsubscribe(database: Database, wakes: Wakes, returned: Returned) -> Taken:
    async with database.hot() as connection:
        reader = await _reader(connection, returned)
        stream = await store.readers.find_leavable_stream(connection, *returned)
    if reader is None:
        return Taken.KNOWN
    if stream is None:  # what must be told does not end with a word that may be a program's
        return Taken.NOTHING
    await choose(database, wakes, reader, leave=[stream], join=[], way=Way.MAIL)
    return Taken.RECORDED


async def _reader(connection: HotConnection, returned: Returned) -> Reader | None:
    address = await store.readers.find_address(connection, *returned)
    return Reader(returned.account_id, returned.recipient_id, address) if address is not None else None


def _said_of(report: Report, address: str) -> Reported | None:
    """What the report says of this address; else of whom it names first: our mails have one recipient each."""
    key = suppression_key(address)
    named = [one for one in report.recipients if one.address and suppression_key(one.address) == key]
    return next(iter(named or report.recipients), None)


def _reason(said: Reported | None) -> str:
    words = " ".join(filter(None, (said.status, said.diagnostic))) if said is not None else ""
    return f"reported after delivery: {words}"[:_LONGEST_REASON] if words else "reported after delivery, without a reason"


def _reply(said: Reported | None) -> str | None:
    return said.diagnostic or None if said is not None else None


def _facts(said: Reported | None) -> dict[str, Any]:
    if said is None:
        return {}
    facts: dict[str, Any] = {"enhanced": said.status, "reply": said.diagnostic, "class": said.reply_class.value if said.reply_class else ""}
    return {name: value for name, value in facts.items() if value}
