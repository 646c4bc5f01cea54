"""The statement that loads what was claimed: recipients with what their messages say, and why they are not to be sent to any more.

It reads three tables in one round trip, because it is on the path of every message. A suppression that came after the message was
accepted (its reader left, a receiver called the address dead) is seen here, by the rule of the accepting statement
(suppressions.reason_for). What the recipient becomes of it is delivery's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from app.mail.address import suppression_key
from app.store.db import HotConnection
from app.store.ids import message_of
from app.store.suppressions import find_reasons, reason_for


@dataclass(slots=True)
class Deliverable:
    """What delivery needs to know of a recipient and its message, but the content."""

    recipient_id: UUID
    address: str
    domain_id: int
    stream: str
    rfc_message_id: str
    expires_at: datetime
    purge_on: date
    adds: int = 0  # bits of mail.finish
    suppressed_for: str | None = None  # the reason, when its address was suppressed since it was accepted


# The bounds let the plan leave out the partitions of other weeks when it starts. LIMIT keeps it at one probe for each recipient: left free,
# it reads everything between the bounds once for each, which is half the queue when its rows lie at many sites.
# Of an address in ASCII this lower() makes the suppression key (mail.address), in a database of any locale; it is given the locale of the
# primary key again, which no plan could use otherwise.
_LOAD = f"""
SELECT r.id, r.address, m.domain_id, m.stream, m.rfc_message_id, m.expires_at, m.purge_on, m.adds, s.reason
FROM unnest($1::int[], $2::uuid[], $3::uuid[]) AS i(account_id, recipient_id, message_id)
CROSS JOIN LATERAL (
    SELECT id, address FROM recipients WHERE account_id = i.account_id AND id = i.recipient_id AND id BETWEEN $4 AND $5 LIMIT 1
) r
CROSS JOIN LATERAL (
    SELECT domain_id, stream, rfc_message_id, expires_at, purge_on, adds FROM messages
    WHERE account_id = i.account_id AND id = i.message_id AND id BETWEEN $4 AND $5 LIMIT 1
) m
LEFT JOIN LATERAL ({reason_for("i.account_id", 'lower(r.address COLLATE "C") COLLATE "default"', "m.stream")}) s ON true
"""  # noqa: S608  (the rule of suppressions)


async def load_deliverables(connection: HotConnection, account_ids: Sequence[int], recipient_ids: Sequence[UUID]) -> list[Deliverable]:
    """The recipients with what their messages say; one whose message is gone is left out."""
    message_ids = [message_of(r) for r in recipient_ids]
    rows = await connection.fetch(_LOAD, account_ids, recipient_ids, message_ids, min(message_ids), max(recipient_ids))
    loaded = [Deliverable(*row) for row in rows]
    if any(not one.address.isascii() for one in loaded):
        await _look_up_international(connection, loaded, dict(zip(recipient_ids, account_ids, strict=True)))
    return loaded


async def _look_up_international(connection: HotConnection, loaded: Sequence[Deliverable], accounts: dict[UUID, int]) -> None:
    """Mailboxes in UTF-8, of which there are few: PostgreSQL does not make their key as we do, so it is brought along."""
    them = [one for one in loaded if not one.address.isascii()]
    reasons = await find_reasons(
        connection,
        [accounts[one.recipient_id] for one in them],
        [suppression_key(one.address) for one in them],
        [one.stream for one in them],
    )
    for one, reason in zip(them, reasons, strict=True):
        one.suppressed_for = reason
