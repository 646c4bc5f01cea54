"""The inbox in a browser: the list, a message in tabs, and the frame its HTML is shown in.

Templates escape everything. The HTML of a message is never part of a page of ours: it is a document of its own in a frame
with an empty `sandbox`, and its own policy says the same again for whoever opens it directly: no scripts, no forms, nothing
from outside but images, and those only when asked for.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.inbox.content import Content, find_links
from app.inbox.server import REFUSALS
from app.inbox.shelf import number_asked, shelf_of
from app.inbox.verdict import verdict_of
from app.mail.words import decode_text

_HERE = Path(__file__).parent
_PAGE_ROWS = 100
_SOURCE_BYTES = 512 * 1024
_TABS = ("html", "text", "headers", "source", "attachments")
# Types that a browser only ever draws; SVG is a document and stays a download.
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
_FRAME_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {images}; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def _size(size_bytes: int) -> str:
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1000:.1f} KB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"


def _shown_name(sender: str) -> str:
    """The display name of a From header, or all of it."""
    named = re.fullmatch(r"\s*\"?(?P<name>[^<>]*[^<>\s\"])\"?\s*<[^<>]*>\s*", sender[:1000])
    return named["name"] if named else sender


_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters |= {"size": _size, "shown_name": _shown_name}


async def show_list(request: Request) -> Response:
    shelf = shelf_of(request)
    found = await _find_rows(request)
    return _page("list.html", refusals=REFUSALS, smtp_port=shelf.smtp_port, **found)


async def show_rows(request: Request) -> Response:
    """The rows of the list alone, for its script; 304 while they are the same."""
    rows = _templates.get_template("rows.html").render(**await _find_rows(request))
    tag = f'"{hashlib.sha256(rows.encode()).hexdigest()[:24]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return HTMLResponse(rows, headers={"ETag": tag})


async def show_message(request: Request) -> Response:
    shelf = shelf_of(request)
    kept = shelf.find(request)
    content = await shelf.open(kept)
    tab = request.path_params.get("tab") or _first_tab(content)
    if tab not in _TABS:
        raise HTTPException(404, "There is no such view of a message.")
    signatures = await shelf.signatures(kept)
    newer, older = shelf.keep.neighbours(kept.id)
    return _page(
        "message.html",
        kept=kept,
        content=content,
        tab=tab,
        tabs=[name for name in _TABS if _has(content, name)],
        signatures=signatures,
        verdict=verdict_of(signatures),
        newer=newer,
        older=older,
        images="images" in request.query_params,
        **_tab_values(shelf.raw(kept) if tab == "source" else b"", content, tab),
    )


async def show_frame(request: Request) -> Response:
    """The HTML of a message as a document of its own."""
    shelf = shelf_of(request)
    kept = shelf.find(request)
    content = await shelf.open(kept)
    images = "* data:" if "images" in request.query_params else "'self' data:"
    headers = {
        "Content-Security-Policy": _FRAME_POLICY.format(images=images),
        "X-DNS-Prefetch-Control": "off",  # looking up the sender's hosts tells him as much as an image would
    }
    return HTMLResponse(_framed_html(content, kept.id), headers=headers)


async def show_inline_image(request: Request) -> Response:
    attachment = await shelf_of(request).attachment(request)
    if attachment.content_type not in _IMAGES:
        raise HTTPException(404, "This attachment is not an image that is shown inline.")
    headers = {"Content-Type": attachment.content_type, "Content-Security-Policy": "sandbox; default-src 'none'"}
    return Response(attachment.content, headers=headers)


def show_problem(status: int, detail: str) -> Response:
    return _page("problem.html", status=status, detail=detail)


async def _find_rows(request: Request) -> dict[str, Any]:
    shelf = shelf_of(request)
    limit = number_asked(request, "limit", default=_PAGE_ROWS, most=500)
    words = request.query_params.get("q", "").strip()[:200]
    before = request.query_params.get("before")
    messages = shelf.keep.newest(limit + 1, words=words, before=before)
    more = urlencode({"q": words, "before": messages[limit - 1].id}) if len(messages) > limit else ""
    rows = await shelf.with_verdicts(messages[:limit])
    return {"rows": rows, "words": words, "before": before, "more": more, "count": len(shelf.keep)}


def _first_tab(content: Content) -> str:
    return next((tab for tab in _TABS if _has(content, tab)), "source")


def _has(content: Content, tab: str) -> bool:
    has = {"html": content.html is not None, "text": content.text is not None, "attachments": bool(content.attachments)}
    return has.get(tab, True)


def _tab_values(raw: bytes, content: Content, tab: str) -> dict[str, Any]:
    return {
        "links": find_links(content.html or "") if tab == "html" else (),
        "source": decode_text(raw[:_SOURCE_BYTES]) if tab == "source" else "",
        "source_cut": len(raw) > _SOURCE_BYTES,
        "attachments": content.attachments[:200],
    }


def _framed_html(content: Content, message_id: str) -> str:
    """The HTML with its cid: addresses (RFC 2392) pointing to the images that came with it, and without links and frames.

    The policy forbids to load them, but Chromium opens the connection for <link rel=preconnect> and for an <iframe>
    before it asks the policy, and a connection tells the sender that he is read.
    """
    places = {
        attachment.content_id: f"/messages/{message_id}/inline/{attachment.number}"
        for attachment in content.attachments
        if attachment.content_id and attachment.content_type in _IMAGES
    }
    html = re.sub(r"<(link|i?frame|object|embed)(?=[\s/>])", r"<no-\1", content.html or "", flags=re.IGNORECASE)
    return re.sub(r"cid:([^\s\"'<>)]+)", lambda found: places.get(unquote(found[1]), found[0]), html, flags=re.IGNORECASE)


def _page(template: str, **values: Any) -> HTMLResponse:
    status: int = values.get("status", 200)
    return HTMLResponse(_templates.get_template(template).render(**values), status_code=status)


ROUTES = [
    Route("/", show_list),
    Route("/rows", show_rows),
    Route("/messages/{message_id}", show_message),
    Route("/messages/{message_id}/frame", show_frame),
    Route("/messages/{message_id}/inline/{number:int}", show_inline_image),
    Route("/messages/{message_id}/{tab}", show_message),
    Mount("/static", StaticFiles(directory=_HERE / "static")),
]
