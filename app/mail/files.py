"""The files of a finished mail, and its header without what belonged to its body: what is left when a template gives the texts.

A file keeps its octets, its type with its parameters, and its name. It stays within the HTML (Content-ID) unless its author calls it an
attachment: what many programs write on every file would hide it otherwise.
"""

from __future__ import annotations

import re

from app.mail.adopt import Adopted
from app.mail.compose import Attachment, Part
from app.mail.header import format_free_text
from app.mail.letter import Fields, decode_transfer, lines_of, read_fields
from app.mail.part_fields import SUFFIXES, file_name, parameters_of
from app.mail.parts import fields_start

_OF_THE_BODY = re.compile(rb"(?:mime-version|content-[!-9;-~]+)[ \t]*:(?:[^\r\n]|\r\n[ \t])*\r\n", re.IGNORECASE)
_NO_SUBJECT = re.compile(rb"^subject:[ \t]*\r\n(?![ \t])", re.IGNORECASE | re.MULTILINE)
_CONTENT_ID = re.compile(r"<?([!-;=?-~]{1,200})>?")
_TOKEN = re.compile(r"[\w!#$&^.+\-/:]+", re.ASCII)
_QUOTABLE = re.compile(r"[ !#-\[\]-~]*")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_LONGEST_TYPE = 255
_LONGEST_NAME = 255
_ENCODINGS = frozenset(("", "7bit", "8bit", "binary", "base64", "quoted-printable"))


def read_files(adopted: Adopted) -> tuple[Attachment, ...]:
    """The attachments and inline images; ValueError for mail that may not be taken apart."""
    if adopted.sealed:
        raise ValueError("A template cannot take the place of texts that are signed, encrypted or in too many parts.")
    parts = [(part, _fields_of(adopted, part)) for part in adopted.content.parts]
    return tuple(_read_file(adopted, part, fields) for part, fields in parts if _is_file(part, fields))


def without_content_fields(head: bytes, subject: str) -> bytes:
    """A header block without the fields of its body, and with the subject if it had none."""
    kept = _NO_SUBJECT.sub(b"", b"".join([field for field in _fields(head) if _OF_THE_BODY.fullmatch(field) is None]))
    has_one = re.search(rb"^subject:", kept, re.IGNORECASE | re.MULTILINE) is not None
    return kept if has_one else kept + format_free_text("Subject", subject)


def _fields(head: bytes) -> list[bytes]:
    return [line + b"\r\n" for line in re.split(rb"\r\n(?![ \t])", head.removesuffix(b"\r\n"))]


def _fields_of(adopted: Adopted, part: Part) -> Fields:
    """The part's own header, which is the mail's where the mail is one part."""
    content = adopted.content
    is_whole = part.start == 0 and len(content.parts) == 1
    return read_fields(lines_of(content.head if is_whole else content.body[fields_start(content.body, part) : part.start]))


def _is_file(part: Part, fields: Fields) -> bool:
    """Whether it is no text of the mail. An invitation is none, though it stands among the texts."""
    return part.attached or not part.content_type.startswith("text/") or part.content_type == "text/calendar" or bool(file_name(fields))


def _read_file(adopted: Adopted, part: Part, fields: Fields) -> Attachment:
    if part.encoding not in _ENCODINGS:
        raise ValueError(f"A file of the mail is in an encoding that is not known ({part.encoding}).")
    name = file_name(fields)[:_LONGEST_NAME] or f"attachment{SUFFIXES.get(part.content_type, '')}"
    content = decode_transfer(adopted.content.body[part.start : part.end], part.encoding)
    return Attachment(name, _full_type(part, fields), content, _content_id(fields))


def _full_type(part: Part, fields: Fields) -> str:
    """Its type with the parameters that say how to read it (charset, method); the name stands in Content-Disposition."""
    full = part.content_type
    for name, value in parameters_of(fields.first("content-type")).items():
        if name == "name" or _PARAMETER_NAME.fullmatch(name) is None or _QUOTABLE.fullmatch(value) is None:
            continue
        written = f"; {name}={value}" if _TOKEN.fullmatch(value) is not None else f'; {name}="{value}"'
        if len(full) + len(written) <= _LONGEST_TYPE:
            full += written
    return full


def _content_id(fields: Fields) -> str | None:
    if fields.first("content-disposition").lower().startswith("attachment"):
        return None
    found = _CONTENT_ID.fullmatch(fields.first("content-id"))
    return found[1] if found is not None else None
