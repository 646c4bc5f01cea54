"""Tracking: links that lead over us and a pixel that tells of an opening, put into a finished body without touching anything else.

    plan_tracking   once per content, at intake: which links, where they lie in the encoded body, what their tokens carry
    cut_body        once per content and worker: the body in pieces, so that nothing is searched per recipient
    splice          per recipient: what differs (the head of all tokens, the MAC of each) is written between pieces that stay

    {base}/c/{token}       a click: the token carries the target
    {base}/o/{token}.gif   the pixel

Left as they are: bodies that are signed or encrypted (`PartMap.sealed`), attachments, links whose tag says so (links), links to our own
pages, targets with a placeholder for unsubscribing that somebody else will fill in, targets that no redirect can name (location), and
what is too long (a URL, HTML of more than MOST_HTML, links after MOST_LINKS). With neither opens nor clicks a splice gives the body as it
was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from app.mail.compose import Part
from app.mail.links import MOST_HTML, MOST_LINKS, LinkSpan, read_links
from app.mail.location import location_of, with_query_as_sent
from app.mail.slots import BASE64, QUOTED, Slot, Target, open_part, quoted_slot, write_slot
from app.mail.tokens import HEAD_LETTERS, LONGEST_PAYLOAD, MAC_LETTERS, TokenKind, TokenWriter, encode_payload

CLICK_PATH, OPEN_PATH = "/c/", "/o/"

_BASE_URL = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~\-]+)*")
_PIXEL = b'<img src="%b%b%b.gif" width="1" height="1" alt="" style="display:block;border:0">'
# Letters that neither a token, nor a base URL, nor the pixel has, and that no encoding changes.
_HEAD_MARK, _MAC_MARK = b"!", b"*"
_KEPT_URL = 300  # letters
_NOTHING, _BREAK = (b"", b"", b"", b""), (b"", b"=\r\n", b"", b"")
# What a sender's other tools would fill in: an opening mark, and behind it such a word, with nothing between that ends a placeholder.
# A "%" opens one in itself or as the code of a bracket; the other codes of a URL (%20) open none. Each stretch is looked through once.
_LEAVING = re.compile(r"unsub|opt[-_ ]?out|preference", re.IGNORECASE)
_STRETCH = re.compile(
    r"(?:(?<=\*\|)|(?<=<%)|(?<=%)(?=[57]B|[a-z_]{3})|(?<=%)(?![0-9a-f]{2}))(?P<all>[^%}\]|]++)"
    r"|[^%}\]|]*?(?:\{\{|\[\[|\$\{)(?P<rest>[^%}\]|]*+)|[^%}\]|]++",
    re.IGNORECASE,
)


@dataclass(slots=True)
class TrackingPlan:
    """What may be put where; the slots are in order and their payloads are as tokens carry them. No slots: nothing is tracked."""

    slots: tuple[Slot, ...]


@dataclass(slots=True)
class CutBody:
    """A body and its plan: `pieces[n]` stands before `slots[n]`, the last one behind them all; `payloads` are written once each."""

    body: bytes
    pieces: tuple[bytes, ...]
    slots: tuple[Slot, ...]
    payloads: list[bytes]
    tokens: tuple[int | None, ...]  # of each slot: which payload; None for the pixel
    frames: dict[tuple[str, bool, bool], _Frame | None] = field(default_factory=dict)  # by base URL, opens, clicks


def plan_tracking(body: bytes, parts: Sequence[Part], *, sealed: bool = False, own: tuple[str, ...] = ()) -> TrackingPlan:
    """The plan for a body that came in as MIME. `own`: how URLs begin that are ours (unsubscribe, preferences, view in browser)."""
    slots: list[Slot] = []
    html_left, links_left = MOST_HTML, MOST_LINKS
    for part in () if sealed else parts:
        if part.content_type != "text/html" or part.attached or part.end - part.start > html_left:
            continue
        html_left -= part.end - part.start
        opened = open_part(body, part.start, part.end, part.encoding)
        if opened is None:
            continue
        found = read_links(opened.text, part.charset)
        targets = [
            Target(link.start, link.end, payload)
            for link in found.links[:links_left]
            if (payload := _payload_of(link.url, part.charset, own)) is not None
        ]
        links_left -= len(targets)
        if found.pixel is not None:
            targets.append(Target(found.pixel, found.pixel, b""))
        slots += opened.find_slots(targets)
    return TrackingPlan(tuple(slots))


def plan_composed(body: bytes, links: Iterable[LinkSpan], pixel: int | None, *, own: tuple[str, ...] = ()) -> TrackingPlan:
    """The plan for what `compose` wrote with `link_spans`: links and pixel are set apart already."""
    slots = [Slot(start, end, QUOTED, payload) for start, end, url in links if (payload := _payload_of(url, "utf-8", own)) is not None]
    if pixel is not None:
        slots.append(quoted_slot(body, pixel, pixel, b""))
    return TrackingPlan(tuple(slots))


def cut_body(body: bytes, plan: TrackingPlan) -> CutBody:
    """The body in pieces around the slots of its plan."""
    pieces: list[bytes] = []
    numbers: dict[bytes, int] = {}
    tokens: list[int | None] = []
    done = 0
    for slot in plan.slots:
        pieces.append(body[done : slot.start])
        done = slot.end
        tokens.append(numbers.setdefault(slot.payload, len(numbers)) if slot.payload else None)
    pieces.append(body[done:])
    return CutBody(body, tuple(pieces), plan.slots, list(numbers), tuple(tokens))


class _Blank(NamedTuple):
    """Where one token goes: a soft break may fall into its head or its MAC, always at the same letter."""

    number: int | None  # which payload; None for the pixel
    head_break: int
    mac_break: int


class _Frame(NamedTuple):
    """A body for one base URL: pieces with room for the head and the MAC of each token between them, in turns."""

    pieces: list[bytes]
    blanks: list[_Blank]


def splice(cut: CutBody, writer: TokenWriter, base_url: str, *, opens: bool, clicks: bool) -> bytes:
    """The body of one recipient. `base_url`: the tracking host's, without a slash at its end."""
    if not cut.slots or not (opens or clicks):
        return cut.body
    key = (base_url, opens, clicks)
    if key not in cut.frames:
        cut.frames[key] = None  # most bodies have one recipient: a frame is made for the second
        return _splice_anew(cut, writer, base_url, opens=opens, clicks=clicks)
    frame = cut.frames[key]
    if frame is None:
        if any(slot.encoding == BASE64 for slot in cut.slots):
            return _splice_anew(cut, writer, base_url, opens=opens, clicks=clicks)
        frame = cut.frames[key] = _frame(cut, base_url, opens=opens, clicks=clicks)
    head, macs = writer.write_ends(TokenKind.CLICK, cut.payloads) if clicks else (b"", [])
    pixel_head, pixel_macs = writer.write_ends(TokenKind.OPEN, [b""]) if opens else (b"", [])
    written = frame.pieces.copy()
    place = 1
    for number, head_break, mac_break in frame.blanks:
        written[place] = _broken(pixel_head if number is None else head, head_break)
        written[place + 2] = _broken(pixel_macs[0] if number is None else macs[number], mac_break)
        place += 4
    return b"".join(written)


def _splice_anew(cut: CutBody, writer: TokenWriter, base_url: str, *, opens: bool, clicks: bool) -> bytes:
    """Slot by slot. In base64 there is no other way: three octets share four letters, and nothing of a token stays where it is."""
    base = _checked(base_url)
    tokens = writer.write(TokenKind.CLICK, cut.payloads) if clicks else []
    click_url = base + CLICK_PATH.encode()
    written: list[bytes] = []
    for piece, slot, number in zip(cut.pieces, cut.slots, cut.tokens, strict=False):
        written.append(piece)
        if not (opens if number is None else clicks):
            written.append(cut.body[slot.start : slot.end])
        elif number is None:
            written.append(write_slot(slot, _PIXEL % (base, OPEN_PATH.encode(), writer.write(TokenKind.OPEN, [b""])[0])))
        else:
            written.append(write_slot(slot, click_url + tokens[number]))
    written.append(cut.pieces[-1])
    return b"".join(written)


def _checked(base_url: str) -> bytes:
    if _BASE_URL.fullmatch(base_url) is None:
        raise ValueError(f"{base_url} is no base URL: it must be plain ASCII without query and without a slash at its end.")
    return base_url.encode("ascii")


def _frame(cut: CutBody, base_url: str, *, opens: bool, clicks: bool) -> _Frame:
    """Write every slot once with marks in place of what differs, and see where they come to stand."""
    base = _checked(base_url)
    pieces: list[bytes] = [b""]
    blanks: list[_Blank] = []
    for piece, slot, number in zip(cut.pieces, cut.slots, cut.tokens, strict=False):
        pieces[-1] += piece
        if not (opens if number is None else clicks):
            pieces[-1] += cut.body[slot.start : slot.end]
            continue
        token = _HEAD_MARK * HEAD_LETTERS + slot.payload + _MAC_MARK * MAC_LETTERS
        text = _PIXEL % (base, OPEN_PATH.encode(), token) if number is None else base + CLICK_PATH.encode() + token
        # What surrounds the new text may hold the marks' letters.
        before, head_break, between, mac_break, after = _marked(write_slot(slot._replace(before=b"", after=b""), text))
        pieces[-1] += slot.before + before
        pieces += (b"", between, b"", after + slot.after)
        blanks.append(_Blank(number, head_break, mac_break))
    pieces[-1] += cut.pieces[-1]
    return _Frame(pieces, blanks)


def _marked(written: bytes) -> tuple[bytes, int, bytes, int, bytes]:
    """What stands around the marks, and at which letter of each a soft break falls (0: at none)."""
    head, head_end = written.index(_HEAD_MARK), written.rindex(_HEAD_MARK) + 1
    mac, mac_end = written.index(_MAC_MARK), written.rindex(_MAC_MARK) + 1
    breaks = [max(0, written.find(b"=", start, end) - start) for start, end in ((head, head_end), (mac, mac_end))]
    return written[:head], breaks[0], written[head_end:mac], breaks[1], written[mac_end:]


def _broken(letters: bytes, place: int) -> bytes:
    return letters[:place] + b"=\r\n" + letters[place:] if place else letters


def plan_as_json(plan: TrackingPlan) -> list[list[Any]]:
    """Plain lists: start, end, encoding, payload, and what surrounds it as far as there is anything.

    Composed mail has quoted-printable slots with nothing around, but for a soft break behind the pixel, which comes last: all places in one
    list, all payloads in one text, and whether there is that break.
    """
    around = [slot[4:] for slot in plan.slots]
    if around and all(slot.encoding == QUOTED for slot in plan.slots) and around.count(_NOTHING) == len(around) - (around[-1] == _BREAK):
        places = [place for slot in plan.slots for place in slot[:2]]
        return [places, [b" ".join([slot.payload for slot in plan.slots]).decode("ascii"), around[-1] == _BREAK]]
    written: list[list[Any]] = []
    for slot in plan.slots:
        texts = [octets.decode("latin-1") for octets in slot[3:]]
        while len(texts) > 1 and not texts[-1]:
            texts.pop()
        written.append([slot.start, slot.end, slot.encoding, *texts])
    return written


def plan_of_json(written: Sequence[Sequence[Any]]) -> TrackingPlan:
    """What `plan_as_json` wrote."""
    if len(written) == 2 and len(written[1]) == 2:
        places, (payloads, has_break) = written
        slots = list(map(Slot, places[::2], places[1::2], repeat(QUOTED), payloads.encode("ascii").split(b" ")))
        if has_break:
            slots[-1] = Slot(*slots[-1][:4], *_BREAK)
        return TrackingPlan(tuple(slots))
    return TrackingPlan(
        tuple(Slot(start, end, encoding, *[text.encode("latin-1") for text in texts]) for start, end, encoding, *texts in written)
    )


def _payload_of(url: str, charset: str, own: tuple[str, ...]) -> bytes | None:
    """The URL as a token carries it; None when the link is left as it is. Most mails have many links in common with others."""
    return _kept_payload(url, charset, own) if len(url) <= _KEPT_URL else _find_payload(url, charset, own)


def _find_payload(url: str, charset: str, own: tuple[str, ...]) -> bytes | None:
    if len(url) > LONGEST_PAYLOAD or url.startswith(own) or (_LEAVING.search(url) is not None and _is_filled_in(url)):
        return None
    if not url.isascii():
        url = with_query_as_sent(url, charset)
    if location_of(url) is None:
        return None
    try:
        return encode_payload(url.encode())
    except (UnicodeEncodeError, ValueError):
        return None


def _is_filled_in(url: str) -> bool:
    """Whether a placeholder for leaving stands in a URL."""
    return any(_LEAVING.search(one["all"] or one["rest"] or "") is not None for one in _STRETCH.finditer(url))


_kept_payload = lru_cache(maxsize=4096)(_find_payload)
