"""Where the links of an HTML text lie (tokenizer follows)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkSpan:
    """The value of one href: its bytes are [start:end], `url` is what a browser would read there."""

    start: int
    end: int
    url: str


def find_link_spans(html: bytes) -> tuple[LinkSpan, ...]:
    import re
    from html import unescape

    return tuple(LinkSpan(m.start(1), m.end(1), unescape(m[1].decode())) for m in re.finditer(rb'<a [^>]*?href="(https?:[^"]*)"', html))
