"""/v1/suppressions: addresses that are not sent to, by stream, with the reason. Files of them are `suppression_files`.

`*` stands for all streams. Deleting is reactivation: it is kept with who did it, and shown with the address.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts import suppressions
from app.accounts.credentials import Sender
from app.accounts.suppressions import Entry, key_of, read_entry
from app.api.body import read_fields
from app.api.door import House, RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.api.paging import read_moment, read_suppression_cursor, write_suppression_cursor
from app.errors import FieldError, InvalidRequest, NotFound
from app.events.suppression import Reason
from app.store.ids import askable, public_id, time_of
from app.store.suppressions import EVERY_STREAM, NewSuppression, Place, Reactivation, Suppression

MOST_BODY_BYTES = 1024 * 1024
MOST_ADDED = 1000
MOST_REACTIVATIONS = 100
EXAMPLE = {"suppressions": [{"email": "ada@example.com", "stream": "bulk", "reason": "manual"}]}

router = APIRouter(tags=["suppressions"])
Reader = Annotated[Sender, Depends(allow("suppressions:read"))]
Writer = Annotated[Sender, Depends(allow("suppressions:write"))]
StreamOrAll = Annotated[str, Field(min_length=1, max_length=64, description="A stream, or * for all.", examples=["bulk", "*"])]
ReasonName = Annotated[str, Field(json_schema_extra={"enum": [reason.value for reason in Reason]})]


class SuppressionBody(BaseModel):
    """An address not to send to."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewSuppression")
    email: Annotated[str, Field(max_length=1000, examples=["ada@example.com"])]
    stream: StreamOrAll = EVERY_STREAM
    reason: ReasonName = Reason.MANUAL.value


class SuppressionsBody(BaseModel):
    """Addresses to add. What is there already keeps its reason."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewSuppressions")
    suppressions: Annotated[list[SuppressionBody], Field(min_length=1, max_length=MOST_ADDED, fail_fast=True)]


class AddedSuppressions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    added: int
    known: Annotated[int, Field(description="Those that were there already, or stood twice in the request.")]


class SuppressedAddress(BaseModel):
    """An address on one stream's list, or on that of all."""

    model_config = ConfigDict(extra="forbid")
    email: Annotated[str, Field(description="In lower case: one spelling for all of one mailbox.")]
    stream: StreamOrAll
    reason: ReasonName
    created_at: DateTime
    recipient_id: Annotated[str | None, Field(description="The recipient whose fate or word was the cause.")]
    added_by: Annotated[str | None, Field(description="The id of an API key, or `recipient`; null: a receiver's reply.")]


class ReactivatedAddress(BaseModel):
    """A suppression that was lifted."""

    model_config = ConfigDict(extra="forbid")
    stream: StreamOrAll
    reason: Annotated[str, Field(description="Of the suppression that was lifted.")]
    suppressed_at: DateTime
    lifted_at: DateTime
    lifted_by: Annotated[str, Field(description="The id of an API key, or `recipient`.")]


class SuppressionStatus(BaseModel):
    """What is known of an address. It is not suppressed where there is nothing in `suppressions`."""

    model_config = ConfigDict(extra="forbid")
    email: str
    suppressions: list[SuppressedAddress]
    reactivations: Annotated[list[ReactivatedAddress], Field(description="Newest first.")]


class Reactivated(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reactivated: list[ReactivatedAddress]


class SuppressionPage(BaseModel):
    """Suppressions, newest first."""

    model_config = ConfigDict(extra="forbid")
    suppressions: list[SuppressedAddress]
    has_more: bool
    next: Annotated[str | None, Field(description="Give it as `cursor` to go on; null at the end.")]


BODIES = (SuppressionsBody,)


@router.get(
    "/v1/suppressions",
    operation_id="listSuppressions",
    summary="List suppressions, newest first",
    response_model=SuppressionPage,
    responses=refusals(401, 403, 422, 503),
)
async def list_suppressions(
    request: Request,
    sender: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=700)] = None,
    stream: Annotated[str | None, Query(max_length=64, description="Only this list; `*` is that of all streams.")] = None,
    reason: Annotated[Reason | None, Query(description="Only for this reason.")] = None,
    since: Annotated[str | None, Query(max_length=40, description="Only those made at or after this time (RFC 3339 with offset).")] = None,
) -> Response:
    after = read_suppression_cursor(cursor)
    rows = await _read_page(house_of(request), sender, after, stream, reason, read_moment(since, "since"), limit + 1)
    page, has_more = rows[:limit], len(rows) > limit
    next_page = write_suppression_cursor(Place(page[-1].created_at, page[-1].address, page[-1].stream)) if has_more else None
    return answer_json({"suppressions": [_show(row) for row in page], "has_more": has_more, "next": next_page})


@router.get(
    "/v1/suppressions/{email:path}",
    operation_id="getSuppression",
    summary="What is known of an address",
    response_model=SuppressionStatus,
    responses=refusals(401, 403, 404, 503),
)
async def show_address(request: Request, sender: Reader, email: str) -> Response:
    address = key_of(email)
    async with house_of(request).database.hot() as connection:
        found = await store.suppressions.find_suppressions(connection, sender.account_id, address)
        lifted = await store.suppressions.find_reactivations(connection, sender.account_id, address, MOST_REACTIVATIONS)
    if not found and not lifted:
        raise NotFound("The address is not suppressed.")
    shown = {"email": address, "suppressions": [_show(row) for row in found], "reactivations": [_show_lifted(row) for row in lifted]}
    return answer_json(shown)


async def add_many(request: Request) -> Response:
    """POST /v1/suppressions: all of them, or none when one is wrong."""
    house = house_of(request)
    sender, body = await read_fields(request, SuppressionsBody, MOST_BODY_BYTES, "suppressions:write")
    streams = await names_of_streams(house, sender.account_id)
    rows: list[NewSuppression] = []
    errors: list[FieldError] = []
    for place, one in enumerate(body.suppressions):
        read = read_entry(Entry(one.email, one.stream, one.reason), streams, sender.account_id, sender.key_id)
        if isinstance(read, FieldError):
            errors.append(FieldError(f"#/suppressions/{place}/{read.pointer}", read.code, read.detail))
        else:
            rows.append(read)
    if errors:
        raise InvalidRequest.of_fields(errors)
    async with house.database.hot() as connection:
        added = await suppressions.add(connection, rows)
    return answer_json({"added": added, "known": len(rows) - added})


@router.delete(
    "/v1/suppressions/{email:path}",
    operation_id="reactivateAddress",
    summary="Let an address be sent to again",
    response_model=Reactivated,
    responses=refusals(401, 403, 404, 409, 422, 503),
)
async def reactivate(
    request: Request,
    sender: Writer,
    email: str,
    stream: Annotated[str | None, Query(max_length=64, description="Only this list; left out: all of them.")] = None,
    confirm: Annotated[bool, Query(description="Needed where the reader complained.")] = False,
) -> Response:
    async with house_of(request).database.hot() as connection:
        lifted = await suppressions.lift(
            connection,
            sender.account_id,
            email,
            stream=askable(stream) if stream is not None else None,
            confirm=confirm,
            lifted_by=sender.key_id,
        )
    return answer_json({"reactivated": [_show_lifted(row) for row in lifted]})


router.add_api_route(
    "/v1/suppressions",
    add_many,
    methods=["POST"],
    operation_id="addSuppressions",
    summary="Add suppressions",
    response_model=None,
    responses={
        200: {"model": AddedSuppressions, "description": "They are on the list."},
        **refusals(400, 401, 403, 408, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": json_body(SuppressionsBody, EXAMPLE)},
    route_class_override=RawRoute,
)


async def names_of_streams(house: House, account_id: int) -> frozenset[str]:
    """Archived ones too: their lists stay."""
    async with house.database.reading() as connection:
        return frozenset(row.name for row in await store.streams.list_streams(connection, account_id))


async def _read_page(
    house: House, sender: Sender, after: Place | None, stream: str | None, reason: Reason | None, since: datetime | None, limit: int
) -> list[Suppression]:
    async with house.database.hot() as connection:
        return await store.suppressions.list_suppressions(
            connection,
            sender.account_id,
            after=after,
            stream=askable(stream) if stream is not None else None,
            reason=reason.value if reason is not None else None,
            since=since,
            limit=limit,
        )


def _show(row: Suppression) -> dict[str, Any]:
    return {
        "email": row.address,
        "stream": row.stream,
        "reason": row.reason,
        "created_at": row.created_at,
        "recipient_id": public_id("rcp", row.about) if row.about is not None else None,
        "added_by": row.added_by,
    }


def _show_lifted(row: Reactivation) -> dict[str, Any]:
    return {
        "stream": row.stream,
        "reason": row.reason,
        "suppressed_at": row.suppressed_at,
        "lifted_at": time_of(row.id),
        "lifted_by": row.lifted_by,
    }
