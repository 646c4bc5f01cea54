"""What one post to a webhook receiver carries: Standard Webhooks bodies, ids and signatures. Pure.

One event per post:  {"type": "message.delivered", "timestamp": "…Z", "data": {event}}
Several (batch_size > 1, of one event too):  {"type": "batch", "timestamp": "…Z", "data": [{event}, …]}, of MOST_BATCH_OCTETS at most

The event has the same members in both, and in the feed of the API (`event_object`). `timestamp` is when the (last) event
occurred. A body and its `webhook-id` are the same on every attempt: they are made from the events alone. A batch's id covers
the ids of all its events, so that a batch that was cut differently after a crash is not taken for the first one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_bytes
from typing import Any

import orjson

from app.store.events import Cursor, FeedRow

SECRET_PURPOSE = "webhook-secret"  # noqa: S105  (the keyring's purpose, not a secret)
MOST_BATCH_OCTETS = 256 * 1024
_EVENT_OCTETS = 400  # an event without its texts, about


@dataclass(frozen=True, slots=True)
class Post:
    """One request to be. `failures` counts those before this attempt; `waiting`: it stands in webhook_retries."""

    webhook_id: str
    batch: bool
    rows: tuple[FeedRow, ...]
    failures: int = 0
    waiting: bool = False
    replayed: bool = False

    @property
    def end(self) -> Cursor:
        return self.rows[-1].cursor


def new_secret() -> bytes:
    return token_bytes(32)


def show_secret(secret: bytes) -> str:
    """The form that libraries take."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def make_posts(rows: Sequence[FeedRow], batch_size: int) -> list[Post]:
    """Cut events, in their order, into posts."""
    if batch_size == 1:
        return [Post(f"evt_{row.id.hex}", batch=False, rows=(row,)) for row in rows]
    return [Post(_batch_id(part), batch=True, rows=part) for part in _cut(rows, batch_size)]


def encode(post: Post) -> bytes:
    """The body of a post."""
    events = [event_object(row) for row in post.rows]
    last = events[-1]
    if post.batch:
        return orjson.dumps({"type": "batch", "timestamp": last["occurred_at"], "data": events})
    return orjson.dumps({"type": last["type"], "timestamp": last["occurred_at"], "data": last})


def event_object(row: FeedRow) -> dict[str, Any]:
    """An event as everybody outside sees it, for orjson: texts that are JSON already go in as they are."""
    about = row.about.hex
    message = f"{about[:28]}0000"  # store.ids: a message's recipients are its id with the low 16 bits set
    of_message = is_of_message(row)
    return {
        "id": f"evt_{row.id.hex}",
        "type": row.type,
        "occurred_at": occurred_at_text(row),
        "message_id": f"msg_{message}" if of_message else None,
        "recipient_id": None if about == message or not of_message else f"rcp_{about}",
        "email": row.address,
        "number": row.number,
        "stream": row.stream,
        "tags": orjson.Fragment(row.tags or "[]"),
        "metadata": orjson.Fragment(row.metadata or "{}"),
        "facts": orjson.Fragment(row.facts),
    }


def octets_of(row: FeedRow) -> int:
    """How large an event is, about."""
    return _EVENT_OCTETS + sum(_octets(text) for text in (row.facts, row.tags, row.metadata) if text)


def is_of_message(row: FeedRow) -> bool:
    """Whether an event is about mail that was sent; others are about an endpoint, mail that came in, or a credential's incident."""
    return row.type.startswith("message.")


def occurred_at_text(row: FeedRow) -> str:
    """RFC 3339, to the millisecond, out of the event's id (UUIDv7)."""
    seconds, milliseconds = divmod(int(row.id.hex[:12], 16), 1000)
    return f"{_second_text(seconds)}.{milliseconds:03}Z"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def sign(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a post. Both families of names: some verifiers read svix-* alone.

    While two secrets live, both sign, and a verifier that knows one of them is content.
    """
    content = f"{webhook_id}.{timestamp}.".encode() + body
    signature = " ".join([f"v1,{base64.b64encode(hmac.digest(secret, content, 'sha256')).decode()}" for secret in secrets])
    return {
        "Content-Type": "application/json",
        "User-Agent": "Staffetta-Webhooks/1",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
        "svix-id": webhook_id,
        "svix-timestamp": str(timestamp),
        "svix-signature": signature,
    }


def _cut(rows: Iterable[FeedRow], batch_size: int) -> Iterator[tuple[FeedRow, ...]]:
    part: list[FeedRow] = []
    size = 0
    for row in rows:
        row_size = octets_of(row)
        if part and (len(part) == batch_size or size + row_size > MOST_BATCH_OCTETS):
            yield tuple(part)
            part, size = [], 0
        part.append(row)
        size += row_size
    if part:
        yield tuple(part)


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _batch_id(rows: Sequence[FeedRow]) -> str:
    digest = hashlib.blake2b(b"".join(row.id.bytes for row in rows), digest_size=8).hexdigest()
    return f"bat_{rows[0].id.hex}{digest}"
