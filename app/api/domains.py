"""/v1/domains: the domains the account may send from, with the DNS records to publish, and the tracking host of each.

Domains are given by the operator; their tracking hosts are set by the account.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.accounts import domains
from app.accounts.credentials import Sender
from app.accounts.tracking_hosts import look_at_host, public_host, set_tracking_host
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import NotFound
from app.store.ids import askable

MOST_BODY_BYTES = 16 * 1024

router = APIRouter(tags=["domains"])
Reader = Annotated[Sender, Depends(allow("domains:read"))]


class DnsRecord(BaseModel):
    """A record to publish in the domain's zone."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["TXT", "CNAME"]
    name: str
    value: Annotated[str, Field(description="The whole text; split it into strings of 255 characters where the zone needs that.")]
    purpose: str
    required: bool


class TrackingHost(BaseModel):
    """The host of the links in a domain's mail."""

    model_config = ConfigDict(extra="forbid")
    host: str
    verified_at: Annotated[DateTime | None, Field(description="Since when it is known to lead here; null: it is not used yet.")]


class TrackingHostBody(BaseModel):
    """The host to set; null takes it away."""

    model_config = ConfigDict(extra="forbid", strict=True)
    host: Annotated[str | None, Field(max_length=253, description="A name below the domain.", examples=["click.shop.example.com"])]


class CheckedTrackingHost(BaseModel):
    """What was set, and what the DNS says of it."""

    model_config = ConfigDict(extra="forbid")
    tracking: TrackingHost | None
    problem: Annotated[str | None, Field(description="Why it could not be verified just now.")]


class Domain(BaseModel):
    """A domain the account may send from: exactly this name, in From."""

    model_config = ConfigDict(extra="forbid")
    name: str
    created_at: DateTime
    tracking: Annotated[TrackingHost | None, Field(description="Null: links lead to the server's own name.")]
    records: list[DnsRecord]


class DomainList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    domains: list[Domain]


BODIES = (TrackingHostBody,)


@router.get(
    "/v1/domains",
    operation_id="listDomains",
    summary="List sending domains with their DNS records",
    response_model=DomainList,
    responses=refusals(401, 403, 503),
)
async def list_domains(request: Request, sender: Reader) -> Response:
    house = house_of(request)
    async with house.database.reading() as connection:
        found = await domains.list_domains(connection, sender.account_id, public_host(house.settings.public_url))
    listed = [
        {
            "name": row.name,
            "created_at": row.created_at,
            "tracking": _tracking(row.tracking_host, row.tracking_verified_at),
            "records": [asdict(record) for record in records],
        }
        for row, records in found
    ]
    return answer_json({"domains": listed})


async def set_one(request: Request) -> Response:
    """PUT /v1/domains/{name}/tracking."""
    house = house_of(request)
    sender, body = await read_fields(request, TrackingHostBody, MOST_BODY_BYTES, "domains:write")
    name = askable(request.path_params["name"]).lower()
    if await house.domains.find(sender.account_id, name) is None:
        raise NotFound("There is no such domain.")
    seen = await look_at_host(house.resolver, name, body.host, house.settings.public_url) if body.host is not None else None
    async with house.database.transaction() as connection:
        found = await set_tracking_host(connection, sender.account_id, name, seen)
    house.domains.forget(sender.account_id, name)
    shown = _tracking(found.host, found.verified_at) if found is not None else None
    return answer_json({"tracking": shown, "problem": found.problem if found is not None else None})


router.add_api_route(
    "/v1/domains/{name}/tracking",
    set_one,
    methods=["PUT"],
    operation_id="setTrackingHost",
    summary="Set the tracking host of a domain, and check it",
    description="Publish the record that GET /v1/domains shows, then send this again: the host is used from when it leads here.",
    response_model=None,
    responses={
        200: {"model": CheckedTrackingHost, "description": "It is set."},
        **refusals(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={
        "parameters": [{"name": "name", "in": "path", "required": True, "description": "The domain.", "schema": {"type": "string"}}],
        "requestBody": json_body(TrackingHostBody, {"host": "click.shop.example.com"}),
    },
    route_class_override=RawRoute,
)


def _tracking(host: str | None, verified_at: datetime | None) -> dict[str, Any] | None:
    return {"host": host, "verified_at": verified_at} if host is not None else None
