"""The OpenAPI document: made from the routes, completed here; `staffetta openapi` writes it.

Routes that carry messages read their bodies themselves, so the framework cannot see the types: they are named in `openapi_extra`
and added as components here. Every operation tells all answers that it gives, refusals with their problem document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.problems import MEDIA_TYPE, Problem

_SCHEMAS = "#/components/schemas/"

_REFUSALS = {
    400: "The body is not strict JSON.",
    401: "The API key is missing, wrong, expired or revoked.",
    403: "The API key does not allow this, the account is paused, or the domain is not its own.",
    404: "There is no such thing in this account.",
    408: "The body stopped coming.",
    409: "The state of the thing does not allow it, or the Idempotency-Key is in use.",
    413: "The message or the request is too large.",
    415: "The body is not plain, uncompressed application/json.",
    422: "A field or parameter is wrong; `errors` points at each.",
    429: "Too many at once; try again later.",
    500: "Something went wrong on our side.",
    503: "The relay cannot do this right now; nothing was accepted.",
}
_DESCRIPTION = """\
Staffetta takes mail in, delivers it, and tells what became of every single message.

A `202` is a promise: the message is committed, and every recipient will reach exactly one final state. Send an
`Idempotency-Key` with what must not be sent twice, and repeat the request with the same key until you have an answer.

Errors are problem documents (RFC 9457) with a stable `code`. Times are RFC 3339; ids have a prefix that names their kind.
"""
_TAGS = [
    {"name": "messages", "description": "Send messages, and see what became of them."},
    {"name": "events", "description": "Everything that happened, in order, for ever readable from where you stopped."},
    {"name": "webhooks", "description": "Events posted to you."},
    {"name": "streams", "description": "The account's kinds of mail."},
    {"name": "suppressions", "description": "Addresses that are not sent to, and why."},
    {"name": "erasures", "description": "Persons who asked to be forgotten."},
    {"name": "templates", "description": "Mail that is written once and filled for every message."},
    {"name": "domains", "description": "The domains the account may send from."},
    {"name": "keys", "description": "API keys."},
    {"name": "smtp-credentials", "description": "User names and passwords for sending over SMTP."},
    {"name": "inbound", "description": "Mail that comes in for the account, and the addresses at which it does."},
    {"name": "health", "description": "For load balancers and supervisors."},
]
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {"description": "The id of this request.", "required": True, "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to authenticate.", "required": True, "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "`true` when the answer is that of an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_EXTRA_HEADERS = {"401": ("WWW-Authenticate",), "409": ("Retry-After",), "429": ("Retry-After",), "503": ("Retry-After",)}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers with a problem document that an operation may give; 500 is always among them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in sorted({*statuses, 500})}


def json_body(model: type[BaseModel], example: Any) -> dict[str, Any]:
    """What `openapi_extra` says of a body that the route reads by itself. The model must be given to `describe` too."""
    schema = {"$ref": _SCHEMAS + (model.model_config.get("title") or model.__name__)}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def describe(app: FastAPI, bodies: Sequence[type[BaseModel]], posts: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """The whole document. `bodies` are the types of json_body, `posts` what webhook endpoints are sent."""
    document = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=_TAGS, servers=[{"url": "/"}]
    )
    document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    components = document.setdefault("components", {})
    components["schemas"] = _schemas(components.get("schemas", {}), (*bodies, *posts))
    components["headers"] = _HEADERS
    components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `stf_…`."}}
    document["webhooks"] = {"event": {"post": _webhook(posts)}}
    document["security"] = [{"apiKey": []}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            _complete(operation, public=not path.startswith("/v1/"))
    return document


def _webhook(posts: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """What the relay asks of a webhook endpoint (Standard Webhooks 1.0)."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    schema = {"oneOf": [{"$ref": _SCHEMAS + model.__name__} for model in posts]}
    return {
        "operationId": "receiveEvent",
        "summary": "Something happened",
        "tags": ["webhooks"],
        "security": [],
        "parameters": [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in names],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "It is taken. Anything else is tried again, for three days; 410 disables the endpoint."}},
    }


def _schemas(found: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    models: list[tuple[Any, Literal["validation", "serialization"]]] = [(model, "validation") for model in (*bodies, Problem)]
    _, made = models_json_schema(models, ref_template=_SCHEMAS + "{model}")
    schemas: dict[str, Any] = {**found, **made["$defs"]}
    # Those of the framework's own refusals, which are never given.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    # A body's type has its public name as title; the document calls it so.
    names = {model.__name__: str(model.model_config["title"]) for model in bodies if model.model_config.get("title")}
    renamed = json.dumps({names.get(name, name): schema for name, schema in sorted(schemas.items())})
    for name, title in names.items():
        renamed = renamed.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{title}"')
    return dict(json.loads(renamed))


def _complete(operation: dict[str, Any], *, public: bool) -> None:
    """Headers of every answer; no answers that are never given; no key asked where none is needed."""
    if public:
        operation["security"] = []
    for status, answer in list(operation["responses"].items()):
        if "HTTPValidationError" in json.dumps(answer):
            del operation["responses"][status]
            continue
        answer.setdefault("headers", {}).update(_REQUEST_ID)
        for name in _EXTRA_HEADERS.get(status, ()):
            answer["headers"][name] = {"$ref": f"#/components/headers/{name}"}
