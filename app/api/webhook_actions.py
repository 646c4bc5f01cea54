"""What is done with a webhook endpoint: its secret changed, a test posted, events of the past posted once more.

Rotation: the new secret is in the answer alone, and the one before it signs too for the overlap. A test is posted by this process,
now, and its answer told. A replay is only ordered here; the worker that posts for the endpoint does it (events.replays).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.api.body import check_fields, read_fields, read_json
from app.api.door import RawRoute, answer_json, find_sender, header_of, house_of
from app.api.message_body import DateTime, State
from app.api.openapi import json_body, refusals
from app.api.webhook_attempts import WebhookAttempt, show_attempt
from app.api.webhooks import (
    EVENT_NAMES,
    MOST_BODY_BYTES,
    CreatedWebhook,
    EventName,
    Reader,
    Writer,
    no_endpoint,
    read_endpoint_id,
    show_endpoint,
    unknown_event,
)
from app.errors import Conflict, FieldError, InvalidRequest, NotFound
from app.events.filters import is_known
from app.events.posts import SECRET_PURPOSE, new_secret, show_secret
from app.events.replays import MOST_NAMED_EVENTS, MOST_REPLAYED_EVENTS
from app.events.secrets import open_secrets
from app.events.trial import post_test
from app.mail.times import read_time
from app.store.ids import new_id, parse_public_id, public_id, time_of
from app.store.webhook_replays import Replay

MOST_OVERLAP_SECONDS = 7 * 86400
ROTATE_EXAMPLE = {"overlap_seconds": 86400}
REPLAY_EXAMPLE = {"from": "2030-06-01T09:00:00+02:00", "to": "2030-06-01T12:00:00+02:00", "events": ["message.bounced"]}
_MOST_REPLAY_BYTES = 128 * 1024

router = APIRouter(tags=["webhooks"])
_ID_PARAMETER = {"name": "id", "in": "path", "required": True, "description": "`whk_…`", "schema": {"type": "string"}}


class Rotation(BaseModel):
    """A change of the signing secret."""

    model_config = ConfigDict(extra="forbid", strict=True, title="WebhookRotation")
    overlap_seconds: Annotated[
        int, Field(ge=0, le=MOST_OVERLAP_SECONDS, description="How long the secret until now signs too; 0: not any more.")
    ] = 86400


class ReplayBody(BaseModel):
    """Events to post once more: those named in `event_ids`, or all of a time, narrowed by the other members."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewWebhookReplay", populate_by_name=True)
    event_ids: Annotated[
        list[Annotated[str, Field(max_length=40)]] | None, Field(min_length=1, max_length=MOST_NAMED_EVENTS, description="`evt_…`")
    ] = None
    from_: Annotated[DateTime | None, Field(alias="from", description="The beginning of the time; it is required without event_ids.")] = (
        None
    )
    to: Annotated[DateTime | None, Field(description="The end of the time; now when it is not given.")] = None
    events: Annotated[list[EventName] | None, Field(min_length=1, max_length=len(EVENT_NAMES))] = None
    states: Annotated[
        list[State] | None, Field(min_length=1, max_length=20, description="Only events about recipients that stand like this now.")
    ] = None


class WebhookReplay(BaseModel):
    """Events of the past that are posted once more, in the background."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^rpl_[0-9a-f]{32}$")]
    state: Literal["running", "done", "cancelled"]
    event_ids: list[str] | None
    from_: Annotated[DateTime, Field(alias="from")]
    to: DateTime
    events: list[str] | None
    states: list[str] | None
    posted_events: Annotated[int, Field(description=f"So far; {MOST_REPLAYED_EVENTS} at most, then it ends.")]
    failed_posts: Annotated[int, Field(description="Posts of it that failed at first; they are tried again by the usual schedule.")]
    created_at: DateTime
    finished_at: DateTime | None


class WebhookReplayList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    replays: list[WebhookReplay]


BODIES = (Rotation, ReplayBody)
_WRITING = refusals(400, 401, 403, 404, 408, 413, 415, 422, 503)


async def rotate_secret(request: Request) -> Response:
    """A body is not needed."""
    house = house_of(request)
    sender = await find_sender(request, "webhooks:write")
    endpoint_id = read_endpoint_id(request.path_params["id"])
    body = check_fields(Rotation, await _read_optional(request))
    secret = new_secret()
    async with house.database.transaction() as connection:
        found = await store.webhooks.rotate_secret(
            connection,
            sender.account_id,
            endpoint_id,
            house.keyring.seal(secret, account_id=sender.account_id, purpose=SECRET_PURPOSE),
            overlap=timedelta(seconds=body.overlap_seconds),
        )
        if found is None:
            raise no_endpoint()
        lag = await store.webhooks.read_lag(connection, found.id)
    return answer_json(show_endpoint(found, lag) | {"secret": show_secret(secret)})


async def _read_optional(request: Request) -> Any:
    if (header_of(request, b"content-length") or "0") == "0" and header_of(request, b"transfer-encoding") is None:
        return {}
    value, _ = await read_json(request, MOST_BODY_BYTES)
    return value


_under_test: set[UUID] = set()


@router.post(
    "/v1/webhooks/{id}/test",
    operation_id="testWebhook",
    summary="Post a test event, and see what the receiver answers",
    response_model=WebhookAttempt,
    responses=refusals(401, 403, 404, 409, 503),
)
async def try_endpoint(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    """A `webhook.test` event, whatever the endpoint wants and whether it is enabled or not. It is not tried again."""
    house = house_of(request)
    endpoint_id = read_endpoint_id(id)
    async with house.database.reading() as connection:
        found = await store.webhooks.find_endpoint(connection, sender.account_id, endpoint_id)
        sealed = await store.webhooks.read_secrets(connection, sender.account_id, endpoint_id)
    if found is None:
        raise no_endpoint()
    secrets = open_secrets(house.keyring, sender.account_id, sealed)
    if not secrets:
        raise Conflict("The signing secret does not open with this server's keyring; rotate it.")
    if endpoint_id in _under_test:
        raise Conflict("A test of this endpoint is under way.")
    _under_test.add(endpoint_id)
    try:
        attempt = await post_test(found, secrets, house.settings)
    finally:
        _under_test.discard(endpoint_id)
    async with house.database.hot() as connection:
        await store.webhook_attempts.insert_attempts(connection, [attempt])
    return answer_json(show_attempt(attempt))


async def create_replay(request: Request) -> Response:
    """Posted in the background, beside what happens now; a single event keeps its webhook-id."""
    house = house_of(request)
    sender, body = await read_fields(request, ReplayBody, _MOST_REPLAY_BYTES, "webhooks:write")
    endpoint_id = read_endpoint_id(request.path_params["id"])
    event_ids, from_at, to_at = _check(body)
    async with house.database.transaction() as connection:
        found = await store.webhooks.find_endpoint(connection, sender.account_id, endpoint_id)
        if found is None:
            raise no_endpoint()
        made = await store.webhook_replays.insert_replay(
            connection,
            replay_id=new_id(),
            account_id=sender.account_id,
            endpoint_id=endpoint_id,
            event_ids=event_ids,
            from_at=from_at,
            to_at=to_at,
            event_types=body.events,
            states=list(body.states) if body.states is not None else None,
            most_events=MOST_REPLAYED_EVENTS,
        )
    if made is None:
        raise Conflict("A replay of this endpoint is running: wait for its end, or cancel it.")
    house.wakes.tell_events([sender.account_id])
    return answer_json(_show(made), 202)


@router.get(
    "/v1/webhooks/{id}/replays",
    operation_id="listWebhookReplays",
    summary="List replays, newest first",
    response_model=WebhookReplayList,
    responses=refusals(401, 403, 404, 503),
)
async def list_replays(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002
    endpoint_id = read_endpoint_id(id)
    async with house_of(request).database.reading() as connection:
        if await store.webhooks.find_endpoint(connection, sender.account_id, endpoint_id) is None:
            raise no_endpoint()
        found = await store.webhook_replays.list_replays(connection, sender.account_id, endpoint_id)
    return answer_json({"replays": [_show(each) for each in found]})


@router.delete(
    "/v1/webhooks/{id}/replays/{replay_id}",
    operation_id="cancelWebhookReplay",
    summary="End a replay before its time",
    response_model=WebhookReplay,
    responses=refusals(401, 403, 404, 503),
)
async def cancel_replay(request: Request, sender: Writer, id: str, replay_id: str) -> Response:  # noqa: A002
    """What it posted stays posted, and what failed of that is still tried again."""
    wanted = parse_public_id("rpl", replay_id)
    endpoint_id = read_endpoint_id(id)
    async with house_of(request).database.transaction() as connection:
        found = await store.webhook_replays.cancel_replay(connection, sender.account_id, endpoint_id, wanted) if wanted else None
    if found is None:
        raise NotFound("There is no such replay.")
    return answer_json(_show(found))


router.add_api_route(
    "/v1/webhooks/{id}/rotate",
    rotate_secret,
    methods=["POST"],
    operation_id="rotateWebhookSecret",
    summary="Change the signing secret; the old one signs too for a while",
    response_model=None,
    responses={200: {"model": CreatedWebhook, "description": "The endpoint, with its new secret for the only time."}, **_WRITING},
    openapi_extra={"parameters": [_ID_PARAMETER], "requestBody": json_body(Rotation, ROTATE_EXAMPLE) | {"required": False}},
    route_class_override=RawRoute,
)
router.add_api_route(
    "/v1/webhooks/{id}/replays",
    create_replay,
    methods=["POST"],
    operation_id="createWebhookReplay",
    summary="Post events of the past once more",
    status_code=202,
    response_model=None,
    responses={202: {"model": WebhookReplay, "description": "It is ordered."}, **_WRITING, **refusals(409)},
    openapi_extra={"parameters": [_ID_PARAMETER], "requestBody": json_body(ReplayBody, REPLAY_EXAMPLE)},
    route_class_override=RawRoute,
)


def _check(body: ReplayBody) -> tuple[list[UUID] | None, datetime, datetime]:
    """What the types cannot say; returns the events that are named, and the time they all lie in."""
    errors: list[FieldError] = []
    ids = [parse_public_id("evt", text) for text in body.event_ids or ()]
    errors += [FieldError(f"#/event_ids/{n}", "invalid_id", "It is not an event's id.") for n, one in enumerate(ids) if one is None]
    errors += [unknown_event(f"#/events/{n}", kind) for n, kind in enumerate(body.events or ()) if not is_known(kind)]
    now = datetime.now(UTC)
    times: dict[str, datetime] = {}
    for name, text in (("from", body.from_), ("to", body.to)):
        try:
            times[name] = read_time(text) if text is not None else now
        except ValueError as error:
            errors.append(FieldError(f"#/{name}", "invalid_time", str(error)))
    if body.event_ids is not None:
        errors += [
            FieldError(f"#/{name}", "not_with_event_ids", "It narrows a time; events that are named are posted in any case.")
            for name, value in (("from", body.from_), ("to", body.to), ("events", body.events), ("states", body.states))
            if value is not None
        ]
    elif body.from_ is None:
        errors.append(FieldError("#/from", "missing", "Name events in event_ids, or the time that they lie in."))
    elif len(times) == 2 and times["from"] >= times["to"]:
        errors.append(FieldError("#/to", "invalid_time", "It lies before the beginning."))
    if errors:
        raise InvalidRequest.of_fields(errors)
    named = [one for one in ids if one is not None]
    if not named:
        return None, max(times["from"], datetime(1970, 1, 1, tzinfo=UTC)), min(times["to"], now)
    try:
        moments = [time_of(one) for one in named]
    except (ValueError, OverflowError):
        raise InvalidRequest.of_fields([FieldError("#/event_ids", "invalid_id", "There is no such event.")]) from None
    return named, min(moments), max(moments) + timedelta(milliseconds=1)


def _show(replay: Replay) -> dict[str, Any]:
    return {
        "id": public_id("rpl", replay.id),
        "state": replay.state,
        "event_ids": None if replay.event_ids is None else [public_id("evt", one) for one in replay.event_ids],
        "from": replay.from_at,
        "to": replay.to_at,
        "events": replay.event_types,
        "states": replay.states,
        "posted_events": replay.posted_events,
        "failed_posts": replay.failed_posts,
        "created_at": replay.created_at,
        "finished_at": replay.finished_at,
    }
