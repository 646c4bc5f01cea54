"""What is posted to a page for readers: read within bounds, and not too often.

Mail programs post `List-Unsubscribe=One-Click` as a form of either kind (RFC 8058 §3.2), the pages post theirs url-encoded. Of a
multipart body only its being there counts.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs
from uuid import UUID

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.tally import Buckets

MOST_BODY_BYTES = 16 * 1024
SILENCE_SECONDS = 10.0
MOST_AT_ONCE = 64
MOST_TRIES = 20
TRIES_SECONDS = 60.0
_MOST_FIELDS = 200
_REMEMBERED = 10_000


class NotRead(Exception):
    """A body that is too large or stopped coming; `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Turnstile:
    """How many posts of readers are under way in this process, and how often each reader came."""

    def __init__(self) -> None:
        self.under_way = 0
        self._tries = Buckets(_REMEMBERED, time.monotonic)

    @property
    def is_full(self) -> bool:
        return self.under_way >= MOST_AT_ONCE

    def may_try(self, recipient_id: UUID) -> bool:
        """Count a try of a reader; False when there were too many."""
        return not self._tries.take(recipient_id, MOST_TRIES, TRIES_SECONDS)


async def read_form(request: Request) -> tuple[dict[str, list[str]], bool]:
    """The fields of a url-encoded body (of another kind: none), and whether it is a mail program's one click."""
    body = bytearray()
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BODY_BYTES:
                    raise NotRead(413)
    except TimeoutError as error:
        raise NotRead(408) from error
    except ClientDisconnect as error:
        raise NotRead(400) from error
    is_one_click = b"List-Unsubscribe" in body and b"One-Click" in body
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return {}, is_one_click
    try:
        return parse_qs(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS), is_one_click
    except ValueError as error:
        raise NotRead(400) from error
