"""What the page and the API look at: the kept messages, each with its verdict and, opened, its content."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.inbox.content import Attachment, Content, open_content
from app.inbox.keep import Keep, Kept
from app.inbox.verdict import Verdict, Verifier, verdict_of
from app.mail.dkim_verify import Signature


class Shelf:
    """The messages of `keep` as they are looked at; the SMTP port is told on the page."""

    def __init__(self, keep: Keep, verifier: Verifier, *, smtp_port: int) -> None:
        self.keep = keep
        self.smtp_port = smtp_port
        self._verifier = verifier
        # Few at a time: a page that nobody waits for any more must not hold up the receiving of mail.
        self._opening = asyncio.Semaphore(2)
        # The last one opened: its page, frame, tabs and images are asked for one after the other.
        self._opened: tuple[str, Content] | None = None

    def find(self, request: Request) -> Kept:
        """The message that the path names, or 404."""
        kept = self.keep.find(request.path_params["message_id"])
        if kept is None:
            raise HTTPException(404, "There is no such message; it may have been deleted to make room for newer ones.")
        return kept

    def raw(self, kept: Kept) -> bytes:
        raw = self.keep.read(kept)
        if raw is None:
            raise HTTPException(404, "The file of this message is gone.")
        return raw

    async def open(self, kept: Kept) -> Content:
        """The message taken apart, off the loop: a large one takes a second."""
        async with self._opening:
            if self._opened is not None and self._opened[0] == kept.id:
                return self._opened[1]
            content = await asyncio.to_thread(lambda: open_content(self.raw(kept)))
            self._opened = (kept.id, content)
            return content

    async def attachment(self, request: Request) -> Attachment:
        """The attachment that the path names, or 404."""
        content = await self.open(self.find(request))
        number: int = request.path_params["number"]
        if not 1 <= number <= len(content.attachments):
            raise HTTPException(404, "There is no such attachment.")
        return content.attachments[number - 1]

    async def signatures(self, kept: Kept) -> tuple[Signature, ...]:
        return await self._verifier.signatures(kept)

    async def with_verdicts(self, messages: Sequence[Kept]) -> list[tuple[Kept, Verdict]]:
        signatures = await asyncio.gather(*(self._verifier.signatures(kept) for kept in messages))
        return [(kept, verdict_of(found)) for kept, found in zip(messages, signatures, strict=True)]


def shelf_of(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


def number_asked(request: Request, name: str, *, default: int, most: int) -> int:
    """A whole number from 1 to `most` in the query, or 422."""
    given = request.query_params.get(name)
    if given is None:
        return default
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0
    if not 1 <= number <= most:
        raise HTTPException(422, f"{name} must be a whole number from 1 to {most}.")
    return number
