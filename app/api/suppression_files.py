"""Suppressions as CSV: import and export, a line for each.

    email,stream,reason        the head; an export has created_at too, an import passes over further columns
    ada@example.com,bulk,unsubscribe

An import is read as it comes, in slices that are each written when they are whole: what was written stays when the connection breaks,
and the same file may be sent again. A line that is wrong is refused alone, and told by its number; what is mostly wrong lines is not read
to its end. Without a head the columns are
those above; without a stream an address goes onto the list of all (`*`), without a reason it is an `import`.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from app import store
from app.accounts import suppressions
from app.accounts.credentials import Sender
from app.accounts.suppressions import Entry, read_entry
from app.api.body import read_pieces
from app.api.door import House, RawRoute, allow, answer_json, find_sender, header_of, house_of
from app.api.openapi import refusals
from app.api.suppressions import names_of_streams
from app.errors import FieldError, InvalidRequest, MalformedRequest
from app.events.suppression import Reason
from app.mail.times import show_time
from app.store.suppressions import EVERY_STREAM, NewSuppression, Place

MOST_IMPORT_BYTES = 64 * 1024 * 1024
MOST_LINE_BYTES = 4096
MOST_TOLD = 1000
# With so many refused, and fewer taken, it is another kind of file.
_MOST_REFUSED = 10_000
_SLICE = 1000
_LINES_AT_ONCE = 200  # then others have the loop
_PAGE = 5000
_COLUMNS = ("email", "stream", "reason")
_EXAMPLE = "email,stream,reason\r\nada@example.com,bulk,unsubscribe\r\n"

router = APIRouter(tags=["suppressions"])
Reader = Annotated[Sender, Depends(allow("suppressions:read"))]


class RefusedLine(BaseModel):
    """A line that was not taken."""

    model_config = ConfigDict(extra="forbid")
    line: Annotated[int, Field(ge=1, description="Its number; the first line is 1.")]
    code: str
    detail: str


class ImportedSuppressions(BaseModel):
    """What became of a file's lines; empty ones and the head are not counted."""

    model_config = ConfigDict(extra="forbid")
    added: int
    known: Annotated[int, Field(description="Those that were on the list already.")]
    refused: int
    errors: Annotated[list[RefusedLine], Field(description=f"The first {MOST_TOLD} refused lines.")]


@dataclass
class _Import:
    """A file on its way in."""

    streams: frozenset[str]
    account_id: int
    added_by: str
    delimiter: str = ","
    places: dict[str, int] = field(default_factory=lambda: {name: place for place, name in enumerate(_COLUMNS)})
    rows: list[NewSuppression] = field(default_factory=list)
    added: int = 0
    known: int = 0
    refused: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def take(self, number: int, line: bytes) -> None:
        """A line: the head, nothing, an entry, or something wrong."""
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            self._refuse(number, "invalid_text", "It is not UTF-8.")
            return
        if not text:
            return
        if len(line) > MOST_LINE_BYTES:
            self._refuse(number, "too_long", f"It has more than {MOST_LINE_BYTES} bytes.")
            return
        if number == 1 and "," not in text and ";" in text:  # how spreadsheets of half of Europe write it
            self.delimiter = ";"
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter=self.delimiter), [])]
        except csv.Error:  # a line end within the line
            self._refuse(number, "invalid_text", "It is not a line of CSV.")
            return
        if number == 1 and self._is_head(cells):
            return
        email, stream, reason = (self._cell(cells, name) for name in _COLUMNS)
        entry = Entry(email, stream or EVERY_STREAM, reason or Reason.IMPORT.value)
        read = read_entry(entry, self.streams, self.account_id, self.added_by)
        if isinstance(read, FieldError):
            self._refuse(number, read.code, read.detail)
        else:
            self.rows.append(read)

    def is_another_kind(self) -> bool:
        """Whether it is mostly wrong, as far as it was read."""
        return self.refused >= _MOST_REFUSED and self.refused > self.added + self.known + len(self.rows)

    def _is_head(self, cells: list[str]) -> bool:
        names = [cell.lower() for cell in cells]
        if "email" not in names:
            return False
        self.places = {name: names.index(name) for name in _COLUMNS if name in names}
        return True

    def _cell(self, cells: list[str], name: str) -> str:
        place = self.places.get(name, len(cells))
        return cells[place] if place < len(cells) else ""

    def _refuse(self, number: int, code: str, detail: str) -> None:
        self.refused += 1
        if len(self.errors) < MOST_TOLD:
            self.errors.append({"line": number, "code": code, "detail": detail})


async def import_file(request: Request) -> Response:
    """POST /v1/suppressions/import."""
    house = house_of(request)
    sender = await find_sender(request, "suppressions:write")
    media_type = (header_of(request, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != "text/csv":
        raise HTTPException(415, "The body must be CSV, sent with `Content-Type: text/csv`.")
    file = _Import(await names_of_streams(house, sender.account_id), sender.account_id, sender.key_id)
    number = 0
    async for line in _lines(read_pieces(request, MOST_IMPORT_BYTES)):
        number += 1
        file.take(number, line)
        if len(file.rows) >= _SLICE:
            await _write(house, file)
        if number % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
            if file.is_another_kind():
                await _write(house, file)
                raise InvalidRequest(
                    f"{file.refused} lines were refused, more than were taken, and the rest was not read;"
                    f" {file.added} addresses were added. Line {file.errors[0]['line']}: {file.errors[0]['detail']}"
                )
    await _write(house, file)
    return answer_json({"added": file.added, "known": file.known, "refused": file.refused, "errors": file.errors})


async def _write(house: House, file: _Import) -> None:
    rows, file.rows = file.rows, []
    if not rows:
        return
    async with house.database.hot() as connection:
        added = await suppressions.add(connection, rows)
    file.added += added
    file.known += len(rows) - added


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of what comes in pieces; a line's end may lie in the next piece, but not for ever."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > 16 * MOST_LINE_BYTES:
            raise MalformedRequest("The body has a line without an end.")
    if rest:
        yield rest


@router.get(
    "/v1/suppressions/export",
    operation_id="exportSuppressions",
    summary="All suppressions as CSV, newest first",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file.", "content": {"text/csv": {"schema": {"type": "string"}}}},
        **refusals(401, 403, 503),
    },
)
async def export_file(request: Request, sender: Reader) -> Response:
    pages = _pages(house_of(request), sender.account_id)
    first = await anext(pages)  # with the database away it is a refusal, not half a file
    headers = {"Content-Disposition": 'attachment; filename="suppressions.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(_chain(first, pages), headers=headers, media_type="text/csv")


async def _chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for page in rest:
        yield page


async def _pages(house: House, account_id: int) -> AsyncIterator[str]:
    """Page after page by cursor: no transaction stays open while a slow client reads."""
    head, after = "email,stream,reason,created_at\r\n", None
    while True:
        async with house.database.hot() as connection:
            rows = await store.suppressions.list_suppressions(
                connection, account_id, after=after, stream=None, reason=None, since=None, limit=_PAGE
            )
        text = io.StringIO()
        csv.writer(text).writerows((row.address, row.stream, row.reason, show_time(row.created_at)) for row in rows)
        yield head + text.getvalue()
        if len(rows) < _PAGE:
            return
        head, after = "", Place(rows[-1].created_at, rows[-1].address, rows[-1].stream)


router.add_api_route(
    "/v1/suppressions/import",
    import_file,
    methods=["POST"],
    operation_id="importSuppressions",
    summary="Import suppressions from CSV",
    description=f"Up to {MOST_IMPORT_BYTES // 2**20} MB. A wrong line is refused alone. Sending the same file again adds nothing.",
    response_model=None,
    responses={
        200: {"model": ImportedSuppressions, "description": "All lines were read."},
        **refusals(400, 401, 403, 408, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
    route_class_override=RawRoute,
)
