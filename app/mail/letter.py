"""A mail that came in, as what can be read of it: its header fields, and its parts as pages of text.

For those who read what a mail says (`report`), not for passing it on. Nothing is ever refused: a broken part is read as far as it
goes, a wrong charset with what is wrong in it replaced. All is bounded: the structure by `parts`, a header by fields and octets, a page
and all pages together by characters. What lies beyond a bound is not looked at. A mail whose parts cannot be told apart (no
boundary, a wrong one) is one page.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.mail.compose import Part
from app.mail.markup import decode, read_attribute
from app.mail.parts import read_parts
from app.mail.words import decode_words, unbase64

_LONGEST_HEAD: Final = 128 * 1024
_LONGEST_FIELD: Final = 16 * 1024
_MOST_FIELDS: Final = 1000
_LONGEST_PAGE: Final = 256 * 1024
_LONGEST_IN_ALL: Final = 1024 * 1024
_MOST_PAGES: Final = 100

_HEAD_END = re.compile(r"\n[ \t]*\n")
_FIELD = re.compile(r"([!-9;-~]{1,76})[ \t]*:[ \t]*(.*)", re.DOTALL)
# What is left of the frame of parts that cannot be told apart.
_FRAME_LINE = re.compile(r"^(?:content-[a-z\-]{1,40}[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*|--[^\s]{8,}[ \t]*)$", re.IGNORECASE | re.MULTILINE)
_NO_TEXT = (("<!--", "-->"), ("<style", "</style"), ("<script", "</script"), ("<title", "</title"))
_LINE_TAG = re.compile(r"<(?:br|/?p|/?div|/?tr|/?li|/?h[1-6]|/?table|hr)\b[^<>]{0,1000}>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z!?][^<>@]{0,2000}>")


@dataclass(frozen=True, slots=True)
class Page:
    """One leaf of the mail, decoded; of HTML the text. A mail within the mail is one page: its header and its source."""

    content_type: str
    text: str


class Fields:
    """The fields of a header or of a report, by lower-case name, in order, unfolded and decoded."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.pairs = tuple(fields)
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def first(self, *names: str) -> str:
        """The first value of the first of these names that has one; empty if none has."""
        return next((value for name in names for value in self._values.get(name, ()) if value), "")

    def every(self, *names: str) -> list[str]:
        return [value for name in names for value in self._values.get(name, ())]


@dataclass(frozen=True, slots=True)
class Letter:
    fields: Fields
    content_type: str
    pages: tuple[Page, ...]


def read_letter(raw: bytes) -> Letter:
    """Read any octets as a mail."""
    structure = read_parts(raw)
    fields = read_head(head_text(raw, structure.body_start))
    pages: list[Page] = []
    room = _LONGEST_IN_ALL
    # Too many parts, or too deep: what there is is read as one.
    parts = structure.parts or (Part("1", "text/plain", "", "7bit", 0, len(raw) - structure.body_start),)
    for part in parts[:_MOST_PAGES]:
        page = _read_page(raw, structure.body_start, part, min(room, _LONGEST_PAGE))
        if page is not None:
            pages.append(page)
            room -= len(page.text)
    content_type = fields.first("content-type").partition(";")[0].strip().lower()
    return Letter(fields, content_type or "text/plain", tuple(pages))


def head_text(raw: bytes, body_start: int) -> str:
    """The header block as text, as far as it is looked at."""
    return lines_of(raw[: min(body_start, _LONGEST_HEAD)])


def read_head(text: str) -> Fields:
    """The fields of a header block up to its first empty line; lines that are none are passed over."""
    end = _HEAD_END.search(text)
    return read_fields(text[: end.start()] if end is not None else text, as_words=True)


def read_fields(text: str, *, as_words: bool = False) -> Fields:
    """The fields of a block of lines. `as_words`: encoded words are read (a report's own fields have none)."""
    fields: list[tuple[str, list[str]]] = []
    for line in text[:_LONGEST_HEAD].split("\n"):
        if line[:1] in (" ", "\t"):
            if fields:
                fields[-1][1].append(line.strip())
        elif (found := _FIELD.fullmatch(line)) is not None:
            if len(fields) >= _MOST_FIELDS:
                break
            fields.append((found[1].lower(), [found[2].strip()]))
    read = decode_words if as_words else str
    return Fields([(name, read(" ".join(lines)[:_LONGEST_FIELD])) for name, lines in fields])


def _read_page(raw: bytes, body_start: int, part: Part, room: int) -> Page | None:
    if room <= 0 or not _is_readable(part):
        return None
    start = body_start + part.start
    octets = decode_transfer(raw[start : min(body_start + part.end, start + room)], part.encoding)
    if part.content_type == "text/html":
        return Page(part.content_type, text_of(lines_of(octets, part.charset)))
    if part.content_type.startswith("multipart/"):
        return Page(part.content_type, _FRAME_LINE.sub("", lines_of(octets, part.charset)))
    return Page(part.content_type, lines_of(octets, part.charset))


def _is_readable(part: Part) -> bool:
    kind, _, subtype = part.content_type.partition("/")
    return kind in ("text", "message", "multipart") or subtype in ("json", "octet-stream")


def lines_of(octets: bytes, charset: str = "") -> str:
    if b"\x1b$" in octets and charset in ("", "us-ascii"):
        charset = "iso-2022-jp"
    text = decode(octets, charset)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """The octets that a transfer encoding stands for (RFC 2045 §6)."""
    if encoding == "base64":
        return unbase64(octets)
    return binascii.a2b_qp(octets) if encoding == "quoted-printable" else octets


def text_of(html: str) -> str:
    """The words of a page of HTML, a line for each of its lines: good enough to look for words in it."""
    for begin, end in _NO_TEXT:
        html = _without(html, begin, end)
    html = _LINE_TAG.sub("\n", html.replace("\n", " "))
    return read_attribute(_TAG.sub("", html))


def _without(html: str, begin: str, end: str) -> str:
    """The page without what stands between these two; where the second is missing, without the rest."""
    kept: list[str] = []
    folded, place = html.lower(), 0
    if len(folded) != len(html):  # a letter that is longer in lower case: nothing is where it was
        return html
    while (start := folded.find(begin, place)) >= 0:
        kept.append(html[place:start])
        place = folded.find(end, start)
        if place < 0:
            return "".join(kept)
        place += len(end) if end.endswith(">") else 0  # an end tag is a tag like others
    kept.append(html[place:])
    return "".join(kept)
