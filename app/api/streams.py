"""/v1/streams: the account's kinds of mail. `transactional` and `bulk` are always there.

A stream keeps its class, and is archived, not deleted. An archived stream takes no new mail; what waits in the queue still goes, and
its suppressions stay.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.accounts.streams import CLASS_NAMES, LANE_CLASSES, STREAM_NAME, add_stream, change_stream
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import FieldError, InvalidRequest, NotFound
from app.mail.header import check_text
from app.mail.unsubscribe import is_list_id
from app.store.streams import StreamRow

MOST_BODY_BYTES = 16 * 1024
EXAMPLE = {"name": "newsletter", "class": "bulk", "title": "The monthly letter", "description": "What is new in the shop, once a month."}

router = APIRouter(tags=["streams"])
Reader = Annotated[Sender, Depends(allow("streams:read"))]

Name = Annotated[str, Field(min_length=1, max_length=64, description="Lower-case letters, digits, - and _.", examples=["newsletter"])]
Class = Annotated[
    Literal["transactional", "bulk"],
    Field(description="Transactional mail goes first. Bulk mail can be unsubscribed from. It cannot be changed."),
]
Title = Annotated[str, Field(min_length=1, max_length=100, description="Shown to recipients: in List-Id and on the unsubscribe page.")]
Description = Annotated[str, Field(max_length=500, description="Shown to recipients on the preference page.")]
TrackOpens = Annotated[bool, Field(description="Whether opens are tracked, where the message does not say otherwise.")]
TrackClicks = Annotated[bool, Field(description="Whether clicks are tracked, where the message does not say otherwise.")]
RetentionDays = Annotated[int, Field(ge=0, le=3650, description="Days after which content is dropped; null: as the server is set.")]
MaxAgeHours = Annotated[float, Field(ge=0.1, le=8784, description="Age at which mail is given up; null: as the server is set.")]
ListId = Annotated[
    str, Field(min_length=3, max_length=255, description="List-Id without its brackets; null: made of the stream's name and the domain.")
]


class StreamBody(BaseModel):
    """A stream to make."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewStream")
    name: Name
    class_: Annotated[Class, Field(alias="class")]
    title: Title
    description: Description = ""
    track_opens: TrackOpens = True
    track_clicks: TrackClicks = True
    content_retention_days: RetentionDays | None = None
    max_age_hours: MaxAgeHours | None = None
    list_id: ListId | None = None


class StreamChange(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: Title = ""
    description: Description = ""
    track_opens: TrackOpens = True
    track_clicks: TrackClicks = True
    content_retention_days: RetentionDays | None = None
    max_age_hours: MaxAgeHours | None = None
    list_id: ListId | None = None
    archived: Annotated[bool, Field(description="true: it takes no new mail; false: it does again.")] = False


class Stream(BaseModel):
    """A kind of mail of the account."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    class_: Annotated[Class, Field(alias="class")]
    title: Title
    description: Description
    track_opens: TrackOpens
    track_clicks: TrackClicks
    content_retention_days: int | None
    max_age_hours: float | None
    list_id: str | None
    created_at: DateTime
    archived_at: DateTime | None


class StreamList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    streams: list[Stream]


BODIES = (StreamBody, StreamChange)
_WRITING = refusals(400, 401, 403, 408, 409, 413, 415, 422, 503)


@router.get("/v1/streams", operation_id="listStreams", summary="List streams", response_model=StreamList, responses=refusals(401, 403, 503))
async def list_streams(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        rows = await store.streams.list_streams(connection, sender.account_id)
    return answer_json({"streams": [_show(row) for row in rows]})


@router.get(
    "/v1/streams/{name}",
    operation_id="getStream",
    summary="See a stream",
    response_model=Stream,
    responses=refusals(401, 403, 404, 503),
)
async def show_stream(request: Request, sender: Reader, name: str) -> Response:
    async with house_of(request).database.reading() as connection:
        row = await store.streams.find_stream(connection, sender.account_id, _read_name(name))
    if row is None:
        raise _not_found()
    return answer_json(_show(row))


async def create_one(request: Request) -> Response:
    """POST /v1/streams."""
    house = house_of(request)
    sender, body = await read_fields(request, StreamBody, MOST_BODY_BYTES, "streams:write")
    values = body.model_dump(exclude={"name", "class_"})
    _check(values, name=body.name)
    async with house.database.transaction() as connection:
        row = await add_stream(connection, sender.account_id, body.name, {"class": LANE_CLASSES[body.class_], **values})
    house.streams.forget(sender.account_id)
    return answer_json(_show(row), 201, {"Location": f"/v1/streams/{row.name}"})


async def change_one(request: Request) -> Response:
    """PATCH /v1/streams/{name}."""
    house = house_of(request)
    sender, body = await read_fields(request, StreamChange, MOST_BODY_BYTES, "streams:write")
    name = _read_name(request.path_params["name"])
    changes = body.model_dump(exclude_unset=True)
    _check(changes)
    async with house.database.transaction() as connection:
        row = await change_stream(connection, sender.account_id, name, changes)
    house.streams.forget(sender.account_id)
    return answer_json(_show(row))


router.add_api_route(
    "/v1/streams",
    create_one,
    methods=["POST"],
    operation_id="createStream",
    summary="Make a stream",
    status_code=201,
    response_model=None,
    responses={201: {"model": Stream, "description": "The stream."}, **_WRITING},
    openapi_extra={"requestBody": json_body(StreamBody, EXAMPLE)},
    route_class_override=RawRoute,
)
router.add_api_route(
    "/v1/streams/{name}",
    change_one,
    methods=["PATCH"],
    operation_id="changeStream",
    summary="Change or archive a stream",
    description="Other servers follow within 10 seconds. Mail that was accepted keeps what held when it was accepted.",
    response_model=None,
    responses={200: {"model": Stream, "description": "The stream as it is now."}, **_WRITING, **refusals(404)},
    openapi_extra={
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": json_body(StreamChange, {"track_opens": False}),
    },
    route_class_override=RawRoute,
)


def _check(values: dict[str, Any], name: str | None = None) -> None:
    """What the types cannot say."""
    errors = []
    if name is not None and STREAM_NAME.fullmatch(name) is None:
        detail = "It must be of lower-case letters, digits, - and _, and begin and end with a letter or digit."
        errors.append(FieldError("#/name", "invalid_name", detail))
    for field in ("title", "description"):
        try:
            check_text(values.get(field, ""), field)
        except ValueError as error:
            errors.append(FieldError(f"#/{field}", "invalid_text", str(error)))
    if "title" in values and not values["title"].strip():
        errors.append(FieldError("#/title", "too_short", "It must have a character that is not a space."))
    if values.get("list_id") is not None and not is_list_id(values["list_id"]):
        errors.append(FieldError("#/list_id", "invalid_list_id", "It must be of words with dots between, like news.example.com."))
    if errors:
        raise InvalidRequest.of_fields(errors)


def _show(row: StreamRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "class": CLASS_NAMES[row.lane_class],
        "title": row.title,
        "description": row.description,
        "track_opens": row.track_opens,
        "track_clicks": row.track_clicks,
        "content_retention_days": row.content_retention_days,
        "max_age_hours": row.max_age_hours,
        "list_id": row.list_id,
        "created_at": row.created_at,
        "archived_at": row.archived_at,
    }


def _read_name(text: str) -> str:
    """The name in the path; one that cannot be a name is one that is not there."""
    if STREAM_NAME.fullmatch(text) is None:
        raise _not_found()
    return text


def _not_found() -> NotFound:
    return NotFound("There is no such stream.")
