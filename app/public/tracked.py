"""Where tracked mail leads to: the pixel and the redirect of a link.

GET /o/TOKEN.gif   one transparent dot, and the open is noted
GET /c/TOKEN       302 to what stands in the token, and the click is noted

The token is all that is needed: both answer without the database. Nothing leads anywhere without a valid one, so there is no open
redirect; what is noted is written beside (feedback.hits). HEAD answers the same and is told to nobody: no person asks so.
"""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.feedback.hits import Hit
from app.feedback.machines import why_a_machine
from app.mail.location import location_of
from app.mail.tokens import MAC_PURPOSE, Token, TokenKind, read_token
from app.mail.tracking import CLICK_PATH, OPEN_PATH
from app.public.pages import unknown_link, words_for

_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_LONGEST_AGENT = 256
# Programs keep what they may keep: an open that is served from a cache is not seen.
_HEADERS = {
    "Cache-Control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter()


async def follow_link(request: Request) -> Response:
    """GET and HEAD of /c/TOKEN."""
    token = _token_of(request, request.path_params["token"], TokenKind.CLICK)
    target = location_of(token.payload) if token is not None else None
    if token is None or target is None:
        return unknown_link(words_for(request))
    _note(request, token, target)
    return Response(None, 302, _HEADERS | {"Location": target})


async def show_pixel(request: Request) -> Response:
    """GET and HEAD of /o/TOKEN.gif."""
    token = _token_of(request, request.path_params["token"].removesuffix(".gif"), TokenKind.OPEN)
    if token is None:
        return unknown_link(words_for(request))
    _note(request, token, None)
    return Response(_PIXEL, 200, _HEADERS, "image/gif")


for _path, _endpoint in ((CLICK_PATH, follow_link), (OPEN_PATH, show_pixel)):
    router.add_api_route(_path + "{token}", _endpoint, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)


def _token_of(request: Request, text: str, kind: TokenKind) -> Token | None:
    keyring = request.app.state.house.keyring
    token = read_token(text, lambda key_id: keyring.find_mac_key(MAC_PURPOSE, key_id))
    return token if token is not None and token.kind is kind else None


def _note(request: Request, token: Token, url: str | None) -> None:
    house: Any = request.app.state.house
    headers = request.headers
    # What cannot be stored, or printed, is left out: it is the caller's to choose.
    agent = "".join(character for character in headers.get("user-agent", "")[:_LONGEST_AGENT] if character.isprintable())
    purpose = headers.get("sec-purpose") or headers.get("purpose") or headers.get("x-moz") or ""
    house.hits.note(
        Hit(
            token.kind,
            token.account_id,
            token.recipient_id,
            datetime.now(UTC),
            url,
            why_a_machine(request.method, agent, purpose),
            agent,
            _address_of(request),
            request.method == "HEAD",
        )
    )


def _address_of(request: Request) -> str:
    """Who asked: behind a proxy of our own network the address that it adds to X-Forwarded-For, the last one."""
    peer = request.client.host if request.client else ""
    told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(told)) if told and ipaddress.ip_address(peer).is_private else peer
    except ValueError:
        return peer
