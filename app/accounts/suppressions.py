"""What an account itself says of its suppressions: adds some, lifts some, with who did it.

An address is kept in its suppression key, one spelling for all of one mailbox. Adding what is there changes nothing: the first reason
stays. Lifting is written down; a complaint is lifted only by who says that he means it, because the next mail to that reader may cost
the standing of all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app import store
from app.accounts.streams import MOST_STREAMS, unknown_stream
from app.errors import Conflict, FieldError, NotFound
from app.events.suppression import Reason
from app.mail.address import parse_mailbox, suppression_key
from app.store.db import HotConnection
from app.store.suppressions import EVERY_STREAM, NewSuppression, Reactivation

_REASONS = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as the account wrote it."""

    email: str
    stream: str
    reason: str


def read_entry(entry: Entry, streams: Collection[str], account_id: int, added_by: str) -> NewSuppression | FieldError:
    """The suppression that is meant, or what is wrong; the pointer is the name of the field alone."""
    try:
        address = suppression_key(parse_mailbox(entry.email))
    except ValueError as error:
        return FieldError("email", "invalid_address", str(error))
    if entry.stream != EVERY_STREAM and entry.stream not in streams:
        return unknown_stream("stream", streams, also="* is all, and ")
    if entry.reason not in _REASONS:
        return FieldError("reason", "unknown_value", f"It must be one of {', '.join(sorted(_REASONS))}.")
    return NewSuppression(account_id, entry.stream, address, entry.reason, None, added_by)


async def add(connection: HotConnection, rows: Sequence[NewSuppression]) -> int:
    """Add rows of one account; returns how many were new."""
    distinct = {(row.address, row.stream): row for row in reversed(rows)}
    return len(await store.suppressions.add_suppressions(connection, list(distinct.values())))


async def lift(
    connection: HotConnection, account_id: int, email: str, *, stream: str | None, confirm: bool, lifted_by: str
) -> list[Reactivation]:
    """Let an address be sent to again, in one stream's list or in all (None). NotFound when it is on none of them."""
    address = key_of(email)
    async with connection.transaction():
        found = await store.suppressions.find_suppressions(connection, account_id, address, locked=True)
        wanted = [one for one in found if stream is None or one.stream == stream]
        if not wanted:
            raise NotFound("The address is not suppressed.")
        if not confirm and any(one.reason == Reason.COMPLAINT for one in wanted):
            raise Conflict("The reader of this address complained. Give confirm=true if it shall be sent to all the same.")
        return await store.suppressions.lift_suppressions(
            connection,
            account_id,
            address,
            streams=[one.stream for one in wanted],
            reasons=None,
            lifted_by=lifted_by,
            most=MOST_STREAMS + 1,
        )


def key_of(email: str) -> str:
    """The key of an address in a path; what is no address is not there. Kept ones were parsed once: they parse again."""
    try:
        return suppression_key(parse_mailbox(email))
    except ValueError as error:
        raise NotFound("The address is not suppressed.") from error
