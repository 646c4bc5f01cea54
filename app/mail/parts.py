"""The part map of a mail that came in as MIME: where each leaf lies in its body, and what it is.

Only structure is read: nothing is decoded, no header but the content fields is looked at. Any bytes are taken; nesting
and number are bounded, and a mail that passes the bounds is told (`complete` is False) rather than read halfway.
Mail that is signed or encrypted (S/MIME, PGP) is told too (`sealed`): it must go out as it came in.

A message inside the message (message/rfc822) is a leaf: what it contains is not for us to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.mail.compose import Part

_DEEPEST = 20
_MOST_PARTS = 1000
_LONGEST_HEAD = 256 * 1024

PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')

_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
# Sought in lower case: so it begins with a word that is found many times faster than a pattern is tried at each octet.
_CONTENT_FIELD = re.compile(rb"\n(content-[a-z\-]+)[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")
_TYPE = re.compile(r"\s*([!#$&^_.+\-\w]+/[!#$&^_.+\-\w]+)\s*(?:;|$)", re.ASCII)
_FILE_NAME = re.compile(rb";\s*filename\*?")
_SEALED_TYPES = frozenset(
    (
        *("multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"),
        *("application/pgp-encrypted", "application/pgp-signature", "application/pgp"),
    )
)
# RFC 8551 §3.2.1: where a program knew no better type, the file's name tells of S/MIME.
_SEALED_NAMES = (".p7m", ".p7s", ".p7c")
_ARMOUR = re.compile(rb"-----BEGIN PGP (?:SIGNED )?MESSAGE-----")
_LINE_FEED = 0x0A
_DELIMITER_REST = re.compile(rb"(--)?[ \t]*(?=\r?\n|\Z)")


@dataclass(frozen=True, slots=True)
class PartMap:
    """`body_start`: where in the raw mail the body begins; the parts' offsets count from there."""

    body_start: int
    parts: tuple[Part, ...]
    sealed: bool
    complete: bool


@dataclass(slots=True)  # not frozen: that makes each a third dearer, and some are made for every mail
class _Entity:
    """What is still to be read: the content fields of one entity, and where its octets lie in the raw mail."""

    path: str
    depth: int
    content_type: str
    parameters: dict[str, str]
    encoding: str
    attached: bool
    start: int
    end: int


def read_parts(raw: bytes) -> PartMap:
    """Map the leaves of `raw`, in order, in time proportional to its length."""
    root = _read_entity(raw, 0, len(raw), path="", depth=0, default="text/plain")
    parts: list[Part] = []
    sealed, complete = False, True
    waiting = [root]
    while waiting:
        entity = waiting.pop()
        sealed = sealed or entity.content_type in _SEALED_TYPES or entity.parameters.get("name", "").lower().endswith(_SEALED_NAMES)
        children: list[_Entity] = []
        if entity.content_type.startswith("multipart/"):
            if entity.depth >= _DEEPEST:
                complete = False
            else:
                children = _read_children(raw, entity, _MOST_PARTS - len(parts) - len(waiting))
        if len(parts) + len(waiting) + len(children) >= _MOST_PARTS:
            complete = False
            break
        if children:
            waiting += reversed(children)
            continue
        sealed = sealed or (entity.content_type == "text/plain" and _is_armoured(raw, entity))
        parts.append(_leaf(entity, root.start))
    return PartMap(root.start, tuple(parts), sealed, complete)


def fields_start(body: bytes, part: Part) -> int:
    """Where the fields of a part begin: after the line of the delimiter before it."""
    delimiter = body.rfind(b"\n--", 0, part.start)
    line_end = body.find(b"\n", delimiter + 1 if delimiter >= 0 else 0)
    return line_end + 1 if 0 <= line_end < part.start else part.start


def _is_armoured(raw: bytes, entity: _Entity) -> bool:
    """Whether a line begins as PGP does (RFC 9580 §6.2)."""
    return any(
        found.start() == entity.start or raw[found.start() - 1] == _LINE_FEED for found in _ARMOUR.finditer(raw, entity.start, entity.end)
    )


def _leaf(entity: _Entity, body_start: int) -> Part:
    charset = entity.parameters.get("charset", "us-ascii" if entity.content_type.startswith("text/") else "").lower()
    if not charset.isascii():  # the name of none, and perhaps no text
        charset = charset.encode("ascii", "replace").decode()
    return Part(
        entity.path or "1",
        entity.content_type,
        charset,
        entity.encoding,
        entity.start - body_start,
        entity.end - body_start,
        entity.attached,
    )


def _read_children(raw: bytes, entity: _Entity, most: int) -> list[_Entity]:
    boundary = entity.parameters.get("boundary", "").rstrip()
    if not boundary:
        return []
    default = "message/rfc822" if entity.content_type == "multipart/digest" else "text/plain"
    children: list[_Entity] = []
    begun: int | None = None
    for start, after, is_last in _find_delimiters(raw, entity, b"--" + boundary.encode("utf-8", "surrogateescape")):
        if begun is not None:
            path = f"{entity.path}.{len(children) + 1}".removeprefix(".")
            children.append(_read_entity(raw, begun, max(start, begun), path=path, depth=entity.depth + 1, default=default))
        begun = None if is_last else _after_line(raw, after, entity.end)
        if is_last or len(children) > most:
            break
    if begun is not None and begun < entity.end:  # no last delimiter: what is there counts
        path = f"{entity.path}.{len(children) + 1}".removeprefix(".")
        children.append(_read_entity(raw, begun, entity.end, path=path, depth=entity.depth + 1, default=default))
    return children


def _find_delimiters(raw: bytes, entity: _Entity, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it is the last) of the lines that are `mark`: found by its octets, which is many times faster than line by line.

    RFC 2046 §5.1.1: the line end before a delimiter belongs to the delimiter.
    """
    place = raw.find(mark, entity.start, entity.end)
    while place >= 0:
        after = place + len(mark)
        if (place == 0 or raw[place - 1] == _LINE_FEED) and (rest := _DELIMITER_REST.match(raw, after, entity.end)) is not None:
            line_end = 2 if raw[max(place - 2, 0) : place] == b"\r\n" else 1
            yield max(place - line_end, 0), rest.end(), rest[1] is not None
        place = raw.find(mark, after, entity.end)


def _after_line(raw: bytes, place: int, end: int) -> int:
    line_end = raw.find(b"\n", place, end)
    return end if line_end < 0 else line_end + 1


def _read_entity(raw: bytes, start: int, end: int, *, path: str, depth: int, default: str) -> _Entity:
    """The fields of the entity at [start:end]; one that begins with an empty line has none."""
    head_end = start
    body_start = start
    if (first := _LINE_END.match(raw, start, end)) is not None:
        body_start = first.end()
    elif (found := _HEAD_END.search(raw, start, min(end, start + _LONGEST_HEAD))) is not None:
        head_end, body_start = found.start(), found.end()
    else:
        head_end = body_start = min(end, start + _LONGEST_HEAD)
    fields = _content_fields(raw[start:head_end])
    value = fields.get(b"content-type", b"").decode("utf-8", "surrogateescape").replace("\r\n", "").replace("\n", "")
    named = _TYPE.match(value)
    content_type = named[1].lower() if named is not None else default
    parameters: dict[str, str] = {}
    for name, quoted, bare in PARAMETER.findall(value) if named is not None else ():
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
    encoding = fields.get(b"content-transfer-encoding", b"7bit").strip().lower().decode("ascii", "replace")
    disposition = fields.get(b"content-disposition", b"").strip().lower()
    attached = disposition.startswith(b"attachment") or _FILE_NAME.search(disposition) is not None
    return _Entity(path, depth, content_type, parameters, encoding, attached, body_start, end)


def _content_fields(head: bytes) -> dict[bytes, bytes]:
    """The values of the content fields by their names in lower case; the first of a name counts."""
    fields: dict[bytes, bytes] = {}
    for found in _CONTENT_FIELD.finditer(b"\n" + head.lower()):
        fields.setdefault(found[1], head[found.start(2) - 1 : found.end(2) - 1])
    return fields
