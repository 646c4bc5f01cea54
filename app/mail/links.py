"""Where the links of an HTML text lie: the href of every <a> and <area> that leads to http or https.

A tokenizer by the rules that browsers follow (WHATWG HTML §13.2.5), over bytes, so that every other byte of the text
stays what it was. What is no tag to a browser is none here: comments (and with them the conditional ones for Outlook),
the text of script, style, title, textarea and their like, a tag inside an attribute's value, an end tag, a tag that the
text breaks off. What is shown without scripts is followed: a mail program runs none, so <noscript> is plain markup.

One expression runs over all that does not matter; Python is reached only for the tags that do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from html.entities import html5

_S = rb"\t\n\f\r "
_VALUE = rb"""(?:"[^"]*+"|'[^']*+'|[^%b>"'][^%b>]*+)""" % (_S, _S)
# A name is followed by "=" and a value that ends, or by no "=": else the text breaks off within a quoted value.
_ATTRIBUTES = rb"(?:[%b/]++|(?:=[^%b/>=]*+|[^%b/>=]++)(?:[%b]*+=[%b]*+(?:%b|(?=>))|(?![%b]*+=)))*+" % (_S, _S, _S, _S, _S, _VALUE, _S)
_NAMES = ("a", "area", "script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext")
# Both cases spelt out: a flag for it would slow the whole expression down.
_MATTERS = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in name) for name in _NAMES).encode()
_MATTERS = rb"(?:%b)(?=[%b/>])" % (_MATTERS, _S)
_SKIPPED = b"|".join(
    (
        rb"[^<]++",
        # most tags: name="value" and nothing odd; where a quote does not follow a name and "=", the rule after this one decides
        rb"""</?+(?!(?<=<)%b)[a-zA-Z][^%b/>]*+(?:[^>"'=]*+(?<=[^%b/])="[^"]*+")*+[^>"'=]*+>""" % (_MATTERS, _S, _S),
        rb"</?+(?!(?<=<)%b)[a-zA-Z][^%b/>]*+%b>" % (_MATTERS, _S, _ATTRIBUTES),
        rb"<(?![a-zA-Z/!?])",
        rb"<!--(?:-?>|.*?--!?>)",
        rb"<(?:!(?!--)|\?|/(?![a-zA-Z]))[^>]*+>",
    )
)
_NEXT_TAG = re.compile(rb"(?:%b)*+<(%b)(%b)>" % (_SKIPPED, _MATTERS, _ATTRIBUTES), re.DOTALL)
_ATTRIBUTE = re.compile(
    rb"""[%b/]*+(=[^%b/>=]*+|[^%b/>=]++)(?:[%b]*+=[%b]*+(?:"([^"]*+)"|'([^']*+)'|([^%b>"'][^%b>]*+))?+)?+""" % ((_S,) * 7)
)
_ENTITY = re.compile(r"&(?:#[xX]?[0-9a-fA-F]+;?|([A-Za-z][A-Za-z0-9]*;?))")
_WEB = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_AROUND_URL = "".join(map(chr, range(0x21)))


@dataclass(frozen=True, slots=True)
class LinkSpan:
    """The value of one href: its bytes are [start:end], `url` is what a browser would read there."""

    start: int
    end: int
    url: str


def find_link_spans(html: bytes, charset: str = "utf-8") -> tuple[LinkSpan, ...]:
    """The spans of all web links, in order. Any bytes are taken; `charset` must be one in which ASCII is ASCII."""
    spans: list[LinkSpan] = []
    place = 0
    while (tag := _NEXT_TAG.match(html, place)) is not None:
        name = tag[1].lower()
        place = tag.end()
        if name in (b"a", b"area"):
            span = _find_href(html, tag.start(2), tag.end(2), charset)
            if span is not None:
                spans.append(span)
            continue
        end = None if name == b"plaintext" else re.compile(rb"</%b(?=[%b/>])" % (name, _S), re.IGNORECASE).search(html, place)
        if end is None:
            break  # the rest is text of this element
        place = end.start()
    return tuple(spans)


def _find_href(html: bytes, start: int, end: int, charset: str) -> LinkSpan | None:
    for attribute in _ATTRIBUTE.finditer(html, start, end):
        if attribute[1].lower() != b"href":
            continue
        group = next((number for number in (2, 3, 4) if attribute[number] is not None), None)
        if group is None:
            return None
        url = read_attribute(attribute[group].decode(charset, "replace")).strip(_AROUND_URL)
        # A second href on the same tag is not read by anybody.
        return LinkSpan(*attribute.span(group), url) if _WEB.match(url) else None
    return None


def read_attribute(value: str) -> str:
    """An attribute's value with its character references read (WHATWG HTML §13.2.5.73)."""
    return _ENTITY.sub(lambda found: _read_entity(found, value), value) if "&" in value else value


def _read_entity(found: re.Match[str], value: str) -> str:
    name = found[1]
    if name is None:
        return unescape(found[0])
    if name in html5 and name.endswith(";"):
        return html5[name]
    for length in range(len(name), 1, -1):
        if name[:length] in html5:
            after = value[found.start(1) + length : found.start(1) + length + 1]
            # Without its semicolon, and before "=" or a letter, it is a parameter of the URL and no character.
            if after == "=" or after.isalnum():
                break
            return html5[name[:length]] + name[length:]
    return found[0]
