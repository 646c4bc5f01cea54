"""Admission: the ordered checks between a submission and its acceptance.

Who sends as whom, how many recipients, when, how large. The first check that fails answers; its pointer names the field of the
HTTP body (other doors use the sentence). Syntax was the door's business, suppression is looked up in the accepting statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.accounts.credentials import Sender
from app.accounts.domains import DomainBook, SendingDomain
from app.accounts.streams import Stream, StreamBook, unknown_stream
from app.config import Settings
from app.errors import FieldError, InvalidMessage, MessageTooLarge, SenderNotAllowed
from app.mail.address import Address, domain_of, suppression_key
from app.mail.address_list import domains_in_name
from app.mail.compose import Draft
from app.mail.finish import CLICKS, OPENS, UNSUBSCRIBE
from app.mail.unsubscribe import has_field
from app.store.ids import recipient_id
from app.store.submissions import NewRecipient

LONGEST_SCHEDULE = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Times:
    """When a message may be sent first, when it is given up, what its Date field says, and when its content may go."""

    send_at: datetime | None
    expires_at: datetime
    dated: datetime
    purge_on: date


class Named(NamedTuple):
    """A recipient as a submission names it. `dsn` is JSON text: what its sender wants to be told of it, None for nothing."""

    address: str
    kind: str
    dsn: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """What a message says of its own tracking; None: as its stream says."""

    opens: bool | None = None
    clicks: bool | None = None


async def admit_sender(domains: DomainBook, sender: Sender, draft: Draft) -> SendingDomain:
    """The account's domain that the From address lies in. A look-alike, a parent or a child of it is another domain."""
    name = domain_of(draft.sender.mailbox)
    domain = await domains.find(sender.account_id, name)
    if domain is None:
        raise SenderNotAllowed(
            f"This account may not send from {name}.",
            errors=[FieldError("#/from", "sender_not_allowed", "The domain is not one of the account's domains.")],
        )
    if domains_in_name(draft.sender):
        await _admit_name(domains, sender, draft.sender)
    if draft.sender.mailbox.count("@") > 1:  # in quotes: many programs take the first for the end of the local part
        raise SenderNotAllowed(
            "The part of the From address before the last @ sign has another one.",
            errors=[FieldError("#/from", "sender_not_allowed", "There may be one @ sign in the address.")],
        )
    return domain


async def _admit_name(domains: DomainBook, sender: Sender, author: Address) -> None:
    """A name that is shown in place of the address must not be somebody else's address."""
    for name in domains_in_name(author):
        if await domains.find(sender.account_id, name) is None:
            raise SenderNotAllowed(
                "The name in From is an address of a domain that is not this account's; who is to get the answers belongs into Reply-To.",
                errors=[FieldError("#/from", "sender_not_allowed", "The name is an address of another domain.")],
            )


async def admit_stream(streams: StreamBook, sender: Sender, name: str) -> Stream:
    """The account's stream of this name; its class decides the lane."""
    known = await streams.of_account(sender.account_id)
    stream = known.get(name)
    if stream is None:
        raise InvalidMessage.of_fields([unknown_stream("#/stream", known)])
    return stream


def choose_adds(stream: Stream, draft: Draft, track: Track) -> int:
    """What delivery adds to each mail (bits of mail.finish). A message may track otherwise than its stream, not than its account."""
    adds = 0
    if track.opens if track.opens is not None else stream.track_opens:
        adds |= OPENS
    if track.clicks if track.clicks is not None else stream.track_clicks:
        adds |= CLICKS
    if not stream.tracking:
        adds = 0
    own = draft.headers
    # Who has a way of his own to be left keeps it: two would contradict each other.
    if stream.lane_class and not (own and (has_field(own, "list-unsubscribe") or has_field(own, "list-unsubscribe-post"))):
        adds |= UNSUBSCRIBE
    return adds


def admit_times(settings: Settings, stream: Stream, send_at: datetime | None, expires_at: datetime | None, now: datetime) -> Times:
    """A send_at that is past means now; expires_at is reckoned from the time of sending when it is not given."""
    if send_at is not None and send_at <= now:
        send_at = None
    start = send_at or now
    if start - now > LONGEST_SCHEDULE:
        raise InvalidMessage.of_field("#/send_at", "too_far", "send_at may lie at most 366 days ahead.")
    if expires_at is None:
        expires_at = start + timedelta(hours=_longest_age(settings, stream))
    elif expires_at <= start:
        raise InvalidMessage.of_field("#/expires_at", "too_early", "expires_at lies before the message could be sent.")
    elif expires_at - start > LONGEST_SCHEDULE:
        raise InvalidMessage.of_field("#/expires_at", "too_far", "expires_at may lie at most 366 days after sending.")
    kept_days = stream.content_retention_days
    if kept_days is None:
        kept_days = settings.content_retention_days
    expires_at = expires_at.astimezone(UTC)
    return Times(send_at, expires_at, start, (expires_at + timedelta(days=kept_days)).date())


def _longest_age(settings: Settings, stream: Stream) -> float:
    if stream.max_age_hours is not None:
        return stream.max_age_hours
    return settings.max_age_hours_bulk if stream.lane_class else settings.max_age_hours_transactional


def named_in(draft: Draft) -> Iterator[Named]:
    """Whom a draft is to."""
    for kind, addresses in (("to", draft.to), ("cc", draft.cc), ("bcc", draft.bcc)):
        for address in addresses:
            yield Named(address.mailbox, kind)


def admit_recipients(message_id: UUID, named: Iterable[Named], most: int) -> list[NewRecipient]:
    """The recipients of a message; who is named twice gets the mail once, as he was named first."""
    found: dict[str, NewRecipient] = {}
    for one in named:
        key = suppression_key(one.address)
        if key in found:
            continue
        if len(found) == most:
            raise InvalidMessage.of_field("#/to", "too_many", f"At most {most} recipients are allowed in one message.")
        found[key] = NewRecipient(recipient_id(message_id, len(found) + 1), one.address, key, one.kind, one.dsn)
    if not found:
        raise InvalidMessage.of_field("#/to", "missing", "There is no recipient.")
    return list(found.values())


def admit_size(size_bytes: int, most: int) -> None:
    if size_bytes > most:
        raise MessageTooLarge(f"The message has {size_bytes} bytes as MIME; at most {most} are allowed.")
