"""/v1/erasures: a person asks to be forgotten, and the account has the address erased.

A worker does it, because a whole history is read for it; here the order is taken and shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import NotFound
from app.feedback.erasure_orders import order_erasure
from app.store.erasure_orders import Order
from app.store.ids import parse_public_id, public_id, time_of

MOST_BODY_BYTES = 16 * 1024
EXAMPLE = {"email": "ada@example.com"}
_SCOPE = "erasures:write"

router = APIRouter(tags=["erasures"])
Writer = Annotated[Sender, Depends(allow(_SCOPE))]


class ErasureBody(BaseModel):
    """Whom to erase. It cannot be undone."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewErasure")
    email: Annotated[str, Field(max_length=1000, examples=["ada@example.com"], description="In any letter case.")]


class ErasedRows(BaseModel):
    """How much was erased."""

    model_config = ConfigDict(extra="forbid")
    recipients: int
    cancelled: Annotated[int, Field(description="Of the recipients: those whose mail waited.")]
    attempts: int
    events: int
    messages: Annotated[int, Field(description="Of which subject, metadata and tags were emptied.")]
    contents: int
    contents_kept: Annotated[int, Field(description="Others of the message wait for it: it stays until its day.")]
    inbound: Annotated[int, Field(description="Mails that came in from the address.")]
    reactivations: int
    webhook_answers: int
    suppressions_kept: Annotated[int, Field(description="They stay, so that the address is not written to again.")]
    in_hand: Annotated[int, Field(description="Recipients that workers have in hand: they follow.")]


class Erasure(BaseModel):
    """An address that is erased, or was."""

    model_config = ConfigDict(extra="forbid")
    id: str
    state: Literal["waiting", "done"]
    email: Annotated[str | None, Field(description="In lower case; null when it is done.")]
    ordered_by: Annotated[str, Field(description="The id of an API key.")]
    ordered_at: DateTime
    finished_at: DateTime | None
    erased: Annotated[ErasedRows | None, Field(description="So far; null before it has begun.")]


BODIES = (ErasureBody,)


async def order_one(request: Request) -> Response:
    """POST /v1/erasures."""
    house = house_of(request)
    sender, body = await read_fields(request, ErasureBody, MOST_BODY_BYTES, _SCOPE)
    async with house.database.hot() as connection:
        order = await order_erasure(connection, sender.account_id, body.email, sender.key_id)
    return answer_json(_show(order), 202)


@router.get(
    "/v1/erasures/{id}",
    operation_id="getErasure",
    summary="How far an erasure is",
    response_model=Erasure,
    responses=refusals(401, 403, 404, 503),
)
async def show_one(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    order_id = parse_public_id("ers", id)
    async with house_of(request).database.hot() as connection:
        order = await store.erasure_orders.find_order(connection, sender.account_id, order_id) if order_id is not None else None
    if order is None:
        raise NotFound("There is no such erasure.")
    return answer_json(_show(order))


router.add_api_route(
    "/v1/erasures",
    order_one,
    methods=["POST"],
    operation_id="eraseAddress",
    summary="Erase a person's address, and what is kept of mail to it",
    status_code=202,
    response_model=None,
    responses={
        202: {"model": Erasure, "description": "It is ordered. One that is open for the address already is the same."},
        **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": json_body(ErasureBody, EXAMPLE)},
    route_class_override=RawRoute,
)


def _show(order: Order) -> dict[str, Any]:
    return {
        "id": public_id("ers", order.id),
        "state": "waiting" if order.finished_at is None else "done",
        "email": order.address,
        "ordered_by": order.ordered_by,
        "ordered_at": time_of(order.id),
        "finished_at": order.finished_at,
        "erased": orjson.loads(order.erased) or None,
    }
