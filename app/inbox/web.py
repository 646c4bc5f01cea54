"""The inbox's HTTP side put together: routes, the headers of every answer, and who may ask.

It has no log-in, so it answers only to names that cannot be somebody else's: localhost and bare IP addresses. A page on
the internet could otherwise give its own name our address and read the mail in here (DNS rebinding).
"""

from __future__ import annotations

import ipaddress

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.inbox import api, pages
from app.inbox.shelf import Shelf

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def build_app(shelf: Shelf) -> Starlette:
    app = Starlette(
        routes=[Route("/healthz", healthz), *api.ROUTES, *pages.ROUTES],
        middleware=[Middleware(_Guard)],
        exception_handlers={HTTPException: _refuse},
    )
    app.state.shelf = shelf
    return app


async def healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refuse(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    if request.url.path.startswith("/api/"):
        return JSONResponse({"status": status, "detail": detail}, status, media_type="application/problem+json")
    return pages.show_problem(status, detail)


class _Guard:
    """Refuses foreign host names, and puts the headers above on every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if is_local_name(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send_with_headers)
        else:
            refusal = PlainTextResponse("The local inbox answers to localhost and to IP addresses only.", 421)
            await refusal(scope, receive, send_with_headers)


def is_local_name(host: str) -> bool:
    """Is this Host header localhost (RFC 6761 §6.3) or an IP address?"""
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
