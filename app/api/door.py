"""The door of the HTTP API: what every request passes before a route of a resource sees it.

Each request gets an id (X-Request-Id), and what nobody foresaw becomes a logged 500 problem here. The principal is found from
`Authorization: Bearer`, out of the Authenticator's memory when it was seen within seconds. Routes that carry messages are
RawRoutes: they take the request as it is and answer a Response, without the framework's dependency machinery (40 µs each), and
those at a fixed path are called before the framework's middlewares and router, which would cost as much as checking the message.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import log
from app.accounts.credentials import Authenticator, Sender
from app.accounts.domains import DomainBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.api.problems import answer_error, answer_internal, offer_nearest
from app.config import Settings
from app.errors import MOST_FIELD_ERRORS, FieldError, InvalidRequest, Unauthenticated, pointer_to
from app.feedback.hits import Hits
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.rendering import Renderer
from app.resolver import Resolver
from app.store.db import Database


@dataclass(frozen=True, slots=True)
class House:
    """What the routes work with; opened by main, found at `app.state.house`."""

    settings: Settings
    database: Database
    keyring: Keyring
    authenticator: Authenticator
    domains: DomainBook
    streams: StreamBook
    templates: TemplateBook
    renderer: Renderer
    intake: Intake
    wakes: Wakes
    resolver: Resolver
    hits: Hits


def house_of(request: Request) -> House:
    found: House = request.scope["app"].state.house
    return found


def header_of(request: Request, name: bytes) -> str | None:
    """A header by its lower-case name; without the framework's mapping, which costs more than the look."""
    for key, value in request.scope["headers"]:
        if key == name:
            found: str = value.decode("latin-1")
            return found
    return None


class Door:
    """ASGI middleware: a request id on every answer, and a problem instead of a broken connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = f"req_{os.urandom(8).hex()}"
        header = (b"x-request-id", request_id.encode())
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"].append(header)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:  # nobody is there to be answered
            return
        except Exception as error:
            log.request_failed(request_id, scope["method"], error)
            if started:
                raise
            await answer_internal(request_id)(scope, receive, send_with_id)


class Application(FastAPI):
    """FastAPI, with a short way in front of it for the RawRoutes at a fixed path."""

    def build_middleware_stack(self) -> ASGIApp:
        rest = super().build_middleware_stack()
        short = {route.path: Door(_answer_alone(route)) for route in self.routes if isinstance(route, RawRoute) and route.is_fixed}

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            found = short.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
            await (found or rest)(scope, receive, send)

        return choose


def answer_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of the API, from what orjson writes."""
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), status, headers, media_type="application/json")


async def find_sender(request: Request, *scopes: str) -> Sender:
    """The principal of a request; raises Unauthenticated without a valid key, Forbidden if the key does not allow all of `scopes`."""
    given = header_of(request, b"authorization")
    if given is None:
        raise Unauthenticated("The request has no API key; send it as `Authorization: Bearer stf_…`.")
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("The API key must be sent as `Authorization: Bearer stf_…`.")
    authenticator = house_of(request).authenticator
    sender = authenticator.cached(token) or await authenticator.authenticate(token.strip(" "))
    for scope in scopes:
        sender.require(scope)
    return sender


def allow(*scopes: str) -> Callable[[Request], Awaitable[Sender]]:
    """A dependency that gives the principal, for routes whose parameters the framework reads."""

    async def find(request: Request) -> Sender:
        return await find_sender(request, *scopes)

    return find


class RawRoute(APIRoute):
    """A route for POST whose endpoint is `async (request) -> Response` and nothing else; its documentation is all in `openapi_extra`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        described = (self.openapi_extra or {}).get("parameters", ())
        self.parameters = frozenset(one["name"] for one in described if one["in"] == "query")
        self.app = _call_plainly(self)

    @property
    def is_fixed(self) -> bool:
        return not self.param_convertors


def _call_plainly(route: RawRoute) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _call_endpoint(route, Request(scope, receive, send))
        await response(scope, receive, send)

    return app


def _answer_alone(route: RawRoute) -> ASGIApp:
    """The same, with the problems that the framework's handlers would have made."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await _call_endpoint(route, request)
        except ClientDisconnect:
            raise
        except Exception as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)

    return app


async def _call_endpoint(route: RawRoute, request: Request) -> Response:
    if request.scope["query_string"] and not route.parameters:  # who has parameters reads them strictly, by itself
        _refuse_others(request, frozenset())
    answer: Response = await route.endpoint(request)
    return answer


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of the other routes: a filter that is misspelt must not show everything, as if it were not there."""
    if request.scope["query_string"]:
        _refuse_others(request, _query_names(request.scope["route"]))


def _query_names(route: APIRoute) -> frozenset[str]:
    names: set[str] = set()
    asked = [route.dependant]
    for one in asked:
        names |= {field.alias for field in one.query_params}
        asked += one.dependencies
    return frozenset(names)


def _refuse_others(request: Request, known: frozenset[str]) -> None:
    others = [name for name in request.query_params if name not in known]
    if others:
        errors = [
            FieldError(f"?{pointer_to([name])[2:]}", "unknown_field", f"There is no such parameter{offer_nearest(name, known)}")
            for name in others[:MOST_FIELD_ERRORS]
        ]
        raise InvalidRequest.of_fields(errors)
