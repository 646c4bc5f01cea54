"""The parts of a mail written anew where they cannot be sent as they are, and nothing else of it.

A `Need` says what octets must be to stay; a part that is otherwise gets another encoding and the field that names it:

    text                     quoted-printable, or base64 where most of it is not ASCII
    any other part           base64
    base64, quoted-printable stay what they are: their lines are only broken anew
    message in the message   the same within: it may bear no encoding of its own (RFC 2046 §5.2.1)

What this cannot do without saying something else than the author did raises ValueError: mail that is signed or encrypted, a part that is
not what its encoding says, a structure without end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from app.mail.compose import Part
from app.mail.parts import read_parts
from app.mail.transfer import break_quoted, encode_octets, encode_text

_DEEPEST = 10
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)(?:\r?\n|\Z)")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_BINARY_CHARSETS = ("utf-16", "utf-32", "ucs-2", "iso-10646")
_LINE = 76


class Need(NamedTuple):
    """What a mail must be: whether octets are so already, a field made so (name, value in one line, octets), what lies between parts."""

    is_met: Callable[[bytes], bool]
    field: Callable[[str, str, bytes], bytes]
    between: Callable[[bytes], bytes]


def recode(head: bytes, body: bytes, need: Need) -> tuple[bytes, bytes]:
    """The same mail as it must be. `head` is the header block with its last line's end; ValueError says why there is none."""
    return _recode(head, body, need, 0)


def _recode(head: bytes, body: bytes, need: Need, depth: int) -> tuple[bytes, bytes]:
    if depth > _DEEPEST:
        raise ValueError("the mail contains messages in messages, too deep to be changed")
    found = read_parts(head + b"\r\n" + body)
    if found.sealed:
        raise ValueError("the mail is signed or encrypted and cannot be changed")
    if not found.complete:
        raise ValueError("the mail has too many parts to be changed")
    whole = len(found.parts) == 1 and found.parts[0].start == 0  # the head is this part's own
    pieces: list[bytes] = []
    place, root_encoding = 0, None
    for part in found.parts:
        octets = body[part.start : part.end]
        encoding, lesser = (None, octets) if need.is_met(octets) else _encode(part, octets, need, depth)
        if whole:
            root_encoding = encoding
        else:
            fields_start = _fields_of(body, part)
            pieces += [need.between(body[place:fields_start]), _part_fields(body[fields_start : part.start], encoding, need)]
        pieces.append(lesser)
        place = part.end
    pieces.append(need.between(body[place:]))
    head = b"".join([need.field(name, value, raw) for name, value, raw in _fields(head)])
    return (_set_encoding(head, root_encoding) if root_encoding is not None else head), b"".join(pieces)


def _encode(part: Part, octets: bytes, need: Need, depth: int) -> tuple[str | None, bytes]:
    """The part's octets anew, and its encoding if that is another."""
    if octets.isascii() and part.encoding == "base64":
        return None, _break_lines(octets)
    if octets.isascii() and part.encoding == "quoted-printable":
        return None, break_quoted(octets)
    if part.content_type == "message/rfc822":
        head_end = octets.find(b"\r\n\r\n")
        if head_end < 0:
            raise ValueError("a message within the mail has no end of its header")
        head, body = _recode(octets[: head_end + 2], octets[head_end + 4 :], need, depth + 1)
        octets = head + b"\r\n" + body
        return "7bit" if octets.isascii() else None, octets
    if part.content_type.startswith(("message/", "multipart/")):
        raise ValueError(f"a part of type {part.content_type} may not be encoded")
    if part.encoding not in ("7bit", "8bit", "binary"):
        raise ValueError(f"a part is not what its encoding ({part.encoding}) says")
    if part.content_type.startswith("text/") and not part.charset.startswith(_BINARY_CHARSETS) and b"\0" not in octets:
        encoded = encode_text(octets.replace(b"\r\n", b"\n"))
        return encoded.encoding, encoded.octets
    return "base64", encode_octets(octets)


def _break_lines(octets: bytes) -> bytes:
    """Base64 with its long lines broken."""
    lines = octets.split(b"\r\n")
    return b"\r\n".join([line[start : start + _LINE] for line in lines for start in range(0, len(line) or 1, _LINE)])


def _fields_of(body: bytes, part: Part) -> int:
    """Where the fields of a part begin: after the line of the delimiter before it."""
    delimiter = body.rfind(b"\n--", 0, part.start)
    line_end = body.find(b"\n", delimiter + 1 if delimiter >= 0 else 0)
    return line_end + 1 if 0 <= line_end < part.start else part.start


def _part_fields(fields: bytes, encoding: str | None, need: Need) -> bytes:
    """The fields of a part with the empty line after them, and with its new encoding if it has one."""
    if encoding is None and need.is_met(fields):
        return fields
    head = b"".join([need.field(name, value, raw) for name, value, raw in _fields(fields)])
    return (_set_encoding(head, encoding) if encoding is not None else head) + b"\r\n"


def _set_encoding(head: bytes, encoding: str) -> bytes:
    """The head with one Content-Transfer-Encoding."""
    kept = [raw for name, _, raw in _fields(head) if name.lower() != "content-transfer-encoding"]
    return b"".join([*kept, f"Content-Transfer-Encoding: {encoding}\r\n".encode()])


def _fields(head: bytes) -> list[tuple[str, str, bytes]]:
    """(name, unfolded value, the field as it is) of a header block."""
    found = []
    for field in _FIELD.finditer(head):
        value = _FOLD.sub("", field[2].decode("utf-8", "replace")).strip(" \t")
        raw = field[0] if field[0].endswith(b"\n") else field[0] + b"\r\n"
        found.append((field[1].decode("ascii"), value, raw))
    return found
