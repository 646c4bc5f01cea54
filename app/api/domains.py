"""GET /v1/domains: the domains the account may send from, with the DNS records to publish. They are given by the operator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.accounts import domains
from app.accounts.credentials import Sender
from app.api.door import allow, house_of
from app.api.message_body import DateTime
from app.api.openapi import refusals

router = APIRouter(tags=["domains"])
Reader = Annotated[Sender, Depends(allow("domains:read"))]


class DnsRecord(BaseModel):
    """A record to publish in the domain's zone."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["TXT"]
    name: str
    value: Annotated[str, Field(description="The whole text; split it into strings of 255 characters where the zone needs that.")]
    purpose: str
    required: bool


class Domain(BaseModel):
    """A domain the account may send from: exactly this name, in From."""

    model_config = ConfigDict(extra="forbid")
    name: str
    created_at: DateTime
    records: list[DnsRecord]


class DomainList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    domains: list[Domain]


@router.get(
    "/v1/domains",
    operation_id="listDomains",
    summary="List sending domains with their DNS records",
    response_model=DomainList,
    responses=refusals(401, 403, 503),
)
async def list_domains(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        found = await domains.list_domains(connection, sender.account_id)
    listed = [{"name": row.name, "created_at": row.created_at, "records": [asdict(record) for record in records]} for row, records in found]
    return Response(orjson.dumps({"domains": listed}, option=orjson.OPT_UTC_Z), media_type="application/json")
