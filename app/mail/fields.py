"""The header block of a mail that somebody else wrote, field by field, read so that nobody could read it otherwise.

What one program takes for a field and another for none is how a second From is smuggled past: so a line that is no field, a name with a
space before its colon, or a field that occurs twice although it may only once (RFC 5322 §3.6) is refused, and not guessed at.

What has to be mended to be sent is mended field by field; all others stay as they are, to the octet.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from app.mail.downgrade import field_in_ascii
from app.mail.header import format_free_text
from app.mail.words import decode_text, decode_words

LONGEST_HEAD: Final = 256 * 1024
LONGEST_LINE: Final = 998  # RFC 5322 §2.1.1

_SPLIT = re.compile(rb"\r\n(?![ \t])")
_NAME = re.compile(rb"[!-9;-~]{1,200}")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_ONCE = frozenset(
    (
        *("from", "sender", "reply-to", "to", "cc", "message-id", "in-reply-to", "references", "subject", "date"),
        *("mime-version", "content-type", "content-transfer-encoding", "content-id", "content-disposition", "content-description"),
    )
)
# Read by machines: their words cannot become encoded words.
_STRUCTURED = frozenset(("message-id", "in-reply-to", "references", "date", "received", "return-path", "mime-version", "dkim-signature"))
_ADDRESSES = frozenset(("from", "sender", "reply-to", "to", "cc", "bcc"))


class Unfit(ValueError):
    """A mail that cannot be taken; `field` names the header field that is to blame, if one is."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class Field(NamedTuple):
    """One header field: its name in lower case, its value in one line, and its octets with their line end."""

    name: str
    value: str
    raw: bytes


def read_fields(head: bytes) -> list[Field]:
    """The fields of a header block whose line ends are all CRLF, the last one included. Raises Unfit."""
    fields: list[Field] = []
    seen: set[str] = set()
    for line in _SPLIT.split(head.removesuffix(b"\r\n")) if head else ():
        written, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(written) is None:
            raise Unfit(_no_field(written, is_named=bool(colon)))
        name = written.decode("ascii").lower()
        if b"\v" in value or b"\f" in value:  # spaces to some programs, verifiers of signatures among them
            raise Unfit(f"The header field {written.decode('ascii')} contains a vertical tab or a form feed.", written.decode("ascii"))
        if name in seen and name in _ONCE:
            raise Unfit(f"The header field {written.decode('ascii')} occurs more than once.", written.decode("ascii"))
        seen.add(name)
        text = value.decode("ascii") if value.isascii() else decode_text(value)
        fields.append(Field(name, _FOLD.sub("", text).strip(" \t"), line + b"\r\n"))
    return fields


def mend_field(field: Field) -> bytes:
    """The field as it can be sent: in UTF-8 and in lines that are not too long. Raises Unfit where that would change what it says."""
    raw = field.raw
    name = raw.partition(b":")[0].decode("ascii")
    if not raw.isascii() and not _is_utf8(raw):  # as old programs write it
        try:
            raw = field_in_ascii(name, field.value, raw)
        except ValueError as error:
            raise Unfit(f"The header field {name} is not in UTF-8: {error}.", name) from error
    return raw if has_short_lines(raw) else fold_field(name, raw)


def fold_field(name: str, raw: bytes) -> bytes:
    """A field in lines that are not too long: broken before spaces, or in encoded words where it is free text."""
    lines = [piece for line in raw.removesuffix(b"\r\n").split(b"\r\n") for piece in _break_line(line)]
    if all(len(line) <= LONGEST_LINE for line in lines):
        return b"\r\n".join(lines) + b"\r\n"
    lower = name.lower()
    if lower in _STRUCTURED or lower in _ADDRESSES or lower.startswith(("list-", "content-", "resent-", "arc-")):
        raise Unfit(f"The header field {name} has a word that is too long for a line of mail.", name)
    return format_free_text(name, decode_words(_FOLD.sub("", decode_text(raw.partition(b":")[2].removesuffix(b"\r\n")))))


def has_short_lines(octets: bytes) -> bool:
    """Whether no line is longer than RFC 5322 §2.1.1 allows; looks only where a line could be too long."""
    place, size = 0, len(octets)
    while size - place > LONGEST_LINE:
        line_end = octets.rfind(b"\n", place, place + LONGEST_LINE + 2)
        if line_end < 0:
            return False
        place = line_end + 1
    return True


def _break_line(line: bytes) -> list[bytes]:
    """The line broken before white space, as late as may be; what has none stays too long."""
    pieces = []
    while len(line) > LONGEST_LINE:
        place = max(line.rfind(b" ", 1, LONGEST_LINE + 1), line.rfind(b"\t", 1, LONGEST_LINE + 1))
        if place < 1 or not line[:place].strip(b" \t"):
            break
        pieces.append(line[:place])
        line = line[place:]
    return [*pieces, line]


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_field(written: bytes, *, is_named: bool) -> str:
    if is_named and _NAME.fullmatch(written.rstrip(b" \t")) is not None:
        return f"There is a space before the colon of the header field {written.rstrip().decode('ascii')}."
    return "A line of the header is no header field: it has no name before a colon, or the empty line after the header is missing."
