"""GET /v1/events: everything that happened to the account's mail, in order, by an opaque cursor.

A reader keeps `next` and comes back with it: nothing is skipped and nothing comes twice, whatever was being written meanwhile.
Only events of finished transactions are shown, so an event may appear a moment after its time. A page ends early when its events are large.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.api.door import allow, answer_json, house_of
from app.api.message_body import DateTime, Stream
from app.api.openapi import refusals
from app.api.paging import read_event_cursor, write_event_cursor
from app.events.posts import event_object, octets_of
from app.events.record import EventType
from app.store.events import BEGINNING, Cursor

# A reader of rare types moves on through what it does not want, but not for ever in one request.
_MOST_ROUNDS = 10
_LEAST_READ = 200
MOST_PAGE_OCTETS = 4 * 1024 * 1024

router = APIRouter(tags=["events"])
Reader = Annotated[Sender, Depends(allow("events:read"))]


class Event(BaseModel):
    """An immutable fact about a message or one of its recipients; webhooks carry the same object."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^evt_[0-9a-f]{32}$")]
    type: EventType
    occurred_at: DateTime
    message_id: Annotated[
        str | None, Field(pattern="^msg_[0-9a-f]{32}$", description="Null for what is not about mail (webhook.*, credential.*).")
    ]
    recipient_id: Annotated[str | None, Field(description="Null for what concerns the whole message, or no mail at all.")]
    email: Annotated[str | None, Field(description="The recipient's address.")]
    number: Annotated[int, Field(description="The recipient's own count of events; their order, whatever order they arrive in.")]
    stream: Stream | None
    tags: list[str]
    metadata: dict[str, str]
    facts: Annotated[dict[str, Any], Field(description="What else is known; depends on the type, and may grow.")]


class EventPost(BaseModel):
    """What is posted to a webhook endpoint: one event. Signed after Standard Webhooks."""

    model_config = ConfigDict(extra="forbid")
    type: EventType
    timestamp: DateTime
    data: Event


class EventBatchPost(BaseModel):
    """What is posted to a webhook endpoint with a batch_size above 1: several events."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["batch"]
    timestamp: DateTime
    data: list[Event]


class EventPage(BaseModel):
    """Events, oldest first."""

    model_config = ConfigDict(extra="forbid")
    events: list[Event]
    next: Annotated[str, Field(description="Give it as `after` next time; also when there was nothing new.")]
    has_more: Annotated[bool, Field(description="There is more to read right now.")]


@router.get(
    "/v1/events",
    operation_id="listEvents",
    summary="Read the event feed",
    response_model=EventPage,
    responses=refusals(401, 403, 422, 503),
)
async def list_events(
    request: Request,
    sender: Reader,
    after: Annotated[
        str | None, Query(max_length=100, description="The `next` of an earlier page; from the oldest kept without it.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="A page ends before that when it has 4 MB.")] = 100,
    types: Annotated[list[EventType] | None, Query(max_length=20, description="Only events of these types.")] = None,
) -> Response:
    cursor = read_event_cursor(after) or BEGINNING
    wanted = frozenset(kind.value for kind in types) if types else None
    found, cursor, has_more = await _read(request, sender.account_id, cursor, limit, wanted)
    return answer_json({"events": [event_object(row) for row in found], "next": write_event_cursor(cursor), "has_more": has_more})


async def _read(
    request: Request, account_id: int, cursor: Cursor, limit: int, wanted: frozenset[str] | None
) -> tuple[list[store.events.FeedRow], Cursor, bool]:
    """Up to `limit` wanted events after `cursor`, the cursor behind what was looked at, and whether there is more."""
    found: list[store.events.FeedRow] = []
    octets = 0
    asked = limit if wanted is None else max(limit, _LEAST_READ)
    async with house_of(request).database.hot() as connection:
        for _ in range(_MOST_ROUNDS):
            rows, has_more = await store.events.read_feed(connection, account_id, cursor, asked)
            for row in rows:
                is_wanted = wanted is None or row.type in wanted
                octets += octets_of(row) if is_wanted else 0
                if len(found) == limit or (found and octets > MOST_PAGE_OCTETS):
                    return found, cursor, True
                cursor = row.cursor
                if is_wanted:
                    found.append(row)
            if not has_more:
                return found, cursor, False
            if len(found) == limit:
                break
    return found, cursor, True
