"""HTML in pieces: literal text, and links of which is known whether they are to be tracked and where they lead.

What a reader must receive is put together from the pieces, not by looking for links: the finder of links has no say in its own trial.
"""

from __future__ import annotations

import html
import random
from dataclasses import dataclass

from tests.bench.odd_words import a_text_line, letters


@dataclass(frozen=True, slots=True)
class Link:
    """The value of an href as it is written, and the URL that a click must lead to."""

    written: str
    url: str


Pieces = tuple[str | Link, ...]

_HOSTS = (
    *(
        "shop.example",
        "SHOP.Example",
        "bücher.example",
        "例え.テスト",
        "xn--bcher-kva.example",
        "[2001:db8::1]",
        "192.0.2.7",
        "ada:x@shop.example",
    ),
    *("shop.example:8443", "a.b.c.d.e.f.example", "موقع.example", "under_score.example", "shop.example."),
)
# Whole tags that are none to a browser, or lead nowhere that is tracked.
_UNTRACKED = (
    *('<a href="mailto:a@x.example">m</a>', '<a href="tel:+39">t</a>', "<a href='#top'>^</a>", '<a href="/rel">r</a>', "<a href>n</a>"),
    *('<a href="">e</a>', '<a href="//host.example/x">p</a>', '<a href="javascript:void(0)">j</a>', '<a name="https://n.example/">n</a>'),
    *('<!-- <a href="https://comment.example/">c</a> -->', '<!--[if mso]><a href="https://mso.example/">o</a><![endif]-->'),
    *("<script>x = '<a href=\"https://script.example/\">';</script>", '<style>/* <a href="https://style.example/"> */</style>'),
    *('<textarea><a href="https://area.example/"></textarea>', "<p title='<a href=\"https://title.example/\">'>q</p>"),
    *('< a href="https://space.example/">s', '</a href="https://end.example/">', '<abbr href="https://abbr.example/">b</abbr>'),
    *('<a data-href="https://data.example/">d</a>', '<link href="https://link.example/">', '<img src="https://img.example/x.png">'),
    *('<a href="https://off.example/" data-staffetta-track="off">o</a>', '<a clicktracking=off href="https://off.example/">o</a>'),
    *('<a href="{{unsubscribe_url}}">u</a>', '<a href="https://x.example/{{unsubscribe}}">u</a>', '<a href="ftp://x.example/">f</a>'),
    *(
        '<a href="http://localhost:8025/p/own">own</a>',
        '<a href="https://x.example:99999/">port</a>',
        '<a href="https://a b.example/">h</a>',
    ),
    '<a href="https://long.example/' + "y" * 6200 + '">too long for a token</a>',
)


def a_page(draw: random.Random) -> Pieces:
    """One HTML body."""
    kind = draw.random()
    if kind < 0.05:
        return (
            draw.choice(("", " ", "\n", "<", "<p>", "no markup", "</body>", "<html></html>", "<!-- open", ".", "\n.\n", "\x01\n\x02\n")),
        )
    if kind < 0.08:
        return a_table(draw, 1_000_000)
    if kind < 0.11:
        return ("<p>" + draw.choice(("x", "é", " ", ".", "=", "&nbsp;", "\t", "漢")) * 100_000, *a_link(draw), "</p>")
    pieces: list[str | Link] = [draw.choice(("", "<!doctype html>\r\n", "<html><body>\n", "\ufeff<html>", "<HTML><BODY bgcolor=red>"))]
    for _ in range(draw.choice((0, 1, 3, 12, 12, 60, 300))):
        pieces.append(a_scrap(draw))
        if draw.random() < 0.7:
            pieces += a_link(draw)
    pieces.append(draw.choice(("", "</body></html>", "</BODY >\r\n</HTML>\r\n", "\n\n\n", "   ", "</body>" + "\n" * 50, "<!-- left open")))
    return tuple(pieces)


def a_table(draw: random.Random, size: int) -> Pieces:
    """A table of at least so many characters, with a link in some of its cells; sometimes all of it on one line."""
    end = draw.choice(("\n", "\r\n", ""))
    pieces: list[str | Link] = ["<table>"]
    cell = "<td style='padding:0 8px'>" + html.escape(letters(draw, draw.choice(("ascii", "latin", "han", "arabic")), 60)) + "</td>"
    rows = size // (8 * len(cell) + 60)
    for row in range(rows + 1):
        pieces.append(f"{end}<tr><td>{row}</td>{cell * 8}")
        if row % 7 == 0:
            url = f"https://shop.example/rows/{row}?q={draw.randint(0, 9)}"
            pieces += ('<td><a href="', Link(url, url), '">row</a></td>')
        pieces.append("</tr>")
    pieces.append("</table>")
    return tuple(pieces)


def a_scrap(draw: random.Random) -> str:
    """Something between the links: markup that looks like a link, or text."""
    kind = draw.random()
    if kind < 0.4:
        return draw.choice(_UNTRACKED)
    if kind < 0.8:
        return "<p>" + a_text_line(draw).replace("<", "&lt;") + draw.choice(("\n", "\r\n", "\r\n.\r\n", "", " \n", "\t\n\n"))
    return draw.choice(("<br>", "<hr/>\n", " < 3 ", "&lt;a&gt;", "<?php ?>", "<![CDATA[x]]>", "</ >", "<>", '<p ="x">', "<p title='a>b'>"))


def a_link(draw: random.Random) -> Pieces:
    """The tag of one link that must be tracked, whatever it is written like."""
    url = a_url(draw)
    quote = draw.choice(('"', '"', '"', "'", ""))
    if quote == "" and (not url.isascii() or any(mark in url for mark in " \"'<>`=&")):
        quote = '"'
    written = _written(draw, url, quote)
    before, after = draw.choice(
        (
            ("<a href=", ">"),
            ("<A HREF=", " >"),
            ("<a\n\tclass='x' href =\n", " target=_blank>"),
            ("<area shape=rect href=", " />"),
            ("<svg><a href=", "></svg>"),
            ("<noscript><a href=", ">"),
        )
    )
    if draw.random() < 0.1:
        before = before.replace("<a ", "<a title='a > b' data-x=\"<a href='https://no.example/'>\" ")
    if draw.random() < 0.1 and quote:
        after = f' href="https://second.example/"{after}'
    if quote == "":
        after = f" {after.lstrip()}"
    return (f"{before}{quote}", Link(written, url), f"{quote}{after}{draw.choice(('here</a>', '<img src=x></a>', '', '</a>.'))}")


def a_url(draw: random.Random) -> str:
    """An absolute web address that a redirect can name."""
    path = draw.choice(
        (
            *(
                "",
                "/",
                "/a/b",
                "/?x=1&y=2",
                "/#top",
                "/a%20b",
                "/%",
                "/%zz",
                "/a;b=c?d=e&&f",
                "/c/not-a-token",
                "/a'b",
                "/[x]",
                "/~u/{v}|w^`",
            ),
            *(
                "/größe",
                "/注文/確認?名=値",
                "/متجر",
                "/🧦",
                "/a&copy=1",
                "/?a=1&lt=2",
                "/?u=https://other.example/?v=w",
                "/..//../x",
                "/=3D=20=",
            ),
            "/" + letters(draw, "latin", 20).strip().replace(" ", "-"),
            "/" + "long/" * draw.choice((10, 100, 1000)),
            "/" + "".join(draw.choice("0123456789abcdef=&?") for _ in range(draw.randint(40, 100))),
        )
    )
    return draw.choice(("https://", "https://", "http://", "HTTPS://")) + draw.choice(_HOSTS) + path


def _written(draw: random.Random, url: str, quote: str) -> str:
    """The URL as an attribute's value in one of the ways that mean it."""
    if quote == "":
        return url
    written = html.escape(url)
    kind = draw.random()
    if kind < 0.2:
        written = "".join(f"&#x{ord(one):x};" if draw.random() < 0.2 else html.escape(one) for one in url)
    elif kind < 0.3:
        written = "".join(f"&#{ord(one)};" if draw.random() < 0.1 else html.escape(one) for one in url)
    elif kind < 0.4:
        written = draw.choice((" ", "\n", "\t ")) + written + draw.choice(("", " ", "\n  "))
    elif kind < 0.45:
        written = written[:12] + draw.choice(("\n", "\t", "\r\n")) + written[12:] if "&" not in written[:24] else written
    return written
