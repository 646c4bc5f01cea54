"""Admission: the ordered checks between a submission and its acceptance.

Who sends as whom, how many recipients, when, how large. The first check that fails answers; its pointer names the field of the
HTTP body (other doors use the sentence). Syntax was the door's business, suppression is looked up in the accepting statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.accounts.credentials import Sender
from app.accounts.domains import DomainBook, SendingDomain
from app.config import Settings
from app.errors import FieldError, InvalidMessage, MessageTooLarge, SenderNotAllowed
from app.mail.address import Address, domain_of, suppression_key
from app.mail.compose import Draft

# A stream's class decides its lane; names beyond these two come with streams as a resource.
LANE_CLASSES = {"transactional": 0, "bulk": 1}
LONGEST_SCHEDULE = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Times:
    """When a message may be sent first, when it is given up, and when its content may go."""

    send_at: datetime | None
    expires_at: datetime


async def admit_sender(domains: DomainBook, sender: Sender, draft: Draft) -> SendingDomain:
    """The account's domain that the From address lies in. A look-alike, a parent or a child of it is another domain."""
    name = domain_of(draft.sender.mailbox)
    domain = await domains.find(sender.account_id, name)
    if domain is None:
        raise SenderNotAllowed(
            f"This account may not send from {name}.",
            errors=[FieldError("#/from", "sender_not_allowed", "The domain is not one of the account's domains.")],
        )
    return domain


def admit_stream(stream: str) -> int:
    """The lane class of a stream."""
    lane_class = LANE_CLASSES.get(stream)
    if lane_class is None:
        raise _wrong("#/stream", "unknown_stream", "There is no such stream; use transactional or bulk.")
    return lane_class


def admit_times(settings: Settings, lane_class: int, send_at: datetime | None, expires_at: datetime | None, now: datetime) -> Times:
    """A send_at that is past means now; expires_at is reckoned from the time of sending when it is not given."""
    if send_at is not None and send_at <= now:
        send_at = None
    start = send_at or now
    if start - now > LONGEST_SCHEDULE:
        raise _wrong("#/send_at", "too_far", "send_at may lie at most 366 days ahead.")
    if expires_at is None:
        hours = settings.max_age_hours_bulk if lane_class else settings.max_age_hours_transactional
        return Times(send_at, start + timedelta(hours=hours))
    if expires_at <= start:
        raise _wrong("#/expires_at", "too_early", "expires_at lies before the message could be sent.")
    if expires_at - start > LONGEST_SCHEDULE:
        raise _wrong("#/expires_at", "too_far", "expires_at may lie at most 366 days after sending.")
    return Times(send_at, expires_at.astimezone(UTC))


def admit_recipients(draft: Draft, most: int) -> list[tuple[str, str, str]]:
    """(address, suppression key, kind) of each recipient; one that is named twice gets the mail once."""
    seen: dict[str, tuple[str, str, str]] = {}
    for kind, addresses in (("to", draft.to), ("cc", draft.cc), ("bcc", draft.bcc)):
        for mailbox in _mailboxes(addresses):
            key = suppression_key(mailbox)
            seen.setdefault(key, (mailbox, key, kind))
    if not seen:
        raise _wrong("#/to", "missing", "There is no recipient.")
    if len(seen) > most:
        raise _wrong("#/to", "too_many", f"At most {most} recipients are allowed in one message.")
    return list(seen.values())


def admit_size(size_bytes: int, most: int) -> None:
    if size_bytes > most:
        raise MessageTooLarge(f"The message has {size_bytes} bytes as MIME; at most {most} are allowed.")


def _mailboxes(addresses: Iterable[Address]) -> Iterable[str]:
    return (address.mailbox for address in addresses)


def _wrong(pointer: str, code: str, detail: str) -> InvalidMessage:
    return InvalidMessage(detail, errors=[FieldError(pointer, code, detail)])
