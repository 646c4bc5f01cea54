"""POST /v1/messages, /v1/messages/batch and /v1/messages/{id}/cancel: how mail enters by HTTP, and how it is taken back.

The first two carry every message: they read the raw body and answer bytes. The 202 is written after the commit, by `submit`
returning. A batch answers each item at its place: 202 when all were accepted, 207 when some were refused; a request that
cannot be read as a batch at all, or that comes while the database is away, is refused whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.api.body import read_json
from app.api.door import House, RawRoute, answer_json, find_sender, header_of, house_of
from app.api.drafting import draft_submission
from app.api.message_body import (
    ACCEPTED_EXAMPLE,
    ADDRESS_MARKS,
    EXAMPLE,
    FIELD_NAMES,
    MOST_BATCH_ITEMS,
    AcceptedMessage,
    BatchBody,
    BatchItem,
    BatchResult,
    CancelledMessage,
    MessageBody,
)
from app.api.message_status import read_message_id
from app.api.openapi import json_body, refusals
from app.api.problems import field_errors, problem_of, request_id_of
from app.errors import Conflict, FieldError, InvalidMessage, InvalidRequest, RelayError, Unavailable
from app.intake.labels import IDEMPOTENCY_KEY, LONGEST_IDEMPOTENCY_KEY, is_idempotency_key
from app.intake.submit import Receipt, Submission
from app.store.ids import public_id
from app.store.states import RecipientState

# Reading and composing is CPU work: between slices of a batch other requests have their turn.
_SLICE = 20
_REPLAYED = {"Idempotent-Replayed": "true"}

SENDING = refusals(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 255 visible ASCII characters. A request with a known key and the same body gets the first one's answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_IDEMPOTENCY_KEY, "pattern": IDEMPOTENCY_KEY},
}
ACCEPTED = {
    "model": AcceptedMessage,
    "description": "It is committed.",
    "headers": {"Idempotent-Replayed": {"$ref": "#/components/headers/Idempotent-Replayed"}},
    "content": {"application/json": {"example": ACCEPTED_EXAMPLE}},
}
_ID_PARAMETER = {"name": "id", "in": "path", "required": True, "description": "`msg_…`", "schema": {"type": "string"}}
BODIES = (MessageBody, BatchBody, BatchItem)

router = APIRouter(tags=["messages"])
_Model = TypeVar("_Model", MessageBody, BatchItem)


async def create_message(request: Request) -> Response:
    """Accept one message: 202 after it is committed."""
    house = house_of(request)
    sender = await find_sender(request, "messages:send")
    value, raw = await read_json(request, house.settings.max_request_bytes)
    key = read_idempotency_key(request)
    body = _check(MessageBody, value)
    body_hash = hashlib.sha256(raw).digest() if key is not None else None
    submission = draft_submission(body, idempotency_key=key, body_hash=body_hash, most_bytes=house.settings.max_message_bytes)
    receipt = await house.intake.submit(sender, submission)
    return answer_receipt(receipt)


async def create_batch(request: Request) -> Response:
    """Accept many messages, each on its own."""
    house = house_of(request)
    sender = await find_sender(request, "messages:send")
    value, _ = await read_json(request, house.settings.max_request_bytes)
    items = _items(value)
    key = read_idempotency_key(request)
    results = await _submit_items(house, sender, items, key)
    away = [result for result in results if isinstance(result, Unavailable)]
    if len(away) == len(results):
        raise away[0]
    request_id = request_id_of(request)
    answers = [_item_answer(result, request_id) for result in results]
    refused = sum(isinstance(result, RelayError) for result in results)
    answer = {"accepted": len(results) - refused, "refused": refused, "results": answers}
    return answer_json(answer, 207 if refused else 202)


async def cancel_message(request: Request) -> Response:
    """Take back what still waits of a message."""
    sender = await find_sender(request, "messages:send")
    message_id = read_message_id(request.path_params["id"])
    house = house_of(request)
    await house.intake.cancel(sender, message_id)
    async with house.database.hot() as connection:
        recipients = await store.history.read_recipients(connection, sender.account_id, message_id)
    if not any(one.state == RecipientState.CANCELLED for one in recipients):
        raise Conflict("It is too late to cancel: every recipient is settled, or being sent to right now.")
    listed = [{"id": public_id("rcp", r.id), "email": r.address, "kind": r.kind, "state": r.state, "reason": r.reason} for r in recipients]
    return answer_json({"id": public_id("msg", message_id), "recipients": listed})


router.add_api_route(
    "/v1/messages",
    create_message,
    methods=["POST"],
    operation_id="sendMessage",
    summary="Send a message",
    status_code=202,
    response_model=None,
    responses={202: ACCEPTED, **SENDING},
    openapi_extra={"parameters": [KEY_PARAMETER], "requestBody": json_body(MessageBody, EXAMPLE)},
    route_class_override=RawRoute,
)
router.add_api_route(
    "/v1/messages/batch",
    create_batch,
    methods=["POST"],
    operation_id="sendBatch",
    summary="Send up to 1,000 messages",
    description="Each item is accepted or refused on its own, and its result stands at its place. With an `Idempotency-Key` K,"
    " the item at place n has the key `K/n`, unless it brings its own.",
    status_code=202,
    response_model=None,
    responses={
        202: {"model": BatchResult, "description": "All items are committed."},
        207: {"model": BatchResult, "description": "Some items were refused, the others are committed."},
        **SENDING,
    },
    openapi_extra={"parameters": [KEY_PARAMETER], "requestBody": json_body(BatchBody, {"messages": [EXAMPLE]})},
    route_class_override=RawRoute,
)
router.add_api_route(
    "/v1/messages/{id}/cancel",
    cancel_message,
    methods=["POST"],
    operation_id="cancelMessage",
    summary="Take back what still waits of a message",
    response_model=None,
    responses={
        200: {"model": CancelledMessage, "description": "What waited is cancelled."},
        **refusals(401, 403, 404, 409, 503),
    },
    openapi_extra={"parameters": [_ID_PARAMETER]},
    route_class_override=RawRoute,
)


async def _submit_items(house: House, sender: Sender, items: list[Any], key: str | None) -> list[Receipt | RelayError]:
    """The fate of each item, at its place."""
    results: list[Receipt | RelayError | None] = []
    submissions: list[Submission] = []
    for place, item in enumerate(items):
        try:
            submissions.append(_read_item(item, f"{key}/{place}" if key is not None else None, house.settings.max_message_bytes))
            results.append(None)
        except RelayError as error:
            results.append(error)
        if place % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
    fates = iter(await house.intake.submit_all(sender, submissions))
    return [next(fates) if result is None else result for result in results]


def _read_item(item: Any, key: str | None, most_bytes: int) -> Submission:
    body = _check(BatchItem, item)
    key = body.idempotency_key or key
    # The item has no bytes of its own in the body: its hash is of one way to write it.
    body_hash = hashlib.sha256(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)).digest() if key is not None else None
    return draft_submission(body, idempotency_key=key, body_hash=body_hash, most_bytes=most_bytes)


def _items(value: Any) -> list[Any]:
    """The items of a batch, unread; the shape around them is checked here."""
    errors: list[FieldError] = []
    items: Any = None
    if not isinstance(value, dict):
        errors.append(FieldError("#", "wrong_type", "It must be an object."))
    else:
        errors += [FieldError("#", "unknown_field", "There is no field but `messages`.")] if value.keys() - {"messages"} else []
        items = value.get("messages")
        if not isinstance(items, list):
            errors.append(FieldError("#/messages", "wrong_type" if "messages" in value else "missing", "It must be a list."))
        elif not 1 <= len(items) <= MOST_BATCH_ITEMS:
            errors.append(FieldError("#/messages", "too_many" if items else "too_few", f"It must have 1 to {MOST_BATCH_ITEMS} items."))
    if errors:
        raise InvalidRequest.of_fields(errors)
    return list(items)


def _check(model: type[_Model], value: Any) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidMessage.of_fields(field_errors(error, ADDRESS_MARKS, FIELD_NAMES)) from error


def read_idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key, if it has one."""
    given = header_of(request, b"idempotency-key")
    if given is None:
        return None
    # RFC 9110 §5.6.2 has no rule for it; the draft (ietf-httpapi-idempotency-key) quotes it, the SDKs in use do not: both are taken.
    if len(given) >= 2 and given[0] == given[-1] == '"':
        given = given[1:-1]
    if not is_idempotency_key(given):
        raise InvalidMessage("The Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return given


def answer_receipt(receipt: Receipt) -> Response:
    """The 202 of one message."""
    return answer_json(_show(receipt), 202, _REPLAYED if receipt.replayed else None)


def _show(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": public_id("msg", receipt.message_id),
        "message_id": receipt.rfc_message_id,
        "recipients": [
            {"id": public_id("rcp", r.id), "email": r.address, "kind": r.kind, "state": r.state.value, "reason": r.reason}
            for r in receipt.recipients
        ],
    }


def _item_answer(result: Receipt | RelayError, request_id: str) -> dict[str, Any]:
    if isinstance(result, RelayError):
        return {"status": "refused", "problem": problem_of(result, request_id)}
    return {"status": "accepted", **_show(result)}
