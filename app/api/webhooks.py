"""/v1/webhooks: where the account's events are posted to.

The signing secret is shown once, when the endpoint is made. An endpoint is told everything from then on; it keeps its place in
the event log when it is changed or disabled, so that enabling it again misses nothing, unless it is asked to go on from now. How
posts are made, tried again and given up stands in events.webhooks; what else is done with an endpoint in webhook_actions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.accounts.streams import unknown_stream
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.api.problems import offer_nearest
from app.errors import Conflict, FieldError, InvalidRequest, NotFound
from app.events.filters import FAMILIES, is_known
from app.events.posts import SECRET_PURPOSE, new_secret, show_secret
from app.events.record import EventType
from app.events.urls import MOST_URL_LENGTH, check_url
from app.store.ids import new_id, parse_public_id, public_id, time_of
from app.store.webhooks import MOST_COUNTED, MOST_COUNTED_IN_LIST, MOST_ENDPOINTS, Endpoint, Lag

MOST_BODY_BYTES = 16 * 1024
MOST_BATCH_SIZE = 500
EXAMPLE = {"url": "https://shop.example.com/hooks/mail", "events": ["message.delivered", "message.bounced"]}

router = APIRouter(tags=["webhooks"])
Reader = Annotated[Sender, Depends(allow("webhooks:read"))]
Writer = Annotated[Sender, Depends(allow("webhooks:write"))]

EVENT_NAMES = [*FAMILIES, *(kind.value for kind in EventType)]
EventName = Annotated[str, Field(json_schema_extra={"enum": EVENT_NAMES})]
Url = Annotated[
    str,
    Field(
        max_length=MOST_URL_LENGTH,
        description="An https:// URL on a public host. Redirects are not followed.",
        json_schema_extra={"format": "uri"},
    ),
]
Events = Annotated[
    list[EventName] | None,
    Field(min_length=1, max_length=len(EVENT_NAMES), description="The types to post, or whole families of them; null: all."),
]
Streams = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]] | None,
    Field(min_length=1, max_length=20, description="Of events about mail those of these streams of the account; null: all."),
]
Tags = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]] | None,
    Field(min_length=1, max_length=20, description="Of events about mail those of messages with any of these tags; null: all."),
]
BatchSize = Annotated[
    int,
    Field(
        ge=1,
        le=MOST_BATCH_SIZE,
        description="1: a post is one event, `{type, timestamp, data: {event}}`. More: a post is up to so many,"
        ' `{type: "batch", timestamp, data: [{event}, …]}`.',
    ),
]


class EndpointBody(BaseModel):
    """An endpoint to make."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewWebhook")
    url: Url
    events: Events = None
    streams: Streams = None
    tags: Tags = None
    batch_size: BatchSize = 1


class EndpointChange(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True, title="WebhookChange")
    url: Url = ""
    events: Events = None
    streams: Streams = None
    tags: Tags = None
    batch_size: BatchSize = 1
    enabled: bool = True
    resume: Annotated[
        Literal["cursor", "now"],
        Field(description="Where it goes on: `cursor`, with everything that it missed; `now`, without that and without what waits."),
    ] = "cursor"


class WebhookLag(BaseModel):
    """What the endpoint has not been told yet."""

    model_config = ConfigDict(extra="forbid")
    events: Annotated[
        int, Field(description=f"Events that were not posted yet; counted up to {MOST_COUNTED}, in a list up to {MOST_COUNTED_IN_LIST}.")
    ]
    seconds: Annotated[float, Field(description="The age of the oldest of them.")]
    waiting_posts: Annotated[int, Field(description="Posts that failed and are tried again.")]
    next_retry_at: DateTime | None


class Webhook(BaseModel):
    """A webhook endpoint, without its secret."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^whk_[0-9a-f]{32}$")]
    url: Url
    events: Events
    streams: Streams
    tags: Tags
    batch_size: BatchSize
    state: Annotated[
        Literal["active", "down", "disabled"],
        Field(description="down: it failed many times in a row, and is only probed until it answers again."),
    ]
    enabled: bool
    disabled_reason: str | None
    disabled_at: DateTime | None
    old_secret_until: Annotated[DateTime | None, Field(description="Until then the secret before the last rotation signs too.")]
    created_at: DateTime
    down_since: DateTime | None
    resumes_at: Annotated[DateTime | None, Field(description="No post before this time: the next probe, or the receiver's Retry-After.")]
    failures: Annotated[int, Field(description="Failed posts since the last good one.")]
    last_error: str | None
    last_error_at: DateTime | None
    last_success_at: DateTime | None
    given_up_events: Annotated[int, Field(description="Events that were never taken; they stay in the feed, /v1/events.")]
    lag: WebhookLag


class CreatedWebhook(Webhook):
    """The only time that the secret is shown."""

    secret: Annotated[str, Field(description="Signs every post (Standard Webhooks, v1): keep it, it cannot be read again.")]


class WebhookList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    webhooks: list[Webhook]


_COLUMNS = {"events": "event_types"}
BODIES = (EndpointBody, EndpointChange)
_WRITING = refusals(400, 401, 403, 408, 413, 415, 422, 503)


async def create_endpoint(request: Request) -> Response:
    """It is told everything that happens from now on. The secret that signs its posts is in this answer alone."""
    house = house_of(request)
    sender, body = await read_fields(request, EndpointBody, MOST_BODY_BYTES, "webhooks:write")
    url, events = _check(body.url, body.events, allow_private=house.settings.webhook_allow_private)
    secret = new_secret()
    async with house.database.transaction() as connection:
        await _check_streams(connection, sender.account_id, body.streams)
        made = await store.webhooks.insert_endpoint(
            connection,
            endpoint_id=new_id(),
            account_id=sender.account_id,
            url=url,
            secret=house.keyring.seal(secret, account_id=sender.account_id, purpose=SECRET_PURPOSE),
            event_types=events,
            streams=_unique(body.streams),
            tags=_unique(body.tags),
            batch_size=body.batch_size,
        )
    if made is None:
        raise Conflict(f"This account has {MOST_ENDPOINTS} webhook endpoints, which is the most: change or delete one of them.")
    shown = show_endpoint(made, Lag(0, None, 0, None)) | {"secret": show_secret(secret)}
    return answer_json(shown, 201, {"Location": f"/v1/webhooks/{shown['id']}"})


@router.get(
    "/v1/webhooks",
    operation_id="listWebhooks",
    summary="List webhook endpoints",
    response_model=WebhookList,
    responses=refusals(401, 403, 503),
)
async def list_endpoints(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        found = await store.webhooks.list_endpoints(connection, sender.account_id)
        shown = [show_endpoint(one, await store.webhooks.read_lag(connection, one.id, MOST_COUNTED_IN_LIST)) for one in found]
    return answer_json({"webhooks": shown})


@router.get(
    "/v1/webhooks/{id}",
    operation_id="getWebhook",
    summary="See a webhook endpoint, and how far behind it is",
    response_model=Webhook,
    responses=refusals(401, 403, 404, 503),
)
async def show_one(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    async with house_of(request).database.reading() as connection:
        found = await store.webhooks.find_endpoint(connection, sender.account_id, read_endpoint_id(id))
        if found is None:
            raise no_endpoint()
        return answer_json(show_endpoint(found, await store.webhooks.read_lag(connection, found.id)))


async def change_endpoint(request: Request) -> Response:
    """Another URL, or enabling, lets what failed be posted again at once. The place in the event log stays, unless `resume` says now."""
    house = house_of(request)
    sender, body = await read_fields(request, EndpointChange, MOST_BODY_BYTES, "webhooks:write")
    endpoint_id = read_endpoint_id(request.path_params["id"])
    given = body.model_fields_set
    url, events = _check(body.url if "url" in given else None, body.events, allow_private=house.settings.webhook_allow_private)
    values = {
        "url": url,
        "events": events,
        "streams": _unique(body.streams),
        "tags": _unique(body.tags),
        "batch_size": body.batch_size,
        "enabled": body.enabled,
    }
    changes = {_COLUMNS.get(field, field): value for field, value in values.items() if field in given}
    # Another URL is another receiver; enabling means: try again now.
    fresh_start = "url" in given or ("enabled" in given and body.enabled)
    async with house.database.transaction() as connection:
        await _check_streams(connection, sender.account_id, body.streams)
        found = await store.webhooks.update_endpoint(
            connection, sender.account_id, endpoint_id, changes, fresh_start=fresh_start, from_now=body.resume == "now"
        )
        if found is None:
            raise no_endpoint()
        lag = await store.webhooks.read_lag(connection, found.id)
    house.wakes.tell_events([sender.account_id])
    return answer_json(show_endpoint(found, lag))


@router.delete(
    "/v1/webhooks/{id}",
    operation_id="deleteWebhook",
    summary="Delete a webhook endpoint",
    status_code=204,
    responses={204: {"description": "It is gone, and what waited to be posted to it."}, **refusals(401, 403, 404, 503)},
)
async def delete_endpoint(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    async with house_of(request).database.transaction() as connection:
        if not await store.webhooks.delete_endpoint(connection, sender.account_id, read_endpoint_id(id)):
            raise no_endpoint()
    return Response(status_code=204)


router.add_api_route(
    "/v1/webhooks",
    create_endpoint,
    methods=["POST"],
    operation_id="createWebhook",
    summary="Make a webhook endpoint",
    status_code=201,
    response_model=None,
    responses={
        201: {"model": CreatedWebhook, "description": "The endpoint, with its secret for the only time."},
        **_WRITING,
        **refusals(409),
    },
    openapi_extra={"requestBody": json_body(EndpointBody, EXAMPLE)},
    route_class_override=RawRoute,
)
router.add_api_route(
    "/v1/webhooks/{id}",
    change_endpoint,
    methods=["PATCH"],
    operation_id="changeWebhook",
    summary="Change, disable or enable a webhook endpoint",
    response_model=None,
    responses={200: {"model": Webhook, "description": "The endpoint as it is now."}, **_WRITING, **refusals(404)},
    openapi_extra={
        "parameters": [{"name": "id", "in": "path", "required": True, "description": "`whk_…`", "schema": {"type": "string"}}],
        "requestBody": json_body(EndpointChange, {"enabled": True}),
    },
    route_class_override=RawRoute,
)


def _check(url: str | None, events: list[str] | None, *, allow_private: bool) -> tuple[str, list[str] | None]:
    """What the types cannot say; returns the URL and the event types as they are kept."""
    errors = [unknown_event(f"#/events/{place}", kind) for place, kind in enumerate(events or ()) if not is_known(kind)]
    checked = ""
    try:
        checked = check_url(url, allow_private=allow_private) if url is not None else ""
    except ValueError as error:
        errors.append(FieldError("#/url", "invalid_url", str(error)))
    if errors:
        raise InvalidRequest.of_fields(errors)
    return checked, None if events is None else sorted(set(events))


async def _check_streams(connection: AsyncConnection, account_id: int, names: list[str] | None) -> None:
    """A name that no stream has, nor an archived one, would be told nothing, and nobody would know why."""
    if not names:
        return
    known = [stream.name for stream in await store.streams.list_streams(connection, account_id)]
    if errors := [unknown_stream(f"#/streams/{place}", known) for place, name in enumerate(names) if name not in known]:
        raise InvalidRequest.of_fields(errors)


def _unique(names: list[str] | None) -> list[str] | None:
    return None if names is None else sorted(set(names))


def show_endpoint(endpoint: Endpoint, lag: Lag) -> dict[str, Any]:
    """An endpoint as the API shows it."""
    oldest = lag.oldest_event_id
    old_until = endpoint.old_secret_until
    age = max((datetime.now(UTC) - time_of(oldest)).total_seconds(), 0.0) if oldest is not None else 0.0
    return {
        "id": public_id("whk", endpoint.id),
        "url": endpoint.url,
        "events": endpoint.event_types,
        "streams": endpoint.streams,
        "tags": endpoint.tags,
        "batch_size": endpoint.batch_size,
        "state": "disabled" if not endpoint.enabled else "down" if endpoint.down_since else "active",
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at,
        "old_secret_until": old_until if old_until is not None and old_until > datetime.now(UTC) else None,
        "created_at": endpoint.created_at,
        "down_since": endpoint.down_since,
        "resumes_at": endpoint.resume_at,
        "failures": endpoint.failures,
        "last_error": endpoint.last_error,
        "last_error_at": endpoint.last_error_at,
        "last_success_at": endpoint.last_success_at,
        "given_up_events": endpoint.given_up,
        "lag": {
            "events": lag.events,
            "seconds": round(age, 3),
            "waiting_posts": lag.retries,
            "next_retry_at": lag.next_retry_at,
        },
    }


def read_endpoint_id(text: str) -> UUID:
    """The id in a path; NotFound when it cannot be one."""
    found = parse_public_id("whk", text)
    if found is None:
        raise no_endpoint()
    return found


def no_endpoint() -> NotFound:
    """The refusal of an endpoint that is not the account's."""
    return NotFound("There is no such webhook endpoint.")


def unknown_event(pointer: str, kind: str) -> FieldError:
    return FieldError(pointer, "unknown_value", f"There is no such event type{offer_nearest(kind, EVENT_NAMES)}")
