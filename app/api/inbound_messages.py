"""/v1/inbound-messages: mail that came in for the account, what was read of it, its octets and its files.

What strangers wrote is never shown as a page of ours: raw mail and files are downloads, whatever type they say they have.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.api.door import allow, answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import refusals
from app.api.paging import INBOUND, read_id_cursor, write_id_cursor
from app.errors import NotFound
from app.feedback.inbound_reading import sent_object
from app.mail.inbound import Attachment, read_attachment
from app.store.ids import parse_public_id, public_id, time_of
from app.store.inbound import Shown

_DOWNLOAD = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private"}

router = APIRouter(tags=["inbound"])
Reader = Annotated[Sender, Depends(allow("inbound:read"))]
Verdict = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    email: str
    name: str


class InboundEnvelope(BaseModel):
    """What the other host said in the dialogue."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    from_: Annotated[str, Field(alias="from", description="MAIL FROM; empty for the null sender.")]
    to: str
    client_ip: str
    helo: str


class SpfVerdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    result: Verdict
    domain: Annotated[str, Field(description="Of MAIL FROM; of the host's name where there is no sender.")]


class DkimSignature(BaseModel):
    model_config = ConfigDict(extra="forbid")
    result: Verdict
    domain: str
    selector: str
    reason: Annotated[str, Field(description="Why it did not verify.")]


class DkimVerdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    result: Annotated[Verdict, Field(description="Of the best signature.")]
    signatures: list[DkimSignature]


class DmarcVerdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    result: Verdict
    domain: Annotated[str, Field(description="Of From.")]
    policy: Annotated[Literal["none", "quarantine", "reject"] | None, Field(description="What the domain asks for when it fails.")]


class Authentication(BaseModel):
    """Whether the mail is from whom it says. Nothing is refused for it."""

    model_config = ConfigDict(extra="forbid")
    spf: SpfVerdict
    dkim: DkimVerdict
    dmarc: DmarcVerdict


class InReplyTo(BaseModel):
    """The sent message that it answers."""

    model_config = ConfigDict(extra="forbid")
    message_id: Annotated[str, Field(pattern="^msg_[0-9a-f]{32}$")]
    recipient_id: Annotated[str | None, Field(description="The recipient who wrote; null when that cannot be told.")]


class InboundMessage(BaseModel):
    """A mail that came in."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^inb_[0-9a-f]{32}$")]
    route_id: str
    state: Annotated[
        Literal["received", "read", "unreadable"], Field(description="`received`: it is read within seconds; the rest is null until then.")
    ]
    received_at: DateTime
    envelope: InboundEnvelope
    size_bytes: int
    email: Annotated[str | None, Field(description="The first address of From.")]
    subject: str | None
    automatic: Annotated[bool | None, Field(description="A program wrote it: an autoreply, a notice, a list.")]
    attachment_count: int | None
    authentication: Authentication | None
    in_reply_to: InReplyTo | None


class InboundAttachment(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int
    name: Annotated[str, Field(description="As the mail has it, without directories and controls. Trust neither it nor the type.")]
    content_type: str
    content_id: str | None
    size_bytes: int
    url: str


class InboundContent(BaseModel):
    """What the mail says. All of it is its author's word."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    from_: Annotated[list[Person], Field(alias="from")]
    to: list[Person]
    cc: list[Person]
    reply_to: list[Person]
    subject: str
    date: Annotated[str, Field(description="As it is written.")]
    rfc_message_id: str
    in_reply_to: list[str]
    references: list[str]
    text: Annotated[str, Field(description="Made from the HTML where the mail has none.")]
    html: Annotated[str, Field(description="As it came: clean it before you show it.")]
    reply_text: Annotated[str, Field(description="The text without what it quotes, and without the signature.")]
    attachments: list[InboundAttachment]
    complete: Annotated[bool, Field(description="False: it has more parts than are looked at; see the raw mail.")]


class ReadInboundMessage(InboundMessage):
    """A mail with its content."""

    content: Annotated[InboundContent | None, Field(description="Null until it is read, and after its retention.")]


class InboundPage(BaseModel):
    """Newest first."""

    model_config = ConfigDict(extra="forbid")
    inbound_messages: list[InboundMessage]
    next: Annotated[str | None, Field(description="Give it as `cursor`; null at the end.")]


@router.get(
    "/v1/inbound-messages",
    operation_id="listInboundMessages",
    summary="List mail that came in",
    response_model=InboundPage,
    responses=refusals(401, 403, 422, 503),
)
async def list_page(
    request: Request,
    sender: Reader,
    cursor: Annotated[str | None, Query(max_length=100, description="The `next` of an earlier page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    before = read_id_cursor(INBOUND, cursor)
    async with house_of(request).database.hot() as connection:
        rows = await store.inbound.list_inbound(connection, sender.account_id, before, limit + 1)
    end = write_id_cursor(INBOUND, rows[limit - 1].id) if len(rows) > limit else None
    return answer_json({"inbound_messages": [_shown(row) for row in rows[:limit]], "next": end})


@router.get(
    "/v1/inbound-messages/{id}",
    operation_id="getInboundMessage",
    summary="Get a mail that came in",
    response_model=ReadInboundMessage,
    responses=refusals(401, 403, 404, 503),
)
async def show_one(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    async with house_of(request).database.hot() as connection:
        row = await _find(connection, sender.account_id, id)
        parsed = await store.inbound.read_parsed(connection, sender.account_id, row)
    return answer_json(_shown(row) | {"content": _content(row, orjson.loads(parsed)) if parsed is not None else None})


@router.get(
    "/v1/inbound-messages/{id}/raw",
    operation_id="getRawInboundMessage",
    summary="Get the octets of a mail that came in",
    response_class=Response,
    responses={200: {"description": "The mail as it came.", "content": {"message/rfc822": {}}}, **refusals(401, 403, 404, 503)},
)
async def show_raw(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002
    async with house_of(request).database.hot() as connection:
        row = await _find(connection, sender.account_id, id)
        raw = await store.inbound.read_raw(connection, sender.account_id, row)
    if raw is None:
        raise NotFound("Its content is no longer kept.")
    return _download(raw, f"{id}.eml", "message/rfc822")


@router.get(
    "/v1/inbound-messages/{id}/attachments/{number}",
    operation_id="getInboundAttachment",
    summary="Get a file of a mail that came in",
    response_class=Response,
    responses={200: {"description": "The file.", "content": {"application/octet-stream": {}}}, **refusals(401, 403, 404, 503)},
)
async def show_attachment(request: Request, sender: Reader, id: str, number: int) -> Response:  # noqa: A002
    async with house_of(request).database.hot() as connection:
        row = await _find(connection, sender.account_id, id)
        parsed = await store.inbound.read_parsed(connection, sender.account_id, row)
        files = orjson.loads(parsed)["attachments"] if parsed is not None else []
        if not 0 < number <= len(files):
            raise NotFound("There is no such attachment, or it is no longer kept.")
        raw = await store.inbound.read_raw(connection, sender.account_id, row)
    if raw is None:
        raise NotFound("Its content is no longer kept.")
    attachment = Attachment(**files[number - 1])
    octets = await asyncio.to_thread(read_attachment, raw, attachment)
    return _download(octets, attachment.name, "application/octet-stream")


async def _find(connection: Any, account_id: int, public: str) -> Shown:
    message_id = parse_public_id("inb", public)
    row = await store.inbound.find_inbound(connection, account_id, message_id) if message_id is not None else None
    if row is None:
        raise NotFound("There is no such mail.")
    return row


def _shown(row: Shown) -> dict[str, Any]:
    return {
        "id": public_id("inb", row.id),
        "route_id": public_id("rte", row.route_id),
        "state": row.state,
        "received_at": time_of(row.id),
        "envelope": {"from": row.envelope_from, "to": row.envelope_to, "client_ip": row.client_ip, "helo": row.helo},
        "size_bytes": row.size_bytes,
        "email": row.from_address,
        "subject": row.subject,
        "automatic": row.automatic,
        "attachment_count": row.attachments,
        "authentication": orjson.Fragment(row.verdicts) if row.verdicts is not None else None,
        "in_reply_to": sent_object((row.sent_message_id, row.sent_recipient_id)),
    }


def _content(row: Shown, parsed: dict[str, Any]) -> dict[str, Any]:
    url = f"/v1/inbound-messages/{public_id('inb', row.id)}/attachments"
    people = {name: [{"email": one["mailbox"], "name": one["name"]} for one in parsed[name]] for name in ("to", "cc", "reply_to")}
    return {
        "from": [{"email": one["mailbox"], "name": one["name"]} for one in parsed["authors"]],
        **people,
        **{name: parsed[name] for name in ("subject", "date", "in_reply_to", "references", "text", "html", "reply_text", "complete")},
        "rfc_message_id": parsed["message_id"],
        "attachments": [
            {"number": one["number"], "name": one["name"], "content_type": one["content_type"], "content_id": one["content_id"] or None,
             "size_bytes": one["size_bytes"], "url": f"{url}/{one['number']}"}
            for one in parsed["attachments"]
        ],
    }  # fmt: skip


def _download(octets: bytes, name: str, media_type: str) -> Response:
    # RFC 6266 with RFC 8187: the name in UTF-8, and nothing of it raw in the header.
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(octets, headers={"Content-Disposition": disposition, **_DOWNLOAD}, media_type=media_type)
