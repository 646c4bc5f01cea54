"""/v1/inbound-routes: the addresses at which the account receives mail."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.accounts.inbound_routes import create_route, delete_route
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import NotFound
from app.store.ids import parse_public_id, public_id

MOST_BODY_BYTES = 16 * 1024
EXAMPLE = {"address": "*@reply.shop.example.com"}

router = APIRouter(tags=["inbound"])
Reader = Annotated[Sender, Depends(allow("inbound:read"))]
Writer = Annotated[Sender, Depends(allow("inbound:write"))]
Address = Annotated[
    str,
    Field(
        max_length=1000,
        description="An address, or `*@` a domain for all that have no route of their own. The domain is the account's, or lies below one.",
        examples=["support@reply.shop.example.com"],
    ),
]


class InboundRouteBody(BaseModel):
    """An address at which to receive."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewInboundRoute")
    address: Address


class InboundRoute(BaseModel):
    """An address at which the account receives."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^rte_[0-9a-f]{32}$")]
    address: Address
    created_at: DateTime


class InboundRouteList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inbound_routes: list[InboundRoute]


BODIES = (InboundRouteBody,)


async def create_one(request: Request) -> Response:
    """POST /v1/inbound-routes."""
    house = house_of(request)
    sender, body = await read_fields(request, InboundRouteBody, MOST_BODY_BYTES, "inbound:write")
    async with house.database.transaction() as connection:
        row = await create_route(connection, sender.account_id, body.address)
    return answer_json(_shown(row), 201)


@router.get(
    "/v1/inbound-routes",
    operation_id="listInboundRoutes",
    summary="List inbound routes",
    response_model=InboundRouteList,
    responses=refusals(401, 403, 503),
)
async def list_all(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        rows = await store.inbound_routes.list_routes(connection, sender.account_id)
    return answer_json({"inbound_routes": [_shown(row) for row in rows]})


@router.get(
    "/v1/inbound-routes/{id}",
    operation_id="getInboundRoute",
    summary="Get an inbound route",
    response_model=InboundRoute,
    responses=refusals(401, 403, 404, 503),
)
async def show_one(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    route_id = parse_public_id("rte", id)
    async with house_of(request).database.reading() as connection:
        row = await store.inbound_routes.find_route(connection, sender.account_id, route_id) if route_id is not None else None
    if row is None:
        raise NotFound("There is no such inbound route.")
    return answer_json(_shown(row))


@router.delete(
    "/v1/inbound-routes/{id}",
    operation_id="deleteInboundRoute",
    summary="Delete an inbound route",
    status_code=204,
    responses={
        204: {"description": "It is deleted; SMTP servers forget it within 10 seconds. Mail that came in stays."},
        **refusals(401, 403, 404, 503),
    },
)
async def delete_one(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002
    route_id = parse_public_id("rte", id)
    if route_id is None:
        raise NotFound("There is no such inbound route.")
    async with house_of(request).database.transaction() as connection:
        await delete_route(connection, sender.account_id, route_id)
    return Response(status_code=204)


router.add_api_route(
    "/v1/inbound-routes",
    create_one,
    methods=["POST"],
    operation_id="createInboundRoute",
    summary="Receive mail at an address",
    status_code=201,
    response_model=None,
    responses={
        201: {"model": InboundRoute, "description": "It holds; SMTP servers know it within 10 seconds."},
        **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": json_body(InboundRouteBody, EXAMPLE)},
    route_class_override=RawRoute,
)


def _shown(row: Any) -> dict[str, Any]:
    return {"id": public_id("rte", row.id), "address": f"{row.local}@{row.domain}", "created_at": row.created_at}
