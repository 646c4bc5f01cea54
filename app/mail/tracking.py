"""Tracking: links that lead over us and a pixel that tells of an opening, put into a finished body without touching anything else.

    plan_tracking   once per content, at intake: which links, where they lie in the encoded body, what their tokens carry
    cut_body        once per content and worker: the body in pieces, so that nothing is searched per recipient
    splice          per recipient: tokens are written, pieces are joined

    {base}/c/{token}       a click: the token carries the target
    {base}/o/{token}.gif   the pixel

Left as they are: bodies that are signed or encrypted (`PartMap.sealed`), attachments, links whose tag says so (links), links to our own
pages, targets with a placeholder for unsubscribing that somebody else will fill in, targets that no redirect can name (location), and
what is too long. With neither opens nor clicks a splice gives the body as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.mail.compose import Part
from app.mail.links import LinkSpan, read_links
from app.mail.location import location_of, with_query_as_sent
from app.mail.slots import Slot, Target, open_part, quoted_slot, write_slot
from app.mail.tokens import TokenKind, TokenWriter, encode_payload

CLICK_PATH, OPEN_PATH = "/c/", "/o/"

_BASE_URL = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~\-]+)*")
_PIXEL = b'<img src="%b%b%b.gif" width="1" height="1" alt="" style="display:block;border:0">'
_PLACEHOLDER = re.compile(r"(?:\{\{|\[\[|\*\||%|<%|\$\{)[^%}\]|]*(?:unsub|opt[-_ ]?out|preference)", re.IGNORECASE)


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


def plan_tracking(body: bytes, parts: Sequence[Part], *, sealed: bool = False, own: tuple[str, ...] = ()) -> TrackingPlan:
    """The plan for a body that came in as MIME. `own`: how URLs begin that are ours (unsubscribe, preferences, view in browser)."""
    slots: list[Slot] = []
    for part in () if sealed else parts:
        if part.content_type != "text/html" or part.attached:
            continue
        opened = open_part(body, part.start, part.end, part.encoding)
        if opened is None:
            continue
        found = read_links(opened.text, part.charset)
        targets = [
            Target(link.start, link.end, payload)
            for link in found.links
            if (payload := _payload_of(link.url, part.charset, own)) is not None
        ]
        if found.pixel is not None:
            targets.append(Target(found.pixel, found.pixel, b""))
        slots += opened.find_slots(targets)
    return TrackingPlan(tuple(slots))


def plan_composed(body: bytes, links: Iterable[LinkSpan], pixel: int | None, *, own: tuple[str, ...] = ()) -> TrackingPlan:
    """The plan for what `compose` wrote with `link_spans`: links and pixel are set apart already."""
    slots = [
        quoted_slot(body, link.start, link.end, payload) for link in links if (payload := _payload_of(link.url, "utf-8", own)) is not None
    ]
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


def splice(cut: CutBody, writer: TokenWriter, base_url: str, *, opens: bool, clicks: bool) -> bytes:
    """The body of one recipient. `base_url`: the tracking host's, without a slash at its end."""
    if not cut.slots or not (opens or clicks):
        return cut.body
    if _BASE_URL.fullmatch(base_url) is None:
        raise ValueError(f"{base_url} is no base URL: it must be plain ASCII without query and without a slash at its end.")
    base = base_url.encode("ascii")
    before_token = base + CLICK_PATH.encode()
    tokens = writer.write(TokenKind.CLICK, cut.payloads) if clicks else []
    written: list[bytes] = []
    for piece, slot, number in zip(cut.pieces, cut.slots, cut.tokens, strict=False):
        written.append(piece)
        if not (opens if number is None else clicks):
            written.append(cut.body[slot.start : slot.end])
        elif number is None:
            (token,) = writer.write(TokenKind.OPEN, [b""])
            written.append(write_slot(slot, _PIXEL % (base, OPEN_PATH.encode(), token)))
        else:
            written.append(write_slot(slot, before_token + tokens[number]))
    written.append(cut.pieces[-1])
    return b"".join(written)


def plan_as_json(plan: TrackingPlan) -> list[list[Any]]:
    """Plain lists: start, end, encoding, payload, and what surrounds it as far as there is anything."""
    written: list[list[Any]] = []
    for slot in plan.slots:
        texts = [octets.decode("latin-1") for octets in slot[3:]]
        while len(texts) > 1 and not texts[-1]:
            texts.pop()
        written.append([slot.start, slot.end, slot.encoding, *texts])
    return written


def plan_of_json(written: Sequence[Sequence[Any]]) -> TrackingPlan:
    """What `plan_as_json` wrote."""
    return TrackingPlan(
        tuple(Slot(start, end, encoding, *[text.encode("latin-1") for text in texts]) for start, end, encoding, *texts in written)
    )


def _payload_of(url: str, charset: str, own: tuple[str, ...]) -> bytes | None:
    """The URL as a token carries it; None when the link is left as it is."""
    if url.startswith(own) or _PLACEHOLDER.search(url) is not None:
        return None
    if not url.isascii():
        url = with_query_as_sent(url, charset)
    if location_of(url) is None:
        return None
    try:
        return encode_payload(url.encode())
    except (UnicodeEncodeError, ValueError):
        return None
