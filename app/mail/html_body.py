"""HTML as it is mailed: quoted-printable with its links set apart, and where they and the place of the pixel have come to lie.

Mails of a sender have most of their lines in common, and a line that begins and ends between two tags is read the same way wherever
it stands. So what a line gave is kept, for the lines that were met lately; lines that leave something open (a tag, a comment, a style
sheet) are read together with those behind them. The outcome is what `links.read_links` and `transfer.encode_text` give for the whole
text, to the octet; a text that cannot be cut so (foreign content, something that is never closed) goes that way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from app.mail.links import LinkSpan, has_tag_that_matters, is_plain_line, is_whole_line, read_links
from app.mail.transfer import Encoded, encode_text, quote_apart

_LONGEST_KEPT = 4096
_KEPT_OCTETS = 4 * 1024 * 1024  # of lines; twice of it at most, and what they gave
_MOST_LINES = 1024  # that are read together
_FEW = 24  # new lines in a text: so many are learnt from it
_FOREIGN = (b"<svg", b"<math")


class _Stretch(NamedTuple):
    """A line, or some that belong together."""

    octets: bytes  # as mailed
    links: tuple[LinkSpan, ...]  # in these octets
    matters: bool  # has a tag behind which alone the pixel may stand
    body_end: int | None  # where </body> stands in its text, behind all such tags


_UNKNOWN = _Stretch(b"", (), False, None)


class _Kept:
    """What was met lately, None for what leaves something open. Two generations: the older is let go when the younger is full."""

    def __init__(self) -> None:
        self._young: dict[bytes, _Stretch | None] = {}
        self._old: dict[bytes, _Stretch | None] = {}
        self._octets = 0
        self.misses = 0

    def read(self, text: bytes) -> _Stretch | None:
        stretch = self._young.get(text, _UNKNOWN)
        if stretch is not _UNKNOWN:
            return stretch
        self.misses += 1
        stretch = self._old[text] if text in self._old else _read_stretch(text)
        if len(text) <= _LONGEST_KEPT:
            self._young[text] = stretch
            self._octets += len(text)
            if self._octets > _KEPT_OCTETS:
                self._young, self._old, self._octets = {}, self._young, 0
        return stretch


_kept = _Kept()


def encode_html(octets: bytes) -> Encoded:
    """Encode what `transfer.text_octets` gave."""
    return _encode_by_lines(octets) or _encode_whole(octets)


def _encode_whole(octets: bytes) -> Encoded:
    found = read_links(octets)
    return encode_text(octets, links=found.links, pixel=found.pixel)


def _encode_by_lines(octets: bytes) -> Encoded | None:
    lines = octets.split(b"\n")
    pieces: list[bytes] = []
    links: list[LinkSpan] = []
    number = size = start = 0
    misses = _kept.misses
    text = b""
    end: tuple[int, int, bytes, int] | None = None  # of the body: which piece, its place in the whole, its text, where in it
    while number < len(lines):
        text = lines[number]
        stretch = _kept.read(text)
        if _kept.misses - misses > max(_FEW, number // 2):
            return None  # mostly new: by lines it would take longer than as a whole
        if stretch is None:
            if (together := _read_together(lines, number)) is None:
                return None
            text, stretch = together
            number += text.count(b"\n")
        number += 1
        start = size
        if stretch.links:
            links += [LinkSpan(link_start + size, link_end + size, url) for link_start, link_end, url in stretch.links]
        if stretch.matters:
            end = None
        if stretch.body_end is not None and end is None:
            end = (len(pieces), size, text, stretch.body_end)
        pieces.append(stretch.octets)
        size += len(stretch.octets) + 2
    place, start, text, body_end = end or (len(pieces) - 1, start, text, len(text))
    with_pixel = _encode_with_pixel(text, body_end)
    if with_pixel.pixel is None:
        return None
    pieces[place] = with_pixel.octets
    return Encoded("quoted-printable", b"\r\n".join(pieces), tuple(links), start + with_pixel.pixel)


def _read_together(lines: list[bytes], number: int) -> tuple[bytes, _Stretch] | None:
    """The lines from `number` on, as many as belong together and perhaps some more."""
    many = 2
    while many <= _MOST_LINES:
        text = b"\n".join(lines[number : number + many])
        if (stretch := _kept.read(text)) is not None:
            return text, stretch
        if number + many >= len(lines):
            break
        many *= 2
    return None


def _read_stretch(text: bytes) -> _Stretch | None:
    if is_plain_line(text):
        return _Stretch(quote_apart(text, (), None).octets, (), False, None)
    if any(name in text.lower() for name in _FOREIGN) or not is_whole_line(text):
        return None
    found = read_links(text)
    encoded = quote_apart(text, found.links, None)
    if encoded.encoding != "quoted-printable" or found.pixel is None:
        return None
    return _Stretch(encoded.octets, encoded.links, has_tag_that_matters(text), found.pixel if found.pixel < len(text) else None)


@lru_cache(maxsize=256)
def _encode_with_pixel(text: bytes, place: int) -> Encoded:
    """A stretch with the pixel's place, which is behind all its links."""
    return quote_apart(text, read_links(text).links, place)
