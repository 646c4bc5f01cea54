"""Content transfer encodings (RFC 2045 §6): from the text or bytes of a part to lines that every host carries unharmed.

Text goes as it is if it is plain ASCII in short lines, as base64 if most of it is not ASCII, else as
quoted-printable. Attachments are always base64. Every line ends with CRLF and has at most 76 octets; no other
CR, LF or NUL is left.

Links of an HTML part may be set apart: each target then begins and ends at a soft line break, so that its span
can be exchanged for another `encode_link` without touching, or even reading, the rest of the part.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.mail.links import LinkSpan

_ASCII = bytes(range(128))
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n"
_BLANKS = (b" ", b"\t")
_EQUALS = 0x3D
_LINE = 76  # RFC 2045 §6.7 (5) and §6.8


@dataclass(slots=True)
class Encoded:
    """A part's octets and the encoding that reads them; its links and the place of its pixel count from the part's first octet."""

    encoding: str
    octets: bytes
    links: tuple[LinkSpan, ...] = ()
    pixel: int | None = None


def text_octets(text: str, what: str) -> bytes:
    """`text` as UTF-8 with LF line ends; every CR, LF and CRLF is one line end."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The {what} contains half of a surrogate pair, which is no character.") from error


def encode_text(octets: bytes, *, links: Sequence[LinkSpan] = (), pixel: int | None = None) -> Encoded:
    """Encode what `text_octets` gave, setting `links` (spans of it) and the place of a pixel behind them apart."""
    if links or pixel is not None:
        return _encode_with_links(octets, links, pixel)
    if _is_plain(octets):
        return Encoded("7bit", octets.replace(b"\n", b"\r\n"))
    if not octets.isascii() and 5 * len(octets.translate(None, _ASCII)) > len(octets):
        # Quoted-printable needs two more octets for each that is not ASCII, base64 a third more for all.
        return Encoded("base64", encode_octets(octets.replace(b"\n", b"\r\n")))
    return Encoded("quoted-printable", _quote(octets))


def encode_octets(content: bytes) -> bytes:
    """Base64 in lines of 76, without a line end after the last."""
    one_line = binascii.b2a_base64(content, newline=False)
    return b"\r\n".join([one_line[start : start + _LINE] for start in range(0, len(one_line), _LINE)])


def encode_link(url: str) -> bytes:
    """`url` as an attribute's value in quoted-printable, to stand between two soft line breaks in place of a link's span."""
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("'", "&#39;"), ("<", "&lt;"), (">", "&gt;"), (" ", "%20")):
        url = url.replace(character, entity)
    return quote_piece(url.encode())


def _is_plain(octets: bytes) -> bool:
    """Whether lines may go as they are. Space at a line's end may be lost on the way, and so is not plain."""
    if not octets.isascii():
        return False
    lines = octets.split(b"\n")
    if max(map(len, lines)) > _LINE or octets.translate(None, _PLAIN):
        return False
    return not any(line.endswith(_BLANKS) for line in lines)


def _encode_with_links(octets: bytes, links: Sequence[LinkSpan], pixel: int | None) -> Encoded:
    # One call for all pieces, with a line end and a control character between them that the text does not have.
    mark = next((control for control in range(1, 9) if bytes((control, 0x0A)) not in octets), None)
    if mark is None:
        return encode_text(octets)
    bounds = [0, *(place for link in links for place in (link.start, link.end)), *(() if pixel is None else (pixel,)), len(octets)]
    apart = bytes((mark, 0x0A)).join([octets[start:end] for start, end in pairwise(bounds)])
    quoted = _quote(apart).split(b"=%02X\r\n" % mark)
    pieces: list[bytes] = []
    spans: list[LinkSpan] = []
    size = 0
    for link, before, target in zip(links, quoted[0::2], quoted[1::2], strict=False):
        if before and not before.endswith(b"\n"):
            before += b"=\r\n"
        target = target.removesuffix(b"=\r\n")
        start = size + len(before)
        size = start + len(target) + 3
        spans.append(LinkSpan(start, size - 3, link.url))
        pieces += (before, target, b"=\r\n")
    if pixel is None:
        return Encoded("quoted-printable", b"".join([*pieces, quoted[-1]]), tuple(spans))
    before = quoted[-2]
    if before and not before.endswith(b"\n"):
        before += b"=\r\n"
    return Encoded("quoted-printable", b"".join([*pieces, before, quoted[-1]]), tuple(spans), size + len(before))


def quote_piece(octets: bytes) -> bytes:
    """Quoted-printable that begins a line and leaves room for the soft break after it."""
    return _quote(octets + b"x")[:-1].removesuffix(b"=\r\n")


def break_quoted(octets: bytes) -> bytes:
    """Quoted-printable with its long lines broken anew."""
    return b"\r\n".join([_break_line(line) if len(line) > _LINE else line for line in octets.split(b"\r\n")])


def _quote(octets: bytes) -> bytes:
    """Quoted-printable (RFC 2045 §6.7), by steps that each pass over the whole text in C: binascii looks at every octet alone."""
    quoted = octets.replace(b"=", b"=3D")
    for octet in set(octets.translate(None, _PLAIN)):
        quoted = quoted.replace(b"%c" % octet, b"=%02X" % octet)
    lines = quoted.split(b"\n")
    for number, line in enumerate(lines):
        if line.endswith(_BLANKS):  # what stands at a line's end may be lost on the way
            line = lines[number] = line[:-1] + b"=%02X" % line[-1]
        if len(line) > _LINE:
            lines[number] = _break_line(line)
        elif line == b".":  # which would end the mail where a host forgets to double it
            lines[number] = b"=2E"
    return b"\r\n".join(lines)


def _break_line(line: bytes) -> bytes:
    """A line too long in pieces with soft breaks, none of them within the three octets of a code."""
    pieces = []
    start, last = 0, len(line) - _LINE
    while start < last:
        end = start + _LINE - 1
        if line[end - 1] == _EQUALS:
            end -= 1
        elif line[end - 2] == _EQUALS:
            end -= 2
        pieces.append(line[start:end])
        start = end
    pieces.append(line[start:])
    return b"=\r\n".join(pieces)
