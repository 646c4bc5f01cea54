"""One person's data, found by address and taken out of history: what `feedback.erasure` does, in statements.

An address outside ASCII can be written in several ways, which the index of addresses does not know, and subjects and reports name people
too. So an account's history is read in slices of its primary key, and what is found is written in small transactions of their own.

Rows stay, so that sums and the order of events stay; what tells who it was goes out of them. ERASED stands where the address stood: one
word for everybody, so that nothing ties an erased person's mails together. It lies below .invalid, which no mail can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from app.mail.address import domain_of, suppression_key
from app.store.db import HotConnection
from app.store.ids import message_of

ERASED = "erased@erased.invalid"

# What an event may say when nobody is to know about whom: everything but words and addresses of servers, programs and people.
_FACTS_KEPT = (
    "recipient", "attempts", "tls", "phase", "code", "enhanced", "class", "next_attempt_at", "maybe_sent", "first", "by",
    "machine_reason", "at", "stream", "way", "late", "feedback_type", "inbound_id", "size_bytes", "automatic", "in_reply_to",
    "event_id", "event_type", "event_number", "was_by", "was_first",
)  # fmt: skip

# Of an address in ASCII lower() in this locale is the suppression key; of others the key is made by us, out of the few that are possible.
_SLICE = """
WITH slice AS MATERIALIZED (
    SELECT id, address FROM recipients WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3
)
(SELECT id, NULL FROM slice ORDER BY id DESC LIMIT 1)
UNION ALL
SELECT id, address FROM slice
WHERE lower(address COLLATE "C") = $4 OR (NOT $5 AND octet_length(address) > char_length(address) AND split_part(address, '@', -1) = $6)
"""


class Slice(NamedTuple):
    """How far the history was read (None: there is no more), and whose ids were found in it."""

    end: UUID | None
    found: list[UUID]


async def find_recipients(connection: HotConnection, account_id: int, key: str, after: UUID, limit: int) -> Slice:
    """The recipients with an address (its suppression key) among the next `limit` of an account."""
    rows = await connection.fetch(_SLICE, account_id, after, limit, key, key.isascii(), domain_of(key))
    end = next((row[0] for row in rows if row[1] is None), None)
    return Slice(end, [row[0] for row in rows if row[1] is not None and suppression_key(row[1]) == key])


async def find_queued(connection: HotConnection, recipient_ids: Sequence[UUID]) -> set[UUID]:
    """Those that are in the queue."""
    rows = await connection.fetch("SELECT recipient_id FROM queue WHERE recipient_id = ANY($1::uuid[])", recipient_ids)
    return {row[0] for row in rows}


@dataclass(frozen=True, slots=True)
class Emptied:
    """How many rows an erasure wrote. `contents_kept`: others of the message still wait for it."""

    attempts: int
    events: int
    messages: int
    contents: int
    contents_kept: int


# The reason of these is a word of ours; of others it may be a server's.
_RECIPIENTS = """
UPDATE recipients SET address = $3, last_reply = NULL, dsn = NULL, reason = CASE WHEN state = 'suppressed' THEN reason END
WHERE account_id = $1 AND id = ANY($2::uuid[])
"""
_ATTEMPTS = "UPDATE attempts SET reply = NULL, mx = NULL, ip = NULL WHERE account_id = $1 AND recipient_id = ANY($2::uuid[])"
# The url of an open or a click is the reader's; of mail that came in it is a path of ours.
# json_each reads every text, and there is no text for an escaped NUL; the backslash of one has no other before it, or pairs.
_EVENTS = r"""
UPDATE events e SET facts = (
    SELECT coalesce(json_object_agg(f.key, CASE f.key WHEN 'recipient' THEN to_json($3::text) ELSE f.value END), '{}')
    FROM json_each(
        CASE WHEN position('\u0000' in e.facts::text) = 0 THEN e.facts
             ELSE regexp_replace(e.facts::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')::json END
    ) f
    WHERE f.key = ANY($4::text[]) OR (f.key = 'reason' AND e.type IN ('message.suppressed', 'message.cancelled'))
       OR (f.key = 'url' AND e.type IN ('inbound.received', 'message.replied'))
)
WHERE account_id = $1 AND about = ANY($2::uuid[])
"""

# A message's recipients are the range of its id. What the account wrote beside a mail to one person is about that person; beside a mail to
# several it is, if the address stands in it.
_MESSAGES = """
UPDATE messages m SET subject = '', metadata = '{}', tags = '[]'
WHERE m.account_id = $1 AND m.id = ANY($2::uuid[])
  AND (position($4 in lower(m.subject || ' ' || m.metadata::text || ' ' || m.tags::text)) > 0
       OR NOT EXISTS (SELECT FROM recipients r WHERE r.account_id = $1 AND r.address <> $3
                      AND r.id BETWEEN m.id AND overlay(m.id::text placing 'ffff' from 33)::uuid))
RETURNING m.id
"""
_ACCEPTED = """
UPDATE events SET facts = json_build_object('from', facts->'from', 'subject', '', 'recipients', facts->'recipients')
WHERE account_id = $1 AND about = ANY($2::uuid[]) AND type = 'message.accepted'
"""
_WAITED_FOR = """
SELECT m.id, m.purge_on, EXISTS (
    SELECT FROM queue WHERE recipient_id BETWEEN m.id AND overlay(m.id::text placing 'ffff' from 33)::uuid
)
FROM messages m WHERE m.account_id = $1 AND m.id = ANY($2::uuid[])
"""
_CONTENT = "DELETE FROM content WHERE account_id = $1 AND message_id = ANY($2::uuid[]) AND purge_on = ANY($3::date[])"


async def empty_history(connection: HotConnection, account_id: int, key: str, recipient_ids: Sequence[UUID]) -> Emptied:
    """Take a person out of the history of these recipients, none of which is in the queue; within the caller's transaction."""
    ids = sorted(recipient_ids)
    message_ids = sorted({message_of(one) for one in ids})
    # First: who looks at hits has these rows before the recipients.
    await connection.execute("DELETE FROM second_looks WHERE account_id = $1 AND recipient_id = ANY($2::uuid[])", account_id, ids)
    await connection.execute(_RECIPIENTS, account_id, ids, ERASED)
    attempts = _count(await connection.execute(_ATTEMPTS, account_id, ids))
    events = _count(await connection.execute(_EVENTS, account_id, ids, ERASED, _FACTS_KEPT))
    emptied = [row[0] for row in await connection.fetch(_MESSAGES, account_id, message_ids, ERASED, key)]
    await connection.execute(_ACCEPTED, account_id, emptied)
    contents = await connection.fetch(_WAITED_FOR, account_id, message_ids)
    gone = [(message_id, purge_on) for message_id, purge_on, is_waited_for in contents if not is_waited_for]
    days = sorted({purge_on for _, purge_on in gone})
    deleted = _count(await connection.execute(_CONTENT, account_id, [message_id for message_id, _ in gone], days))
    return Emptied(attempts, events, len(emptied), deleted, len(contents) - len(gone))


async def empty_lists(connection: HotConnection, account_id: int, key: str) -> tuple[int, int]:
    """(suppressions that stay, without the recipient who was their cause; notes of lifted ones that are deleted). By primary keys."""
    kept = await connection.execute("UPDATE suppressions SET about = NULL WHERE account_id = $1 AND address = $2", account_id, key)
    gone = await connection.execute("DELETE FROM reactivations WHERE account_id = $1 AND address = $2", account_id, key)
    return _count(kept), _count(gone)


_ANSWERS = """
WITH slice AS MATERIALIZED (
    SELECT endpoint_id, id, answer FROM webhook_attempts
    WHERE account_id = $1 AND (endpoint_id, id) > ($2, $3) ORDER BY endpoint_id, id LIMIT $4
), emptied AS (
    UPDATE webhook_attempts w SET answer = '' FROM slice s
    WHERE w.account_id = $1 AND w.endpoint_id = s.endpoint_id AND w.id = s.id AND position($5 in lower(s.answer)) > 0
    RETURNING w.id
)
SELECT endpoint_id, id, (SELECT count(*) FROM emptied) FROM slice ORDER BY endpoint_id DESC, id DESC LIMIT 1
"""


async def empty_answers(
    connection: HotConnection, account_id: int, key: str, after: tuple[UUID, UUID], limit: int
) -> tuple[tuple[UUID, UUID] | None, int]:
    """Among the next `limit` posts to webhooks, forget answers in which the address stands; (how far that was, how many)."""
    row = await connection.fetchrow(_ANSWERS, account_id, *after, limit, key)
    return (None, 0) if row is None else ((row[0], row[1]), row[2])


# Mail that came in from the person, or that a mail program of theirs sent; what others wrote about them is their correspondence.
_INBOUND = """
WITH slice AS MATERIALIZED (
    SELECT id, envelope_from, from_address FROM inbound_messages WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3
)
(SELECT id, NULL, NULL FROM slice ORDER BY id DESC LIMIT 1)
UNION ALL
SELECT id, envelope_from, coalesce(from_address, '') FROM slice
WHERE $4 IN (lower(envelope_from COLLATE "C"), lower(from_address COLLATE "C"))
   OR (NOT $5 AND octet_length(envelope_from || coalesce(from_address, '')) > char_length(envelope_from || coalesce(from_address, '')))
"""
_INBOUND_ROWS = """
UPDATE inbound_messages SET state = 'read', envelope_from = $3, helo = '', client_ip = '', digest = NULL, verdicts = NULL,
    from_address = CASE WHEN from_address IS NOT NULL THEN $3 END, subject = CASE WHEN subject IS NOT NULL THEN '' END
WHERE account_id = $1 AND id = ANY($2::uuid[])
"""

# Of an answer that somebody else's recipient was told of: its words are the author's.
_REPLIED = """
UPDATE events e SET facts = json_build_object('inbound_id', e.facts->'inbound_id')
FROM inbound_messages m
WHERE m.account_id = $1 AND m.id = ANY($2::uuid[])
  AND e.account_id = $1 AND e.about = coalesce(m.sent_recipient_id, m.sent_message_id) AND e.type = 'message.replied'
  AND e.facts->>'inbound_id' = 'inb_' || replace(m.id::text, '-', '')
"""


async def find_inbound(connection: HotConnection, account_id: int, key: str, after: UUID, limit: int) -> Slice:
    """The mails from an address (its suppression key) among the next `limit` that came in for an account."""
    rows = await connection.fetch(_INBOUND, account_id, after, limit, key, key.isascii())
    end = next((row[0] for row in rows if row[1] is None), None)
    return Slice(end, [row[0] for row in rows if row[1] is not None and key in (suppression_key(row[1]), suppression_key(row[2]))])


async def empty_inbound(connection: HotConnection, account_id: int, inbound_ids: Sequence[UUID]) -> None:
    """Take a person out of mails that came in, with their content; within the caller's transaction. One that waits to be read is not."""
    ids = sorted(inbound_ids)
    await connection.execute("DELETE FROM inbound_waiting WHERE account_id = $1 AND message_id = ANY($2::uuid[])", account_id, ids)
    await connection.execute(_INBOUND_ROWS, account_id, ids, ERASED)
    await connection.execute(_EVENTS, account_id, ids, ERASED, _FACTS_KEPT)
    await connection.execute(_REPLIED, account_id, ids)
    gone = """
    DELETE FROM inbound_content c USING inbound_messages m
    WHERE m.account_id = $1 AND m.id = ANY($2::uuid[])
      AND c.account_id = $1 AND c.message_id = m.id AND c.purge_on = m.purge_on
    """
    await connection.execute(gone, account_id, ids)


def _count(status: str) -> int:
    """How many rows a command says that it wrote: "UPDATE 3"."""
    return int(status.rpartition(" ")[2])
