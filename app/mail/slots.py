"""Where a piece of an HTML text lies in the encoded octets of its part, so that another can be put there and no other octet changes.

A slot is a range of the body, and what must surround the new text there:

    quoted-printable   soft line breaks before and after, so that the lines around stay within 76 (RFC 2045 §6.7)
    base64             the octets that share a group of three with it; the new text is filled up with spaces to whole groups
    7bit, 8bit         line ends around it where the line would pass 998 octets (RFC 5321 §4.5.3.1.6)
    binary             nothing

Spaces and line ends around a URL in an attribute, and before </body>, do not count. Slots come in order and do not overlap. What cannot be
spliced (an unknown encoding, broken base64; in 7bit and 8bit a URL that is longer than a line) has none and goes as it came.
"""

from __future__ import annotations

import binascii
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from app.mail.transfer import encode_octets, quote_piece

QUOTED, PLAIN, BASE64 = "q", "p", "b"
_LINE = 75  # and a soft break
_LONGEST_LINE = 998
_ROOM = 200  # of a tracked URL or the pixel, without the payload
_EQUALS, _LINE_FEED = 0x3D, 0x0A
_SOFT_BREAK, _LINE_END = b"=\r\n", b"\r\n"
_CODE = re.compile(rb"=([0-9A-Fa-f]{2})|=[ \t]*(?:\r?\n|\Z)|[ \t]+(?=\r?\n|\Z)")
_LETTERS = re.compile(rb"[A-Za-z0-9+/=]+")
_NO_LETTERS = bytes(set(range(256)).difference(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))


class Target(NamedTuple):
    """[start:end] of an HTML text, and the payload of the click token that is to go there; empty for the pixel."""

    start: int
    end: int
    payload: bytes


class Slot(NamedTuple):
    """[start:end] of the body; `before` and `after` are encoded as they stand, `head` and `tail` are encoded with the new text."""

    start: int
    end: int
    encoding: str
    payload: bytes
    before: bytes = b""
    after: bytes = b""
    head: bytes = b""
    tail: bytes = b""


class Opened(NamedTuple):
    """The text of a part, and how targets in it (in order, apart) become slots of the body."""

    text: bytes
    find_slots: Callable[[Sequence[Target]], Iterator[Slot]]


def open_part(body: bytes, start: int, end: int, encoding: str) -> Opened | None:
    """Decode the part at [start:end] of the body; None when nothing can be spliced into it."""
    if encoding == "quoted-printable":
        return _open_quoted(body, start, end)
    if encoding == "base64":
        return _open_grouped(body, start, end)
    if encoding in ("7bit", "8bit", "binary", ""):
        text = body[start:end]
        return Opened(text, lambda targets: _plain_slots(text, start, targets, whole_lines=encoding != "binary"))
    return None


def quoted_slot(body: bytes, start: int, end: int, payload: bytes) -> Slot:
    """The slot of quoted-printable octets; where they were set apart (transfer), the soft breaks are there already."""
    before = b"" if start == 0 or body[start - 1] == _LINE_FEED else _SOFT_BREAK
    after = b"" if end == len(body) or body.startswith((_SOFT_BREAK, _LINE_END, b"=\n", b"\n"), end) else _SOFT_BREAK
    if before and start - body.rfind(b"\n", 0, start) > _LINE + 1:
        # The line before is full: its last character goes down to a line of its own, lest the break be one octet too many.
        last = start - (3 if body[start - 3] == _EQUALS else 1)
        return Slot(last, end, QUOTED, payload, _SOFT_BREAK + body[last:start] + _SOFT_BREAK, after)
    return Slot(start, end, QUOTED, payload, before, after)


def write_slot(slot: Slot, text: bytes) -> bytes:
    """`text` (ASCII without line ends) as it stands in this slot."""
    if slot.encoding == BASE64:
        text = slot.head + text
        text = encode_octets(text + b" " * (-(len(text) + len(slot.tail)) % 3) + slot.tail)
    elif slot.encoding == QUOTED:
        if b"=" in text:
            text = quote_piece(text)
        elif len(text) > _LINE:
            text = _SOFT_BREAK.join([text[place : place + _LINE] for place in range(0, len(text), _LINE)])
    return slot.before + text + slot.after


def _plain_slots(text: bytes, start: int, targets: Sequence[Target], *, whole_lines: bool) -> Iterator[Slot]:
    if not whole_lines:
        yield from (Slot(start + target.start, start + target.end, PLAIN, target.payload) for target in targets)
        return
    lines: dict[tuple[int, int], list[Target]] = {}
    line = (0, 0)
    for target in targets:
        if target.start > line[1] or not lines:
            line_end = text.find(b"\n", target.start)
            line = (text.rfind(b"\n", line[1], target.start) + 1 or line[1], len(text) if line_end < 0 else line_end)
        if len(target.payload) + _ROOM <= _LONGEST_LINE:
            lines.setdefault(line, []).append(target)
    for (line_start, line_end), within in lines.items():
        length = line_end - line_start + sum(len(target.payload) + _ROOM for target in within)
        around = _LINE_END if length > _LONGEST_LINE else b""
        yield from (Slot(start + target.start, start + target.end, PLAIN, target.payload, around, around) for target in within)


def _open_quoted(body: bytes, start: int, end: int) -> Opened:
    text = bytearray()
    # Behind each code and soft break: how many octets of the text were read, and of the body. There may be hundreds of thousands.
    read, places = array("Q", (0,)), array("Q", (start,))
    place = start
    for code in _CODE.finditer(body, start, end):
        text += body[place : code.start()]
        if code[1] is not None:
            text.append(int(code[1], 16))
        place = code.end()
        read.append(len(text))
        places.append(place)
    text += body[place:end]

    def place_of(octet: int) -> int:
        """Behind all that stands before this octet, and so behind a soft break."""
        number = bisect_right(read, octet) - 1
        return places[number] + octet - read[number]

    def find_slots(targets: Sequence[Target]) -> Iterator[Slot]:
        for target in targets:
            first = after = place_of(target.start)
            if target.end > target.start:
                last = place_of(target.end - 1)
                code = _CODE.match(body, last, end)
                after = last + (3 if code is not None and code[1] is not None else 1)
            yield quoted_slot(body, first, after, target.payload)

    return Opened(bytes(text), find_slots)


def _open_grouped(body: bytes, start: int, end: int) -> Opened | None:
    octets = body[start:end]
    try:
        text = binascii.a2b_base64(octets.translate(None, _NO_LETTERS), strict_mode=True)
    except binascii.Error:
        return None
    counts, places = [], []
    count = 0
    for run in _LETTERS.finditer(octets):
        counts.append(count)
        places.append(start + run.start())
        count += run.end() - run.start()

    def place_of(letter: int) -> int:
        number = bisect_right(counts, letter) - 1
        return places[number] + letter - counts[number]

    def find_slots(targets: Sequence[Target]) -> Iterator[Slot]:
        done = 0  # groups of three octets, four letters
        for target in targets:
            first, after = target.start // 3, max(-(-target.end // 3), target.start // 3 + 1)
            if first < done or not text:
                continue  # it shares a group with the one before: rare, and harmless to leave
            done = after
            place = place_of(min(4 * first, count - 1) if 4 * first < count else count - 1)
            last = place_of(min(4 * after, count) - 1) + 1
            if 4 * first >= count:  # behind the last group
                place = last
            before = b"" if place == 0 or body[place - 1] == _LINE_FEED else _LINE_END
            tail = b"" if last >= end or body.startswith((_LINE_END, b"\n"), last) else _LINE_END
            yield Slot(
                *(place, last, BASE64, target.payload, before, tail),
                *(text[3 * first : target.start], text[target.end : 3 * after]),
            )

    return Opened(text, find_slots)
