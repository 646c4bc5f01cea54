"""All routes of the API, put into the application.

Those that carry messages come first and are RawRoutes of the application itself: the router looks at them before all others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Depends, FastAPI

from app.api import (
    domains,
    erasures,
    events,
    inbound_messages,
    inbound_routes,
    keys,
    message_body,
    message_status,
    messages,
    problems,
    raw_messages,
    smtp_credentials,
    streams,
    suppression_files,
    suppressions,
    templates,
    webhook_actions,
    webhook_attempts,
    webhooks,
)
from app.api.door import Door, RawRoute, refuse_unknown_parameters
from app.api.openapi import describe, json_body, refusals

_SENDING = refusals(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 255 visible ASCII characters. A request with a known key and the same body gets the first one's answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_TO_PARAMETER = {
    "name": "to",
    "in": "query",
    "required": False,
    "description": "Who gets the mail, once for each; without it those in To, Cc and Bcc.",
    "schema": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
    "style": "form",
    "explode": True,
}
_MAIL = {
    "required": True,
    "content": {"message/rfc822": {"schema": {"type": "string"}, "example": raw_messages.EXAMPLE}},
}
_ID_PARAMETER = {"name": "id", "in": "path", "required": True, "description": "`msg_…`", "schema": {"type": "string"}}
_REPLAYED = {"Idempotent-Replayed": {"$ref": "#/components/headers/Idempotent-Replayed"}}
_BODIES = (
    message_body.MessageBody,
    message_body.BatchBody,
    message_body.BatchItem,
    keys.KeyBody,
    *streams.BODIES,
    *suppressions.BODIES,
    *erasures.BODIES,
    *domains.BODIES,
    *webhooks.BODIES,
    *webhook_actions.BODIES,
    *smtp_credentials.BODIES,
    *inbound_routes.BODIES,
    *templates.BODIES,
)

_POSTS = (events.EventPost, events.EventBatchPost)


def mount(app: FastAPI) -> None:
    """Routes, problems, the door and the document."""
    _mount_sending(app)
    # Files before addresses: what follows /v1/suppressions/ is an address otherwise.
    for resource in (
        message_status,
        events,
        streams,
        suppression_files,
        suppressions,
        templates,
        webhooks,
        webhook_actions,
        webhook_attempts,
        erasures,
        domains,
        keys,
        smtp_credentials,
        inbound_routes,
        inbound_messages,
    ):
        router = resource.router
        app.include_router(router, dependencies=[Depends(refuse_unknown_parameters)])
    problems.install(app)
    app.add_middleware(Door)
    app.openapi = partial(_document, app)  # type: ignore[method-assign]


def _mount_sending(app: FastAPI) -> None:
    _mount_raw(
        app,
        "/v1/messages",
        messages.create_message,
        operation_id="sendMessage",
        summary="Send a message",
        tags=["messages"],
        responses={202: _answer(message_body.AcceptedMessage, "It is committed.", message_body.ACCEPTED_EXAMPLE, _REPLAYED), **_SENDING},
        openapi_extra={"parameters": [_KEY_PARAMETER], "requestBody": json_body(message_body.MessageBody, message_body.EXAMPLE)},
    )
    _mount_raw(
        app,
        "/v1/messages/raw",
        raw_messages.create_raw,
        operation_id="sendRaw",
        summary="Send a finished mail",
        description="The body is a mail as RFC 5322 has it. It leaves as it came, but for what is asked: Bcc and X-Staffetta-* fields are"
        " taken out, Date and Message-ID added where they are missing, tracking put in where the stream tracks, and it is signed."
        " X-Staffetta-* fields say what the JSON of `POST /v1/messages` says beside the mail.",
        tags=["messages"],
        responses={202: _answer(message_body.AcceptedMessage, "It is committed.", message_body.ACCEPTED_EXAMPLE, _REPLAYED), **_SENDING},
        openapi_extra={"parameters": [_KEY_PARAMETER, _TO_PARAMETER], "requestBody": _MAIL},
    )
    _mount_raw(
        app,
        "/v1/messages/batch",
        messages.create_batch,
        operation_id="sendBatch",
        summary="Send up to 1,000 messages",
        description="Each item is accepted or refused on its own, and its result stands at its place. With an `Idempotency-Key` K,"
        " the item at place n has the key `K/n`, unless it brings its own.",
        tags=["messages"],
        responses={
            202: _answer(message_body.BatchResult, "All items are committed.", None, {}),
            207: {"model": message_body.BatchResult, "description": "Some items were refused, the others are committed."},
            **_SENDING,
        },
        openapi_extra={
            "parameters": [_KEY_PARAMETER],
            "requestBody": json_body(message_body.BatchBody, {"messages": [message_body.EXAMPLE]}),
        },
    )
    _mount_raw(
        app,
        "/v1/messages/{id}/cancel",
        messages.cancel_message,
        operation_id="cancelMessage",
        summary="Take back what still waits of a message",
        status_code=200,
        tags=["messages"],
        responses={
            200: _answer(message_body.CancelledMessage, "What waited is cancelled.", None, {}),
            **refusals(401, 403, 404, 409, 503),
        },
        openapi_extra={"parameters": [_ID_PARAMETER]},
    )
    _mount_raw(
        app,
        "/v1/keys",
        keys.create_one,
        operation_id="createKey",
        summary="Make an API key",
        status_code=201,
        tags=["keys"],
        responses={
            201: _answer(keys.CreatedKey, "The key, for the only time.", None, {}),
            **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra={"requestBody": json_body(keys.KeyBody, keys.EXAMPLE)},
    )
    _mount_raw(
        app,
        "/v1/smtp-credentials",
        smtp_credentials.create_one,
        operation_id="createSmtpCredential",
        summary="Make an SMTP credential",
        status_code=201,
        tags=["smtp-credentials"],
        responses={
            201: _answer(smtp_credentials.CreatedSmtpCredential, "User name and password, for the only time.", None, {}),
            **refusals(400, 401, 403, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra={"requestBody": json_body(smtp_credentials.SmtpCredentialBody, smtp_credentials.EXAMPLE)},
    )


def _mount_raw(app: FastAPI, path: str, endpoint: Any, **options: Any) -> None:
    options.setdefault("status_code", 202)
    app.router.add_api_route(path, endpoint, methods=["POST"], route_class_override=RawRoute, response_model=None, **options)


def _answer(model: Any, description: str, example: Any, headers: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": model, "description": description, "headers": dict(headers)}
    if example is not None:
        answer["content"] = {"application/json": {"example": example}}
    return answer


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe(app, _BODIES, _POSTS)
    return app.openapi_schema
