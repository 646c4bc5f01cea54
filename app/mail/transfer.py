"""Content transfer encodings (RFC 2045 §6): from the text or bytes of a part to lines that every host carries unharmed.

Text goes as it is if it is plain ASCII in short lines, as base64 if most of it is not ASCII, else as
quoted-printable. Attachments are always base64. Every line ends with CRLF and has at most 76 octets; no other
CR, LF or NUL is left.

Links of an HTML part may be set apart: each target then begins and ends at a soft line break, so that its span
can be exchanged for another `quote_piece` without touching, or even reading, the rest of the part.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.mail.links import LinkSpan

_ASCII = bytes(range(128))
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n"
_BLANKS = (b" ", b"\t")
# A blank at a line's end may be lost on the way; a lone dot would end the mail where a host forgets to double it.
_ODD_END = re.compile(rb"[ \t](?=\n|\Z)|(?<![^\n])\.(?=\n|\Z)")
_CONTROLS = [bytes((control,)) for control in range(1, 9)]
_EQUALS, _LINE_FEED = 0x3D, 0x0A
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


def _is_plain(octets: bytes) -> bool:
    """Whether lines may go as they are. Space at a line's end may be lost on the way, and so is not plain."""
    if not octets.isascii():
        return False
    lines = octets.split(b"\n")
    if max(map(len, lines)) > _LINE or octets.translate(None, _PLAIN):
        return False
    return not any(line.endswith(_BLANKS) for line in lines)


def _encode_with_links(octets: bytes, links: Sequence[LinkSpan], pixel: int | None) -> Encoded:
    # One pass for all pieces: between them stands a control character that the text has not, at a line's end. It becomes the "=" of a
    # soft break.
    mark = next((control for control in _CONTROLS if control not in octets), None)
    if mark is None:
        return encode_text(octets)
    apart: list[bytes] = []
    place = 0
    for start, end, _ in links:
        apart += (octets[place:start], octets[start:end])
        place = end
    apart += (octets[place:],) if pixel is None else (octets[place:pixel], octets[pixel:])
    quoted = _quote((mark + b"\n").join(apart), mark)
    ends = list(accumulate(map(len, quoted.split(mark + b"\r\n"))))  # of each piece, without what stands between them
    spans = [
        LinkSpan(before + breaks, after + breaks, link.url)
        for link, before, after, breaks in zip(links, ends[0::2], ends[1::2], range(3, 6 * len(links), 6), strict=False)
    ]
    encoded = quoted.replace(mark, b"=")
    if pixel is None:
        return Encoded("quoted-printable", encoded, tuple(spans))
    place = ends[-2] + 3 * len(ends) - 3
    if place == 3 or encoded[place - 4] == _LINE_FEED:  # the pixel begins a line anyway
        encoded = encoded[: place - 3] + encoded[place:]
        place -= 3
    return Encoded("quoted-printable", encoded, tuple(spans), place)


def quote_piece(octets: bytes) -> bytes:
    """Quoted-printable that begins a line and leaves room for the soft break after it."""
    return _quote(octets + b"x")[:-1].removesuffix(b"=\r\n")


def break_quoted(octets: bytes) -> bytes:
    """Quoted-printable with its long lines broken anew."""
    return b"\r\n".join([_break_line(line) if len(line) > _LINE else line for line in octets.split(b"\r\n")])


def _quote(octets: bytes, mark: bytes = b"") -> bytes:
    """Quoted-printable (RFC 2045 §6.7), by steps that each pass over the whole text in C: binascii looks at every octet alone.

    `mark`: an octet that is left as it is.
    """
    quoted = octets.replace(b"=", b"=3D")
    for octet in set(octets.translate(None, _PLAIN + mark)):
        quoted = quoted.replace(b"%c" % octet, b"=%02X" % octet)
    if b" \n" in quoted or b"\t\n" in quoted or b"\n.\n" in quoted or quoted.startswith(b".\n") or quoted.endswith((b" ", b"\t", b".")):
        quoted = _ODD_END.sub(lambda found: b"=%02X" % found[0][0], quoted)
    return b"\r\n".join([_break_line(line) if len(line) > _LINE else line for line in quoted.split(b"\n")])


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
