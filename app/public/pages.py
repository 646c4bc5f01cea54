"""Pages for those who got mail: small, in their language, without scripts, cookies, or anything loaded from elsewhere.

The address of such a page is a capability: it is told to nobody (no-referrer), kept by no cache, found by no search engine.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from app.public.words import Words, choose_words

_HERE = Path(__file__).parent / "templates"
_templates = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_STYLE = (_HERE / "page.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}


def words_for(request: Request) -> Words:
    return choose_words(request.headers.get("accept-language", ""))


def page(template: str, words: Words, *, status: int = 200, retry_after_seconds: int | None = None, **values: Any) -> HTMLResponse:
    """A page in a reader's words."""
    text = _templates.get_template(template).render(words=words, style=_STYLE, **values)
    headers = _HEADERS | {"Content-Language": words.language}
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
    return HTMLResponse(text, status, headers)


def unknown_link(words: Words) -> HTMLResponse:
    return page("notice.html", words, status=404, title=words.unknown_title, text=words.unknown)


def try_later(words: Words, status: int, *, seconds: int) -> HTMLResponse:
    """For what was not done: never a yes that is none."""
    return page("notice.html", words, status=status, title=words.later_title, text=words.later, retry_after_seconds=seconds)
