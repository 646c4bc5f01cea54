"""All routes of the API, put into the application."""

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
from app.api.door import Door, refuse_unknown_parameters
from app.api.openapi import describe

# Files before addresses: what follows /v1/suppressions/ is an address otherwise.
_RESOURCES = (
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
)
_BODIES = tuple(body for resource in (messages, *_RESOURCES) for body in getattr(resource, "BODIES", ()))
_POSTS = (events.EventPost, events.EventBatchPost)


def mount(app: FastAPI) -> None:
    """Routes, problems, the door and the document."""
    # Those that carry messages are the application's own, so that the door can call them past the framework's router.
    app.routes.extend((*messages.router.routes, *raw_messages.router.routes))
    for resource in _RESOURCES:
        app.include_router(resource.router, dependencies=[Depends(refuse_unknown_parameters)])
    problems.install(app)
    app.add_middleware(Door)
    app.openapi = partial(_document, app)  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe(app, _BODIES, _POSTS)
    return app.openapi_schema
