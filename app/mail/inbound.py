"""Mail that came in for an account, as what it says: who wrote to whom, text and HTML, attachments, what it answers.

`read_inbound` takes any octets, never raises, and is bounded: the structure by `parts`, header and texts by `letter`'s measures, and by
those below. What lies beyond a bound is not shown; it is in the raw mail still. Addresses are read before encoded words are (a name
cannot smuggle in another address). Nothing here is believed: what a mail says of its author is its own word (`verdicts` say more).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.mail.address import Address
from app.mail.address_list import find_people
from app.mail.compose import Part
from app.mail.inbound_reply import strip_quotes, strip_reply
from app.mail.letter import Fields, decode_transfer, head_text, lines_of, read_fields, text_of
from app.mail.part_fields import SUFFIXES, file_name
from app.mail.parts import PartMap, read_parts
from app.mail.words import decode_words, scrub

LONGEST_TEXT: Final = 1024 * 1024
MOST_ATTACHMENTS: Final = 200
_MOST_PEOPLE: Final = 100
_MOST_REFERENCES: Final = 100
_LONGEST_FIELD: Final = 1000
_LONGEST_LIST: Final = 32 * 1024
_LONGEST_PART_HEAD: Final = 8 * 1024
_LONGEST_FILE_NAME: Final = 255

_ID = re.compile(r"<([!-;=?-~]{1,500})>")
_NO_FILE_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|.*[/\\]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")
_MARKS: Final = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response")
_BULK: Final = ("bulk", "junk", "list", "auto_reply", "auto-reply")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is a file. `number` counts from 1; `start` and `end` are its place in the raw mail, still encoded."""

    number: int
    name: str
    content_type: str
    content_id: str
    size_bytes: int
    start: int
    end: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Inbound:
    """A mail as it was read. `complete` is False when it has more parts than are looked at, or deeper ones."""

    authors: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    date: str
    message_id: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    text: str
    html: str
    reply_text: str
    attachments: tuple[Attachment, ...]
    automatic: bool
    complete: bool


def read_inbound(raw: bytes) -> Inbound:
    """Read any octets as a mail."""
    structure = read_parts(raw)
    head = read_fields(head_text(raw, structure.body_start))
    texts, pages, attachments = _sort_parts(raw, structure)
    text, html = _clean("\n".join(texts)), _clean("\n".join(pages))
    return Inbound(
        authors=_authors(head),
        to=_people(head, "to"),
        cc=_people(head, "cc"),
        reply_to=_people(head, "reply-to"),
        subject=_line(head, "subject"),
        date=_line(head, "date"),
        message_id=next(iter(_ids(head, "message-id")), ""),
        in_reply_to=_ids(head, "in-reply-to"),
        references=_ids(head, "references"),
        text=text or text_of(html),
        html=html,
        reply_text=strip_reply(text or text_of(strip_quotes(html))),
        attachments=tuple(attachments),
        automatic=is_automatic(head),
        complete=structure.complete and len(attachments) < MOST_ATTACHMENTS,
    )


def _clean(text: str) -> str:
    """Some charsets (UTF-7) can spell what is no text: neither JSON nor a database takes it. Controls are no words either."""
    return scrub(_CONTROLS.sub("", text))


def read_attachment(raw: bytes, attachment: Attachment) -> bytes:
    """The file."""
    return decode_transfer(raw[attachment.start : attachment.end], attachment.encoding)


def is_automatic(head: Fields) -> bool:
    """Whether a program wrote it: RFC 3834 §5, and what was usual before. Not by its subject: an answer has that of what it answers."""
    auto = head.first("auto-submitted").lower()
    return (
        (auto != "" and not auto.startswith("no"))
        or any(name in head for name in _MARKS)
        or head.first("precedence").lower() in _BULK
        or head.first("return-path").replace(" ", "") == "<>"  # RFC 5321 §4.5.5: notices have no sender
    )


def _people(head: Fields, name: str) -> tuple[Address, ...]:
    return tuple(find_people(head.first(name)[:_LONGEST_LIST])[:_MOST_PEOPLE])


def _authors(head: Fields) -> tuple[Address, ...]:
    """Of all From fields: where there are two, programs differ on which they show."""
    return tuple(one for value in head.every("from")[:_MOST_PEOPLE] for one in find_people(value[:_LONGEST_FIELD]))[:_MOST_PEOPLE]


def _line(head: Fields, name: str) -> str:
    return " ".join(decode_words(head.first(name)[: 4 * _LONGEST_FIELD]).split())[:_LONGEST_FIELD]


def _ids(head: Fields, name: str) -> tuple[str, ...]:
    """Message-IDs, without their brackets."""
    return tuple(found[1] for _, found in zip(range(_MOST_REFERENCES), _ID.finditer(head.first(name)[:_LONGEST_LIST]), strict=False))


def _sort_parts(raw: bytes, structure: PartMap) -> tuple[list[str], list[str], list[Attachment]]:
    """Texts, pages of HTML, and the files. Parts that cannot be told apart are one text."""
    texts: list[str] = []
    pages: list[str] = []
    attachments: list[Attachment] = []
    room = LONGEST_TEXT
    for part in structure.parts or (Part("1", "text/plain", "", "7bit", 0, len(raw) - structure.body_start),):
        start, end = structure.body_start + part.start, structure.body_start + part.end
        if (not part.attached and part.content_type in ("text/plain", "text/html")) or part.content_type.startswith("multipart/"):
            octets = decode_transfer(raw[start : min(end, start + 4 * room)], part.encoding)
            page = lines_of(octets, part.charset)[:room]
            room -= len(page)
            (pages if part.content_type == "text/html" else texts).append(page)
        elif len(attachments) < MOST_ATTACHMENTS:
            attachments.append(_attachment(raw, part, len(attachments) + 1, start, end))
    return texts, pages, attachments


def _attachment(raw: bytes, part: Part, number: int, start: int, end: int) -> Attachment:
    fields = read_fields(lines_of(_head_of(raw, start)))
    content_id = decode_words(fields.first("content-id")[:_LONGEST_FIELD]).strip("<> ")[:_LONGEST_FILE_NAME]
    encoding = part.encoding if part.encoding in ("base64", "quoted-printable") else ""
    size = len(decode_transfer(raw[start:end], encoding))
    name = _safe_name(file_name(fields)) or f"attachment-{number}{SUFFIXES.get(part.content_type, '')}"
    return Attachment(number, name, scrub(part.content_type)[:255], content_id, size, start, end, encoding)


def _safe_name(said: str) -> str:
    """The file's name without what could lead out of a directory or turn it round."""
    return " ".join(_NO_FILE_NAME.sub("", said).split()).strip(". ")[-_LONGEST_FILE_NAME:]


def _head_of(raw: bytes, start: int) -> bytes:
    """The header of the part whose content begins at `start`: what stands between the delimiter before it and there."""
    before = raw[max(0, start - _LONGEST_PART_HEAD) : start]
    delimiter = before.rfind(b"\n--")
    if delimiter < 0:  # the mail is one part, and its own header says it
        return raw[: min(start, 16 * _LONGEST_PART_HEAD)]
    line_end = before.find(b"\n", delimiter + 1)
    return before[line_end + 1 :] if line_end >= 0 else b""
