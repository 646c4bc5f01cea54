"""Link rewriting: labelled HTML goes the way that mail goes, and comes out with its links, and nothing else, exchanged.

A row is perfect when every span that must be rewritten holds a tracked URL whose token leads to the right target, every other byte is the
same, and so no span that must not be rewritten was touched. (Spans marked optional may be either.) Every row goes by each of the ways:

    composed               as HTML of a draft: compose → plan → splice, read again by the standard library (line ends as mail has them)
    quoted-printable, …    as it is, as a part of that encoding that came in: plan → splice, decoded by the standard library
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any
from uuid import UUID

from app.mail.address import Address
from app.mail.compose import Draft, Part, compose
from app.mail.location import location_of, with_query_as_sent
from app.mail.tokens import TokenKind, TokenWriter, read_token
from app.mail.tracking import CLICK_PATH, TrackingPlan, cut_body, plan_as_json, plan_composed, plan_of_json, plan_tracking, splice
from tests.bench.report import Report, Row, shown

_BASE_URL = "https://t.example.com"
_KEY = bytes(range(32))
_RECIPIENT = UUID(int=7)
_TRACKED = re.compile(rb"\s*%b([\w\-]+)" % re.escape(f"{_BASE_URL}{CLICK_PATH}".encode()), re.ASCII)
_NO_URL = str.maketrans("", "", "\t\r\n")
_LONGEST_LINE = 998


@dataclass(frozen=True, slots=True)
class Sample:
    """`links`: start, end, url, need; in order, those that may not be rewritten left out."""

    name: str
    html: bytes
    charset: str
    links: Sequence[tuple[int, int, str, str]]
    forbidden: Sequence[tuple[int, int]]


@dataclass(slots=True)
class Tally:
    rows: int = 0
    perfect: int = 0
    must: int = 0
    right: int = 0
    faults: list[str] = field(default_factory=list)


def judge(name: str, rows: Sequence[dict[str, Any]]) -> Report:
    """One report for one file of samples."""
    samples = [_sample_of(number, row) for number, row in enumerate(rows, 1)]
    tallies = {way: Tally() for way in _WAYS}
    for sample in samples:
        for way, rewrite in _WAYS.items():
            _judge_one(sample, rewrite, tallies[way])
    shown_rows = [
        shown("samples", len(samples)),
        shown("spans that must be rewritten", sum(link[3] == "must" for sample in samples for link in sample.links)),
        shown("spans that must not", sum(len(sample.forbidden) for sample in samples)),
    ]
    for way, tally in tallies.items():
        shown_rows.append(Row(f"{way}: perfect", f"{tally.perfect}/{tally.rows}", "all", tally.perfect == tally.rows))
        shown_rows.append(Row(f"{way}: to the right target", f"{tally.right}/{tally.must}", "all", tally.right == tally.must))
    figures = {way: asdict(tally) for way, tally in tallies.items()}
    return Report(f"links: {name}", shown_rows, figures)


def _sample_of(number: int, row: dict[str, Any]) -> Sample:
    links = sorted((link["s"], link["e"], link["url"], link["need"]) for link in row["links"])
    return Sample(
        f"{number} {row.get('id', '')}".strip(),
        base64.b64decode(row["html_b64"]),
        row.get("enc") or "utf-8",
        [link for link in links if link[3] != "mustnot"],
        [link[:2] for link in links if link[3] == "mustnot"],
    )


def _judge_one(sample: Sample, rewrite: Callable[[Sample], tuple[bytes, bytes] | None], tally: Tally) -> None:
    rewritten = rewrite(sample)
    if rewritten is None:
        return
    html, line_end = rewritten
    right, fault = _compare(sample, html, as_it_was=lambda piece: _with_line_ends(piece, line_end))
    tally.rows += 1
    tally.must += sum(link[3] == "must" for link in sample.links)
    tally.right += right
    tally.perfect += fault is None
    if fault is not None:
        tally.faults.append(f"{sample.name}: {fault}")


def _with_line_ends(piece: bytes, line_end: bytes) -> bytes:
    """A piece of the sample with its line ends as the way writes them; as they were if that is empty."""
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", line_end) if line_end else piece


def _compare(sample: Sample, html: bytes, *, as_it_was: Callable[[bytes], bytes]) -> tuple[int, str | None]:
    """How many links that must be rewritten lead to the right target, and what is wrong first."""
    right, fault = 0, None
    place = done = 0
    for start, end, url, need in sample.links:
        piece, value = as_it_was(sample.html[done:start]), as_it_was(sample.html[start:end])
        done = end
        place = _behind(html, place, piece)
        if not html.startswith(piece, place):
            return right, fault or f"bytes before {start} changed"
        place += len(piece)
        tracked = _TRACKED.match(html, place)
        if tracked is not None and need != "mustnot":
            place = tracked.end()
            if not _leads_to(tracked[1], url, sample.charset):
                fault = fault or f"the link at {start} leads elsewhere than {url[:100]!r}"
            elif need == "must":
                right += 1
        else:
            if need == "must":
                fault = fault or f"the link at {start} was not rewritten: {url[:100]!r}"
            if not html.startswith(value, place):
                return right, fault or f"bytes of {start} changed"
            place += len(value)
    rest = as_it_was(sample.html[done:])
    if html[_behind(html, place, rest) :] != rest:
        fault = fault or "bytes behind the last link changed"
    return right, fault


def _behind(html: bytes, place: int, piece: bytes) -> int:
    """Where a piece begins behind a link: at once, or behind the space that fills up a slot; space may be its own (no quotes)."""
    if html.startswith(piece, place):
        return place
    own = len(piece) - len(piece.lstrip())
    return len(html) - len(html[place:].lstrip()) - own


def _leads_to(token: bytes, url: str, charset: str) -> bool:
    read = read_token(token.decode(), lambda key_id: _KEY if key_id == 1 else None)
    if read is None or read.kind != TokenKind.CLICK:
        return False
    wanted = url.strip("".join(map(chr, range(0x21)))).translate(_NO_URL)
    if read.payload.decode() == wanted:
        return True
    return location_of(read.payload) is not None and location_of(read.payload) == location_of(with_query_as_sent(wanted, charset))


def _splice(body: bytes, plan: TrackingPlan) -> bytes:
    """As a worker does it: the plan has been in the database."""
    cut = cut_body(body, plan_of_json(plan_as_json(plan)))
    return splice(cut, TokenWriter(1, _KEY, 1, _RECIPIENT), _BASE_URL, opens=False, clicks=True)


def _as_composed(sample: Sample) -> tuple[bytes, bytes] | None:
    try:
        text = sample.html.decode(sample.charset)
    except UnicodeDecodeError:
        return None
    if text.encode() != sample.html:  # the draft is another text then, its spans lie elsewhere
        return None
    draft = Draft(Address("a@example.com"), (Address("b@example.com"),), (), (), (), "Sample", text, "Sample")
    content = compose(draft, message_id="1@example.com", date=datetime(2026, 1, 1, tzinfo=UTC), boundary_seed=b"sample", link_spans=True)
    body = _splice(content.body, plan_composed(content.body, content.links, content.pixel))
    message = message_from_bytes(content.head + b"\r\n" + body, policy=policy.SMTP)
    payload = next(part for part in message.walk() if part.get_content_type() == "text/html").get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.replace(b"\r\n", b"\n"), b"\n"


def _as_part(encoding: str, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> Callable[[Sample], tuple[bytes, bytes]]:
    def rewrite(sample: Sample) -> tuple[bytes, bytes]:
        body = encode(sample.html)
        part = Part("1", "text/html", sample.charset, encoding, 0, len(body))
        return decode(_splice(body, plan_tracking(body, (part,)))), b""

    return rewrite


def _as_8bit(sample: Sample) -> tuple[bytes, bytes] | None:
    """Only what can be mailed so: where a line, or a tracked URL, is longer than lines may be, mail takes another encoding."""
    longest = max(max(map(len, sample.html.split(b"\n"))), *(len(url.encode()) * 4 // 3 + 250 for _, _, url, _ in sample.links), 0)
    return _AS_8BIT(sample) if longest <= _LONGEST_LINE else None


def _as_it_is(octets: bytes) -> bytes:
    return octets


_AS_8BIT = _as_part("8bit", _as_it_is, _as_it_is)
_WAYS: dict[str, Callable[[Sample], tuple[bytes, bytes] | None]] = {
    "composed": _as_composed,
    "quoted-printable": _as_part("quoted-printable", lambda html: binascii.b2a_qp(html, istext=False), quopri.decodestring),
    "base64": _as_part("base64", base64.encodebytes, base64.b64decode),
    "8bit": _as_8bit,
    "binary": _as_part("binary", _as_it_is, _as_it_is),
}
