"""GET /v1/messages and /v1/messages/{id}: where is it now, and everything that was tried.

The status is one snapshot: recipients, attempts and timeline of the same moment. `state` is live: what the queue says while the
recipient is in it. The lists are bounded; `truncated` says when one was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.api.door import allow, answer_json, house_of
from app.api.message_body import DateTime, Kind, State, Stream
from app.api.openapi import refusals
from app.api.paging import MESSAGES, bound_of, read_id_cursor, read_moment, write_id_cursor
from app.errors import FieldError, InvalidRequest, NotFound
from app.events.record import EventType
from app.mail.address import parse_mailbox
from app.store.ids import is_message, parse_public_id, public_id, time_of

MOST_ATTEMPTS = 5000
MOST_EVENTS = 5000

router = APIRouter(tags=["messages"])
Reader = Annotated[Sender, Depends(allow("messages:read"))]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Attempt(_Answer):
    """One try at delivering to one recipient."""

    started_at: DateTime
    outcome: Annotated[str, Field(description="The state that it led to.")]
    phase: Annotated[str, Field(description="How far the conversation came: connect, tls, greeting, ehlo, mail, rcpt, data or dot.")]
    mx: Annotated[str | None, Field(description="The receiving server.")]
    ip: str | None
    source: Annotated[str | None, Field(description="The address that it was sent from.")]
    tls: Annotated[str | None, Field(description="The protocol and cipher, or null when the connection was not encrypted.")]
    code: Annotated[int | None, Field(description="The SMTP reply code.")]
    enhanced: Annotated[str | None, Field(description="The enhanced status code (RFC 3463).")]
    reply: Annotated[str | None, Field(description="The server's words, or what broke.")]
    connect_ms: int
    total_ms: int
    stale: Annotated[bool, Field(description="Told by a worker that had lost the recipient to another: it changed no state.")]


class HitCounts(_Answer):
    """How often the mail was opened, or links of it followed."""

    all: Annotated[int, Field(description="By persons and machines.")]
    by_persons: Annotated[int, Field(description="By persons, as far as is known now: `message.reclassed` corrects what was said first.")]


class RecipientStatus(_Answer):
    """One address of the message, now."""

    id: str
    email: str
    kind: Kind
    state: State
    reason: Annotated[str | None, Field(description="Why it waits, or is held, suppressed, bounced, expired or failed.")]
    next_attempt_at: Annotated[DateTime | None, Field(description="When it is tried (next).")]
    settled_at: Annotated[DateTime | None, Field(description="When it reached its final state.")]
    last_reply: str | None
    maybe_sent: Annotated[
        bool,
        Field(description="It may have been sent twice: its receiver, or a worker of ours, was gone after the last byte without a word."),
    ]
    opens: HitCounts
    clicks: HitCounts
    attempts: list[Attempt]


class TimelineEvent(_Answer):
    """Something that happened to the message or to one of its recipients."""

    id: str
    type: str
    occurred_at: DateTime
    recipient_id: Annotated[str | None, Field(description="Null for what concerns the whole message.")]
    number: Annotated[int, Field(description="The recipient's own count of events.")]
    facts: dict[str, Any]


class _Message(_Answer):
    id: str
    message_id: Annotated[str, Field(description="The Message-ID header of the mail.")]
    sender: Annotated[str, Field(alias="from")]
    subject: str
    stream: Stream
    tags: list[str]
    metadata: dict[str, str]
    created_at: DateTime
    send_at: DateTime | None
    expires_at: DateTime
    size_bytes: Annotated[int, Field(description="Of the mail as MIME; about so, if it is rendered when it is delivered.")]


class MessageStatus(_Message):
    """A message with all that became of it."""

    recipients: list[RecipientStatus]
    timeline: list[TimelineEvent]
    truncated: Annotated[bool, Field(description="There are more attempts or events than are shown.")]


class MessageSummary(_Message):
    """A message in a list."""

    states: Annotated[dict[State, int], Field(description="How many recipients are in which state, as of acceptance or the last attempt.")]


class MessagePage(_Answer):
    """Messages, newest first."""

    messages: list[MessageSummary]
    has_more: bool
    next: Annotated[str | None, Field(description="Give it as `cursor` to go on; null at the end.")]


@router.get(
    "/v1/messages",
    operation_id="listMessages",
    summary="List messages, newest first",
    response_model=MessagePage,
    responses=refusals(401, 403, 422, 503),
)
async def list_messages(
    request: Request,
    sender: Reader,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    created_after: Annotated[str | None, Query(max_length=40, description="From this time on (RFC 3339 with offset).")] = None,
    created_before: Annotated[str | None, Query(max_length=40, description="Before this time (RFC 3339 with offset).")] = None,
    recipient: Annotated[
        str | None, Query(max_length=320, description="Messages to this address alone; `states` is then the state of this recipient.")
    ] = None,
) -> Response:
    low = bound_of(read_moment(created_after, "created_after"), UUID(int=0))
    high = bound_of(read_moment(created_before, "created_before"), UUID(int=2**128 - 1))
    after = read_id_cursor(MESSAGES, cursor)
    high = min(high, after) if after is not None else high
    address = _read_address(recipient) if recipient is not None else None
    async with house_of(request).database.hot() as connection:
        if address is None:
            found = await store.history.list_messages(connection, sender.account_id, low, high, limit + 1)
        else:
            found = await store.history.list_messages_to(connection, sender.account_id, low, high, limit + 1, address)
    page, has_more = found[:limit], len(found) > limit
    return answer_json(
        {
            "messages": [{**_message(one.message), "states": one.states} for one in page],
            "has_more": has_more,
            "next": write_id_cursor(MESSAGES, page[-1].message.id) if has_more else None,
        }
    )


@router.get(
    "/v1/messages/{id}",
    operation_id="getMessage",
    summary="What became of a message",
    response_model=MessageStatus,
    responses=refusals(401, 403, 404, 503),
)
async def get_message(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    message_id = read_message_id(id)
    async with house_of(request).database.hot() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        row = await store.history.read_message(connection, sender.account_id, message_id)
        if row is None:
            raise no_message()
        recipients = await store.history.read_recipients(connection, sender.account_id, message_id)
        attempts = await store.history.read_attempts(connection, sender.account_id, message_id, MOST_ATTEMPTS + 1)
        events = await store.events.read_timeline(connection, sender.account_id, message_id, MOST_EVENTS + 1)
        counts = {(one.about, one.type): one for one in await store.events.count_hits(connection, sender.account_id, message_id)}
    tried: dict[UUID, list[dict[str, Any]]] = {}
    for attempt in attempts[:MOST_ATTEMPTS]:
        tried.setdefault(attempt.recipient_id, []).append(_attempt(attempt))
    return answer_json(
        {
            **_message(row),
            "recipients": [_recipient(one, tried.get(one.id, []), counts) for one in recipients],
            "timeline": [_event(event) for event in events[:MOST_EVENTS]],
            "truncated": len(attempts) > MOST_ATTEMPTS or len(events) > MOST_EVENTS,
        }
    )


def read_message_id(text: str) -> UUID:
    """The id in the path; one that cannot be an id is an id that is not there."""
    message_id = parse_public_id("msg", text)
    if message_id is None or not is_message(message_id):
        raise no_message()
    return message_id


def no_message() -> NotFound:
    return NotFound("There is no such message.")


def _read_address(text: str) -> str:
    try:
        if "\ufffd" in text:  # stands for octets that are no UTF-8
            raise ValueError("It is not UTF-8.")
        return parse_mailbox(text)
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("?recipient", "invalid_address", str(error))]) from error


def _message(row: store.history.MessageRow) -> dict[str, Any]:
    return {
        "id": public_id("msg", row.id),
        "message_id": row.rfc_message_id,
        "from": row.from_address,
        "subject": row.subject,
        "stream": row.stream,
        "tags": orjson.Fragment(row.tags),
        "metadata": orjson.Fragment(row.metadata),
        "created_at": time_of(row.id),
        "send_at": row.send_at,
        "expires_at": row.expires_at,
        "size_bytes": row.size_bytes,
    }


Counts = Mapping[tuple[UUID, str], store.events.HitCount]


def _recipient(row: store.history.RecipientRow, attempts: list[dict[str, Any]], counts: Counts) -> dict[str, Any]:
    return {
        "id": public_id("rcp", row.id),
        "email": row.address,
        "kind": row.kind,
        "state": row.state,
        "reason": row.reason,
        "next_attempt_at": row.next_attempt_at,
        "settled_at": row.settled_at,
        "last_reply": row.last_reply,
        "maybe_sent": row.maybe_sent,
        "opens": _counts(counts.get((row.id, EventType.OPENED))),
        "clicks": _counts(counts.get((row.id, EventType.CLICKED))),
        "attempts": attempts,
    }


def _counts(found: store.events.HitCount | None) -> dict[str, int]:
    return {"all": found.all if found else 0, "by_persons": found.by_persons if found else 0}


def _attempt(row: store.history.KeptAttempt) -> dict[str, Any]:
    return {
        "started_at": time_of(row.id),
        "outcome": row.outcome,
        "phase": row.phase,
        "mx": row.mx,
        "ip": row.ip,
        "source": row.source,
        "tls": row.tls,
        "code": row.code,
        "enhanced": row.enhanced,
        "reply": row.reply,
        "connect_ms": row.connect_ms,
        "total_ms": row.total_ms,
        "stale": row.stale,
    }


def _event(row: store.events.TimelineRow) -> dict[str, Any]:
    return {
        "id": public_id("evt", row.id),
        "type": row.type,
        "occurred_at": time_of(row.id),
        "recipient_id": None if is_message(row.about) else public_id("rcp", row.about),
        "number": row.number,
        "facts": orjson.Fragment(row.facts),
    }
