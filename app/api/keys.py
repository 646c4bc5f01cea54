"""/v1/keys: the account's API keys. A key is shown once, when it is made, and can give no scope that its maker does not have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

from app import store
from app.accounts.credentials import ALL, SCOPES, Sender, create_key, revoke_key
from app.api.body import read_json
from app.api.door import allow, find_sender, house_of
from app.api.message_body import DateTime
from app.api.openapi import refusals
from app.api.problems import invalid_fields
from app.errors import FieldError, Forbidden, InvalidRequest
from app.mail.header import check_text
from app.mail.times import read_time

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


_read_key = TypeAdapter(KeyBody).validate_python


@router.get("/v1/keys", operation_id="listKeys", summary="List API keys", response_model=KeyList, responses=refusals(401, 403, 503))
async def list_keys(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        rows = await store.accounts.list_keys(connection, sender.account_id)
    names = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
    return _answer({"keys": [{name: getattr(row, name) for name in names} for row in rows]}, 200)


async def create_one(request: Request) -> Response:
    """POST /v1/keys."""
    house = house_of(request)
    sender = await find_sender(request, "keys:write")
    value, _ = await read_json(request, MOST_BODY_BYTES)
    try:
        body = _read_key(value)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_context=False, include_input=False), of_message=False) from error
    expires_at = _check(body, sender)
    async with house.database.transaction() as connection:
        key_id, token = await create_key(
            connection, house.keyring, sender.account_id, name=body.name, scopes=body.scopes, expires_at=expires_at
        )
    made = {"id": key_id, "name": body.name, "scopes": sorted(set(body.scopes)), "expires_at": expires_at, "key": token}
    return _answer(made, 201)


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
        await revoke_key(connection, sender.account_id, id if id.isascii() and "\0" not in id else "")
    house.authenticator.forget(id)
    return Response(status_code=204)


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


def _answer(value: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), status, media_type="application/json")
