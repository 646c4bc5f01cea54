"""/v1/smtp-credentials: user names and passwords for mail programs and applications that send over SMTP.

A password is shown once, when it is made. Whoever makes a credential makes a way to send: a key needs messages:send too for that.
When one does what it never does, its mail is held, and waits for a word: release or discard (accounts.decisions).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts import decisions
from app.accounts.credentials import Sender
from app.accounts.smtp_credentials import (
    MOST_ALLOWED_FROM,
    MOST_NETWORKS,
    MOST_PER_HOUR,
    MOST_PER_MINUTE,
    Wish,
    check_wish,
    create_smtp_credential,
    renew_password,
    revoke_smtp_credential,
)
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import json_body, refusals
from app.errors import FieldError, InvalidRequest
from app.mail.header import check_text
from app.store.ids import askable, time_of
from app.store.incidents import mark_of

MOST_BODY_BYTES = 64 * 1024
EXAMPLE = {"name": "Ada's Outlook", "allowed_from": ["ada@shop.example.com"]}

router = APIRouter(tags=["smtp-credentials"])
Reader = Annotated[Sender, Depends(allow("keys:read"))]
Writer = Annotated[Sender, Depends(allow("keys:write"))]
_TO_SEND = ("keys:write", "messages:send")
SendingWriter = Annotated[Sender, Depends(allow(*_TO_SEND))]
AllowedFrom = Annotated[
    list[str],
    Field(max_length=MOST_ALLOWED_FROM, description="Addresses and domains that may stand in From. Empty: all of the account's domains."),
]
Networks = Annotated[
    list[str], Field(max_length=MOST_NETWORKS, description="IP addresses and networks (CIDR) it may be used from. Empty: all.")
]
PerMinute = Annotated[int, Field(ge=1, le=MOST_PER_MINUTE)]
PerHour = Annotated[int, Field(ge=1, le=MOST_PER_HOUR)]
_TRUSTED = (
    "So many recipients an hour are right for it, and hold nothing, whatever its habits. Null: 1,000 in its first day (a setting of the"
    " server), then by its habits. Releasing what was held raises it."
)
Failures = Annotated[
    bool, Field(description="Whether the sender is told of a final failure by mail too; what NOTIFY says of a recipient goes before.")
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
    trusted_per_hour: Annotated[PerHour | None, Field(description=_TRUSTED)] = None


class Held(BaseModel):
    """What a credential did that it never does. Its mail is accepted and held until somebody has decided."""

    model_config = ConfigDict(extra="forbid")
    incident_id: Annotated[str, Field(pattern="^inc_[0-9a-f]{32}$", description="Reasons of held recipients begin with it.")]
    reason: str
    since: DateTime


class Decided(BaseModel):
    """A decision on what a credential's incident holds. It is carried out within seconds, however much that is."""

    model_config = ConfigDict(extra="forbid")
    incident_id: str
    decision: Literal["release", "discard"]
    recipients: Annotated[int, Field(description="So many were held.")]


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
    trusted_per_hour: Annotated[int | None, Field(description=_TRUSTED)]
    held: Annotated[Held | None, Field(description="Null: its mail goes out.")]
    created_at: DateTime
    last_used_at: Annotated[DateTime | None, Field(description="To some minutes.")]
    revoked_at: DateTime | None


class SmtpCredentialList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    smtp_credentials: list[SmtpCredential]


class CreatedSmtpCredential(SmtpCredential):
    """The only time that the password is shown."""

    password: Annotated[str, Field(description="Keep it, it cannot be read again.")]


class RenewedPassword(BaseModel):
    """The only time that the password is shown."""

    model_config = ConfigDict(extra="forbid")
    user_name: str
    password: Annotated[str, Field(description="Keep it, it cannot be read again.")]


BODIES = (SmtpCredentialBody,)
_FIELDS = tuple(name for name in SmtpCredential.model_fields if name not in {"user_name", "held"})


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
    return answer_json({"smtp_credentials": [_shown(row) for row in rows]})


async def create_one(request: Request) -> Response:
    """POST /v1/smtp-credentials."""
    house = house_of(request)
    sender, body = await read_fields(request, SmtpCredentialBody, MOST_BODY_BYTES, *_TO_SEND)
    try:
        check_text(body.name, "name")
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("#/name", "invalid_text", str(error))]) from error
    wish = Wish(
        body.name, tuple(body.allowed_from), tuple(body.networks), body.recipients_per_minute, body.tells_failures, body.stream,
        body.trusted_per_hour,
    )  # fmt: skip
    wish = check_wish(wish, list(await house.streams.of_account(sender.account_id)))
    async with house.database.transaction() as connection:
        row, password = await create_smtp_credential(connection, house.keyring, sender.account_id, wish)
    return answer_json(_shown(row) | {"password": password}, 201)


@router.delete(
    "/v1/smtp-credentials/{user_name}",
    operation_id="revokeSmtpCredential",
    summary="Revoke an SMTP credential",
    status_code=204,
    responses={204: {"description": "It is revoked; SMTP servers forget it within 10 seconds."}, **refusals(401, 403, 404, 503)},
)
async def revoke_one(request: Request, sender: Writer, user_name: str) -> Response:
    async with house_of(request).database.transaction() as connection:
        await revoke_smtp_credential(connection, sender.account_id, askable(user_name))
    return Response(status_code=204)


@router.post(
    "/v1/smtp-credentials/{user_name}/password",
    operation_id="renewSmtpPassword",
    summary="Give an SMTP credential another password",
    response_model=RenewedPassword,
    responses={
        200: {"description": "The new password, for the only time; the old one is over within 10 seconds."},
        **refusals(401, 403, 404, 503),
    },
)
async def renew_one(request: Request, sender: SendingWriter, user_name: str) -> Response:
    house = house_of(request)
    async with house.database.transaction() as connection:
        password = await renew_password(connection, house.keyring, sender.account_id, askable(user_name))
    return answer_json({"user_name": user_name, "password": password})


@router.post(
    "/v1/smtp-credentials/{user_name}/release",
    operation_id="releaseHeldMail",
    summary="Let go what an SMTP credential's incident holds, and trust it with as much",
    status_code=202,
    response_model=Decided,
    responses=refusals(401, 403, 409, 503),
)
async def release_held(request: Request, sender: SendingWriter, user_name: str) -> Response:
    return await _decide(request, sender, user_name, decisions.release)


@router.post(
    "/v1/smtp-credentials/{user_name}/discard",
    operation_id="discardHeldMail",
    summary="Cancel what an SMTP credential's incident holds",
    description="Renew the password or revoke the credential first: else whoever has it goes on.",
    status_code=202,
    response_model=Decided,
    responses=refusals(401, 403, 409, 503),
)
async def discard_held(request: Request, sender: SendingWriter, user_name: str) -> Response:
    return await _decide(request, sender, user_name, decisions.discard)


router.add_api_route(
    "/v1/smtp-credentials",
    create_one,
    methods=["POST"],
    operation_id="createSmtpCredential",
    summary="Make an SMTP credential",
    status_code=201,
    response_model=None,
    responses={
        201: {"model": CreatedSmtpCredential, "description": "User name and password, for the only time."},
        **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": json_body(SmtpCredentialBody, EXAMPLE)},
    route_class_override=RawRoute,
)


async def _decide(request: Request, sender: Sender, user_name: str, decision: decisions.Decision) -> Response:
    async with house_of(request).database.hot() as connection, connection.transaction():
        incident, held = await decision(connection, sender.account_id, askable(user_name), sender.key_id)
    return answer_json({"incident_id": mark_of(incident.id), "decision": incident.decision, "recipients": held}, 202)


def _shown(row: Any) -> dict[str, Any]:
    incident = getattr(row, "incident_id", None)  # a new one has none
    held = {"incident_id": mark_of(incident), "reason": row.incident_reason, "since": time_of(incident)} if incident is not None else None
    return {"user_name": row.id} | {name: getattr(row, name) for name in _FIELDS} | {"held": held}
