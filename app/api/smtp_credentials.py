"""/v1/smtp-credentials: user names and passwords for mail programs and applications that send over SMTP.

A password is shown once, when it is made. Whoever makes a credential makes a way to send: a key needs messages:send too for that.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.accounts.smtp_credentials import (
    MOST_ALLOWED_FROM,
    MOST_NETWORKS,
    MOST_PER_MINUTE,
    Wish,
    check_wish,
    create_smtp_credential,
    revoke_smtp_credential,
)
from app.api.body import read_json
from app.api.door import allow, find_sender, house_of
from app.api.message_body import DateTime
from app.api.openapi import refusals
from app.api.problems import invalid_fields
from app.errors import FieldError, InvalidRequest
from app.mail.header import check_text

MOST_BODY_BYTES = 64 * 1024
EXAMPLE = {"name": "Ada's Outlook", "allowed_from": ["ada@shop.example.com"]}

router = APIRouter(tags=["smtp-credentials"])
Reader = Annotated[Sender, Depends(allow("keys:read"))]
Writer = Annotated[Sender, Depends(allow("keys:write"))]
AllowedFrom = Annotated[
    list[str],
    Field(max_length=MOST_ALLOWED_FROM, description="Addresses and domains that may stand in From. Empty: all of the account's domains."),
]
Networks = Annotated[
    list[str], Field(max_length=MOST_NETWORKS, description="IP addresses and networks (CIDR) it may be used from. Empty: all.")
]
PerMinute = Annotated[int, Field(ge=1, le=MOST_PER_MINUTE)]
Failures = Annotated[
    bool, Field(description="Whether the sender wants to be told of a final failure by mail too. Kept; no such mail is written yet.")
]


class SmtpCredentialBody(BaseModel):
    """A credential to make; user name and password are given by the server."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewSmtpCredential")
    name: Annotated[str, Field(min_length=1, max_length=100, description="What or whom it is for.")]
    allowed_from: AllowedFrom = []
    networks: Networks = []
    recipients_per_minute: Annotated[PerMinute | None, Field(description="Most recipients a minute; null: as many as it can.")] = None
    tells_failures: Failures = True
    stream: Annotated[str | None, Field(description="Stream of its mail, unless a header says otherwise; null: transactional.")] = None


class SmtpCredential(BaseModel):
    """An SMTP credential, without its password."""

    model_config = ConfigDict(extra="forbid")
    user_name: str
    name: str
    allowed_from: AllowedFrom
    networks: Networks
    recipients_per_minute: int | None
    tells_failures: Failures
    stream: str | None
    created_at: DateTime
    last_used_at: Annotated[DateTime | None, Field(description="To some minutes.")]
    revoked_at: DateTime | None


class SmtpCredentialList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    smtp_credentials: list[SmtpCredential]


class CreatedSmtpCredential(SmtpCredential):
    """The only time that the password is shown."""

    password: Annotated[str, Field(description="Keep it, it cannot be read again.")]


BODIES = (SmtpCredentialBody,)
_FIELDS = tuple(name for name in SmtpCredential.model_fields if name != "user_name")
_read_body = TypeAdapter(SmtpCredentialBody).validate_python


@router.get(
    "/v1/smtp-credentials",
    operation_id="listSmtpCredentials",
    summary="List SMTP credentials",
    response_model=SmtpCredentialList,
    responses=refusals(401, 403, 503),
)
async def list_smtp_credentials(request: Request, sender: Reader) -> Response:
    async with house_of(request).database.reading() as connection:
        rows = await store.smtp_credentials.list_smtp_credentials(connection, sender.account_id)
    return _answer({"smtp_credentials": [_shown(row) for row in rows]}, 200)


async def create_one(request: Request) -> Response:
    """POST /v1/smtp-credentials."""
    house = house_of(request)
    sender = await find_sender(request, "keys:write")
    sender.require("messages:send")
    value, _ = await read_json(request, MOST_BODY_BYTES)
    try:
        body = _read_body(value)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_context=False, include_input=False), of_message=False) from error
    try:
        check_text(body.name, "name")
    except ValueError as error:
        raise InvalidRequest(str(error), errors=[FieldError("#/name", "invalid_text", str(error))]) from error
    wish = Wish(body.name, tuple(body.allowed_from), tuple(body.networks), body.recipients_per_minute, body.tells_failures, body.stream)
    wish = check_wish(wish, list(await house.streams.of_account(sender.account_id)))
    async with house.database.transaction() as connection:
        row, password = await create_smtp_credential(connection, house.keyring, sender.account_id, wish)
    return _answer(_shown(row) | {"password": password}, 201)


@router.delete(
    "/v1/smtp-credentials/{user_name}",
    operation_id="revokeSmtpCredential",
    summary="Revoke an SMTP credential",
    status_code=204,
    responses={204: {"description": "It is revoked; SMTP servers forget it within 10 seconds."}, **refusals(401, 403, 404, 503)},
)
async def revoke_one(request: Request, sender: Writer, user_name: str) -> Response:
    async with house_of(request).database.transaction() as connection:
        known = user_name if user_name.isascii() and "\0" not in user_name else ""
        await revoke_smtp_credential(connection, sender.account_id, known)
    return Response(status_code=204)


def _shown(row: Any) -> dict[str, Any]:
    return {"user_name": row.id} | {name: getattr(row, name) for name in _FIELDS}


def _answer(value: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), status, media_type="application/json")
