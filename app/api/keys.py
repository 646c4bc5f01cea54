"""/v1/keys: the account's API keys. A key is shown once, when it is made, and can give no scope that its maker does not have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import ALL, SCOPES, Sender, create_key, revoke_key
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import FieldError, Forbidden, InvalidRequest
from app.mail.header import check_text
from app.mail.times import read_time
from app.store.ids import askable

MOST_BODY_BYTES = 16 * 1024
EXAMPLE = {"name": "shop backend", "scopes": ["messages:send", "messages:read"]}

router = APIRouter(tags=["keys"])
Reader = Annotated[Sender, Depends(allow("keys:read"))]
Writer = Annotated[Sender, Depends(allow("keys:write"))]
ScopeName = Annotated[str, Field(json_schema_extra={"enum": [ALL, *SCOPES]})]


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewKey")
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=len(SCOPES) + 1, description="What it allows; `*` is everything.")]
    expires_at: DateTime | None = None


class Key(BaseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(extra="forbid")
    id: str
    name: str
    scopes: list[ScopeName]
    created_at: DateTime
    expires_at: DateTime | None
    last_used_at: Annotated[DateTime | None, Field(description="To some minutes.")]
    revoked_at: DateTime | None


class KeyList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[Key]


class CreatedKey(BaseModel):
    """The only time that the key itself is shown."""

    model_config = ConfigDict(extra="forbid")
    id: str
    name: str
    scopes: list[ScopeName]
    expires_at: DateTime | None
    key: Annotated[str, Field(description="The API key: keep it, it cannot be read again.")]


BODIES = (KeyBody,)


@router.get("/v1/keys", operation_id="listKeys", summary="List API keys", response_model=KeyList, responses=refusals(401, 403, 503))
async def list_keys(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        rows = await store.accounts.list_keys(connection, sender.account_id)
    names = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
    return answer_json({"keys": [{name: getattr(row, name) for name in names} for row in rows]})


async def create_one(request: Request) -> Response:
    """POST /v1/keys."""
    house = house_of(request)
    sender, body = await read_fields(request, KeyBody, MOST_BODY_BYTES, "keys:write")
    expires_at = _check(body, sender)
    async with house.database.transaction() as connection:
        key_id, token = await create_key(
            connection, house.keyring, sender.account_id, name=body.name, scopes=body.scopes, expires_at=expires_at
        )
    made = {"id": key_id, "name": body.name, "scopes": sorted(set(body.scopes)), "expires_at": expires_at, "key": token}
    return answer_json(made, 201)


@router.delete(
    "/v1/keys/{id}",
    operation_id="revokeKey",
    summary="Revoke an API key",
    status_code=204,
    responses={204: {"description": "It is revoked; other servers forget it within 10 seconds."}, **refusals(401, 403, 404, 503)},
)
async def revoke_one(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    house = house_of(request)
    async with house.database.transaction() as connection:
        await revoke_key(connection, sender.account_id, askable(id))
    house.authenticator.forget(id)
    return Response(status_code=204)


router.add_api_route(
    "/v1/keys",
    create_one,
    methods=["POST"],
    operation_id="createKey",
    summary="Make an API key",
    status_code=201,
    response_model=None,
    responses={
        201: {"model": CreatedKey, "description": "The key, for the only time."},
        **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": json_body(KeyBody, EXAMPLE)},
    route_class_override=RawRoute,
)


def _check(body: KeyBody, sender: Sender) -> datetime | None:
    """What the types cannot say; returns when the key expires."""
    errors = [
        FieldError(f"#/scopes/{place}", "unknown_value", "There is no such scope.")
        for place, scope in enumerate(body.scopes)
        if scope != ALL and scope not in SCOPES
    ]
    expires_at = None
    try:
        check_text(body.name, "name")
    except ValueError as error:
        errors.append(FieldError("#/name", "invalid_text", str(error)))
    try:
        expires_at = read_time(body.expires_at) if body.expires_at is not None else None
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ValueError("It lies in the past.")
    except ValueError as error:
        errors.append(FieldError("#/expires_at", "invalid_time", str(error)))
    if errors:
        raise InvalidRequest.of_fields(errors)
    if ALL not in sender.scopes and not sender.scopes.issuperset(body.scopes):
        raise Forbidden("A key can only give scopes that it has itself.")
    return expires_at
