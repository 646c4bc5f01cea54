"""POST /v1/messages/raw: a finished mail (RFC 5322) enters by HTTP, and is answered like one that we compose.

The body is the mail. Who gets it is said by `?to=`, once for each, or else by its own To, Cc and Bcc. All else that a message may say
is said by its X-Staffetta-* fields (intake.controls). Problems point at header fields ("#/headers/From") and parameters ("?to").
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.body import read_mail
from app.api.door import RawRoute, find_sender, house_of
from app.api.messages import ACCEPTED, KEY_PARAMETER, SENDING, answer_receipt, read_idempotency_key
from app.errors import FieldError, InvalidRequest, RelayError
from app.intake.raw import EnvelopeRecipient, RawSubmission

# What admission says of the fields of a JSON body, said of the header field that has its place here.
_POINTERS = {
    "#/from": "#/headers/From",
    "#/subject": "#/headers/Subject",
    "#/stream": "#/headers/X-Staffetta-Stream",
    "#/send_at": "#/headers/X-Staffetta-Send-At",
    "#/expires_at": "#/headers/X-Staffetta-Expires-At",
    "#/template": "#/headers/X-Staffetta-Template",
    "#/template_version": "#/headers/X-Staffetta-Template-Version",
    "#/variables": "#/headers/X-Staffetta-Variables",
    "#/locale": "#/headers/X-Staffetta-Locale",
}
EXAMPLE = """\
From: Shop <orders@shop.example.test>\r
To: Ada Lovelace <ada@example.com>\r
Subject: Your order 1042\r
X-Staffetta-Tag: order-confirmation\r
\r
Thank you, Ada.\r
"""
_MOST_QUERY_BYTES = 256 * 1024
_TO_PARAMETER = {
    "name": "to",
    "in": "query",
    "required": False,
    "description": "Who gets the mail, once for each; without it those in To, Cc and Bcc.",
    "schema": {"type": "array", "items": {"type": "string"}},
    "style": "form",
    "explode": True,
}
_MAIL = {"required": True, "content": {"message/rfc822": {"schema": {"type": "string"}, "example": EXAMPLE}}}

router = APIRouter(tags=["messages"])


async def create_raw(request: Request) -> Response:
    """Accept one finished mail: 202 after it is committed."""
    house = house_of(request)
    sender = await find_sender(request, "messages:send")
    raw = await read_mail(request, house.settings.max_request_bytes)
    recipients = _recipients(request, house.settings.max_recipients)
    try:
        receipt = await house.intake.submit_raw(sender, RawSubmission(raw, "", recipients), idempotency_key=read_idempotency_key(request))
    except RelayError as error:
        error.errors = tuple(_pointed(one, "?to" if recipients else "#/headers/To") for one in error.errors)
        raise
    return answer_receipt(receipt)


router.add_api_route(
    "/v1/messages/raw",
    create_raw,
    methods=["POST"],
    operation_id="sendRaw",
    summary="Send a finished mail",
    description="The body is a mail as RFC 5322 has it. It leaves as it came, but for what is asked: Bcc and X-Staffetta-* fields are"
    " taken out, Date and Message-ID added where they are missing, tracking put in where the stream tracks, and it is signed."
    " X-Staffetta-* fields say what the JSON of `POST /v1/messages` says beside the mail.",
    status_code=202,
    response_model=None,
    responses={202: ACCEPTED, **SENDING},
    openapi_extra={"parameters": [KEY_PARAMETER, _TO_PARAMETER], "requestBody": _MAIL},
    route_class_override=RawRoute,
)


def _recipients(request: Request, most: int) -> tuple[EnvelopeRecipient, ...]:
    """The envelope of the query. There may be a few more than are allowed: admission counts those that are different."""
    query = request.scope.get("query_string", b"")[:_MOST_QUERY_BYTES].decode("latin-1")
    try:
        given = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=2 * most)
    except ValueError as error:
        detail = f"The query is not readable as UTF-8, or names more than {2 * most} recipients."
        raise InvalidRequest.of_fields([FieldError("?to", "invalid_value", detail)]) from error
    if any(name != "to" for name, _ in given):
        raise InvalidRequest("There is no parameter but `to`.", errors=[FieldError("?to", "unknown_field", "There is no other parameter.")])
    return tuple(EnvelopeRecipient(value) for _, value in given)


def _pointed(error: FieldError, to: str) -> FieldError:
    if error.pointer == "#/to":
        return replace(error, pointer=to)
    first, slash, rest = error.pointer.removeprefix("#/").partition("/")
    pointer = _POINTERS.get(f"#/{first}")
    return replace(error, pointer=f"{pointer}{slash}{rest}") if pointer is not None else error
