"""Odd HTML in every transfer encoding: what is spliced reads back as it was, but for links and pixel, which lead home."""

from __future__ import annotations

import base64
import binascii
import quopri
import random
import re
import time
from uuid import UUID

import pytest

from app.mail.compose import Part
from app.mail.tokens import Token, TokenKind, TokenWriter, encode_payload, read_token
from app.mail.tracking import cut_body, plan_as_json, plan_of_json, plan_tracking, splice
from tests.bench.odd_html import Link, a_page

OWN = ("http://localhost:8025/",)
KEY, BASE = b"k" * 32, "https://click.shop.test"
WRITER = TokenWriter(3, KEY, 17, UUID("019a6d3e-8f2c-7b14-99d1-a0b3c4d50001"))
TOKEN = r"[A-Za-z0-9_\-]+"
PIXEL = re.compile(
    rb'[ \r\n]*<img src="%b/o/%b\.gif" width="1" height="1" alt="" style="display:block;border:0">[ \r\n]*'
    % (BASE.encode(), TOKEN.encode())
)
BEFORE, AFTER = b"preamble\r\n--b\r\n\r\n", b"\r\n--b--\r\n"


def written(html: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(html).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(html.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return html


def read(octets: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return binascii.a2b_base64(octets.replace(b"\r\n", b""), strict_mode=True)
    return quopri.decodestring(octets) if encoding == "quoted-printable" else octets


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit", "binary"])
@pytest.mark.parametrize("seed", range(60))
def test_odd_html_that_came_as_mime_is_tracked(encoding: str, seed: int) -> None:
    pieces = a_page(random.Random(f"mime/{seed}"))
    html = "".join(piece.written if isinstance(piece, Link) else piece for piece in pieces)
    if len(html) > 200_000:
        pieces, html = ("<p>x</p>",), "<p>x</p>"
    lines = re.sub(r"\r\n|\r|\n", "\r\n", html).encode()
    octets = written(lines, encoding)
    body = BEFORE + octets + AFTER
    plan = plan_tracking(body, [Part("1", "text/html", "utf-8", encoding, len(BEFORE), len(BEFORE) + len(octets))], own=OWN)
    plan = plan_of_json(plan_as_json(plan))
    cut = cut_body(body, plan)
    assert splice(cut, WRITER, BASE, opens=False, clicks=False) == body
    spliced = splice(cut, WRITER, BASE, opens=True, clicks=True)
    assert splice(cut, WRITER, BASE, opens=True, clicks=True) == spliced, "with a frame"
    assert spliced.startswith(BEFORE) and spliced.endswith(AFTER)
    if encoding in ("base64", "quoted-printable"):
        assert longest_line(spliced) <= max(76, longest_line(body))  # the standard library writes some of 77
    found = read(spliced[len(BEFORE) : -len(AFTER)], encoding)
    found, pixels = PIXEL.subn(b"", found)
    urls = [token.payload.decode() for token in map(told, re.findall(rf"{BASE}/c/({TOKEN})".encode(), found))]
    assert pixels == 1 or not html  # base64 of nothing has no place
    wanted = [piece.url for piece in pieces if isinstance(piece, Link)]
    if encoding == "8bit":  # a URL that fills a line is left
        wanted = [url for url in wanted if len(encode_payload(url.encode())) + 200 <= 998]
    assert urls == wanted


def longest_line(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


@pytest.mark.parametrize(
    "line", ["x" * 76, "x" * 73 + "=3D", "=C3=A9" * 12 + "=20x", "x" * 75, "first\r\n" + "x" * 76, "x" * 75 + "!", "x" * 75 + "*"]
)
def test_a_full_line_of_quoted_printable_gets_no_longer(line: str) -> None:
    body = line.encode()
    plan = plan_of_json(plan_as_json(plan_tracking(body, [Part("1", "text/html", "utf-8", "quoted-printable", 0, len(body))])))
    cut = cut_body(body, plan)
    spliced = splice(cut, WRITER, BASE, opens=True, clicks=True)
    assert splice(cut, WRITER, BASE, opens=True, clicks=True) == spliced
    assert longest_line(spliced) <= 76
    before, pixel, after = quopri.decodestring(spliced).partition(b"<img ")
    assert (before, pixel, after[-1:]) == (quopri.decodestring(body), b"<img ", b">")
    assert splice(cut_body(body, plan), WRITER, BASE, opens=False, clicks=True) == body


@pytest.mark.parametrize(
    ("url", "tracked"),
    [
        *(
            ("https://x.it/?q=caf%C3%A9&page=preferences", True),
            ("https://x.it/a%20b/unsubscribe", True),
            ("https://x.it/unsubscribe", True),
        ),
        *(("https://x.it/%unsubscribe_url%", False), ("https://x.it/%%unsubscribe%%", False), ("https://x.it/%decline_optout%", False)),
        *(("https://x.it/%7B%7Bunsubscribe%7D%7D", False), ("https://x.it/%5B%5Bunsub%5D%5D", False), ("https://x.it/%-unsub-%", False)),
    ],
)
def test_codes_of_a_url_are_no_placeholder(url: str, tracked: bool) -> None:
    body = f'<a href="{url}">x</a>'.encode()
    plan = plan_tracking(body, [Part("1", "text/html", "utf-8", "binary", 0, len(body))])
    assert [slot.payload for slot in plan.slots if slot.payload] == ([encode_payload(url.encode())] if tracked else [])


def told(text: bytes) -> Token:
    token = read_token(text.decode(), lambda number: KEY if number == 3 else None)
    assert token is not None and token.kind is TokenKind.CLICK
    return token


@pytest.mark.parametrize("piece", ["{", "[[un", "{{opt", "%", "*|", "${", "é", "/", "@"])
def test_no_url_takes_long(piece: str) -> None:
    started = time.process_time()
    for length in (5_000, 300_000):
        url = ("https://x.it/unsub" + piece * length)[:length]
        plan_tracking(body := f'<a href="{url}">'.encode(), (Part("1", "text/html", "utf-8", "8bit", 0, len(body)),))
    assert time.process_time() - started < 1
