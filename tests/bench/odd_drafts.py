"""Odd mail as a client would post it, and what its reader must find: the same seed gives the same drafts.

Most of it must be accepted; some is past a limit, and must be refused with a problem.
"""

from __future__ import annotations

import base64
import random
import re
from dataclasses import dataclass, field
from typing import Any

from tests.bench.odd_html import Link, Pieces, a_page
from tests.bench.odd_words import SCRIPTS, a_line, a_text, letters

TITLE = "Notizie 漢字 „für“ =?x?= 👩🏽‍🚀, " + "أخبار" * 12  # of the bulk stream
_NAME_LIMIT = 320
_SPACES = re.compile("[ \t]+")
_MAILBOXES = ("ada", "a.b+c", "o'hara", '"two words"', '"a\\"b"', "x" * 64, "!#$%&'*+-/=?^_`{|}~", "1")
_UTF8_MAILBOXES = ("ädä", "用户", "пользователь", "उपयोगकर्ता", "👩", "a\u0308da")
_DOMAINS = ("mail.example", "bücher.example", "MAIL.example", "a." + "b" * 60 + ".example", "例え.example")
_TYPES = (
    *(None, "application/pdf", "text/plain; charset=utf-8", "TEXT/HTML", "image/png", 'application/x; name="own name"', "multipart/mixed"),
    *("message/rfc822", "message/rfc822", "application/" + "x" * 120),
)
_MESSAGES = (
    b"From: a@x.example\r\nSubject: within\r\n\r\n.\r\nFrom here\r\n--=_0\r\ntrailing \r\n",
    b"Subject: open end\r\n\r\nx",
    b"",
    b"Subject: bare\n\nline ends\n",
    b"Subject: \xe9\r\n\r\n8 bit",
    b'Content-Type: multipart/mixed; boundary="=_0"\r\n\r\n--=_0\r\n\r\nx\r\n--=_0--\r\n',
)
_NAMES_OF_FILES = (
    "a",
    ".",
    "..",
    "../../etc/passwd",
    "c:\\x\\y.exe",
    'a"b',
    "a;b=c",
    "a%41",
    "utf-8''x",
    " lead and trail ",
    "x" * 255,
    "a\tb",
    "=?x?=",
)
_OF_MACHINES = (
    ("References", "<a@x.example> " * 60 + "<b@x.example>"),
    ("In-Reply-To", "<a@x.example>"),
    ("Auto-Submitted", "auto-generated"),
)


@dataclass(frozen=True, slots=True)
class File:
    """An attachment as it was sent."""

    filename: str
    content: bytes
    content_type: str | None
    content_id: str | None


@dataclass(slots=True)
class OddDraft:
    """One POST and what it says. `wrong`: what is wrong with it, empty if it must be accepted."""

    body: dict[str, Any]
    html: Pieces | None
    files: list[File] = field(default_factory=list)
    wrong: str = ""

    @property
    def links(self) -> list[str]:
        return [piece.url for piece in self.html or () if isinstance(piece, Link)]


def make_draft(number: int, seed: int, sender: str) -> OddDraft:
    """The draft of this number; `sender`: a mailbox that the account may send from."""
    draw = random.Random(f"{seed}/{number}")
    html = a_page(draw) if draw.random() < 0.75 else None
    body: dict[str, Any] = {
        "from": {"email": sender, "name": a_name(draw)},
        "to": [an_address(draw, f"{number}-{place}") for place in range(draw.choice((1, 1, 1, 2, 5)))],
        "subject": a_line(draw, draw.choice((100, 998, 20_000))),
        "stream": draw.choice(("transactional", "bulk")),
        "track": {"opens": draw.random() < 0.6, "clicks": draw.random() < 0.7},
    }
    for kind in ("cc", "reply_to"):
        if draw.random() < 0.2:
            body[kind] = [an_address(draw, f"{number}-{kind[:2]}-{place}") for place in range(draw.choice((1, 3)))]
    if draw.random() < 0.1:
        body["bcc"] = [f"hidden-{number}@mail.example"]
        body["to"] = body["to"] if draw.random() < 0.5 else []
    if html is not None:
        body["html"] = "".join(piece.written if isinstance(piece, Link) else piece for piece in html)
    if html is None or draw.random() < 0.7:
        body["text"] = a_text(draw)
    if draw.random() < 0.3:
        body["headers"] = some_headers(draw)
    if draw.random() < 0.2:
        body["tags"] = [a_line(draw, 64).strip() or "tag"]
    files = some_files(draw, has_html=html is not None) if draw.random() < 0.3 else []
    if files:
        body["attachments"] = [_posted(file) for file in files]
    made = OddDraft(body, html, files)
    if draw.random() < 0.04:
        _spoil(draw, made)
    return made


def a_name(draw: random.Random) -> str:
    return a_line(draw, draw.choice((30, _NAME_LIMIT)))


def an_address(draw: random.Random, unique: str) -> dict[str, str]:
    """A recipient of its own: the number stands in the domain, so that the local part may be anything."""
    local = draw.choice(_MAILBOXES) if draw.random() < 0.9 else draw.choice(_UTF8_MAILBOXES)
    return {"email": f"{local}@m{unique}.{draw.choice(_DOMAINS)}", "name": a_name(draw) if draw.random() < 0.7 else ""}


def some_headers(draw: random.Random) -> dict[str, str]:
    """Fields of the client's own, up to their limits."""
    found: dict[str, str] = {}
    for place in range(draw.choice((1, 3, 3, 20, 100))):
        name = draw.choice((f"X-Odd-{place}", f"{place}", f"X{place}" + "-long" * 14, f"!#$%&'*+^_`|~{place}"))
        kind = draw.random()
        if kind < 0.5:
            value = a_line(draw, draw.choice((80, 1000)))
        elif kind < 0.7:
            value = draw.choice(("x" * 900, "word " * 1999 + "x", "é" * 10_000, "a\tb\tc", "  lead", "trail  ", "漢" * 300))
        else:
            name, value = draw.choice(_OF_MACHINES)
        # What looks like an encoded word in a field of the client's is one to its reader.
        value = value.replace("=?", "=") if value.isascii() else value
        if value.strip(" \t") and not (value.isascii() and max(map(len, value.split())) > 900):
            found[name] = value
    return found


def some_files(draw: random.Random, *, has_html: bool) -> list[File]:
    count = draw.choice((1, 1, 2, 5, 100))
    return [a_file(draw, f"cid-{place}@x" if has_html and draw.random() < 0.3 else None) for place in range(count)]


def a_file(draw: random.Random, content_id: str | None) -> File:
    kind = draw.random()
    if kind < 0.4:
        name = draw.choice(_NAMES_OF_FILES)
    elif kind < 0.8:
        name = letters(draw, draw.choice(tuple(SCRIPTS)), draw.choice((1, 20, 60, 61, 245))) + draw.choice((".pdf", "", ".tar.gz", "."))
    else:
        name = a_line(draw, 255)
    name = re.sub("[\x7f-\x9f\u2028\u2029]", "", name).strip() or "empty"
    content_type = draw.choice(_TYPES)
    if content_type == "message/rfc822":
        return File(name, draw.choice(_MESSAGES), content_type, content_id)
    size = draw.choice((0, 1, 2, 3, 56, 57, 58, 1000, 5000))
    return File(name, draw.randbytes(size), content_type, content_id)


def _posted(file: File) -> dict[str, Any]:
    given = {"filename": file.filename, "content": base64.b64encode(file.content).decode()}
    given |= {"content_type": file.content_type} if file.content_type is not None else {}
    return given | ({"content_id": file.content_id} if file.content_id is not None else {})


def _spoil(draw: random.Random, made: OddDraft) -> None:
    """Make one thing of it wrong."""
    made.wrong, change = draw.choice(
        (
            ("control in subject", {"subject": f"a{chr(draw.choice((0, 1, 10, 13, 27, 127, 133, 0x2028)))}b"}),
            ("half a pair in subject", {"subject": "a\ud800"}),
            ("half a pair in text", {"text": "a\udfffb"}),
            ("NUL in html", {"html": "<p>\0</p>"}),
            ("subject past its limit", {"subject": "x" * 20_001}),
            ("name past its limit", {"to": {"email": "a@x.example", "name": "x" * 321}}),
            ("line end in a name", {"to": {"email": "a@x.example", "name": "x\r\nBcc: y@x.example"}}),
            ("word past a line", {"headers": {"X-Odd": "x" * 901}}),
            ("header of ours", {"headers": {draw.choice(("DKIM-Signature", "Content-Type", "from", "ARC-Seal")): "x"}}),
            ("name of a header", {"headers": {draw.choice(("", "a b", "a:", "é", "x" * 77)): "x"}}),
            ("no text at all", {"text": None, "html": None}),
            ("too many files", {"attachments": [{"filename": "a", "content": ""}] * 101}),
            ("name of a file", {"attachments": [{"filename": draw.choice(("", "a\nb", "x" * 256)), "content": ""}]}),
            ("no base64", {"attachments": [{"filename": "a", "content": "=a"}]}),
            (
                "no address",
                {"to": draw.choice(("a", "a@", "@b.example", "a@b", "a@b.example,c@d.example", "a b@c.example", "\u202ea@b.example"))},
            ),
        )
    )
    made.body |= change


def as_named(name: str) -> str:
    """A display name as it is kept: its runs of spaces are one."""
    return _SPACES.sub(" ", name).strip(" ")
