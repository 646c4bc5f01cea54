"""Where the links of an HTML text lie: the href of every <a> and <area> that leads to http or https.

A tokenizer by the rules that browsers follow (WHATWG HTML §13.2.5), over bytes, so that every other byte of the text
stays what it was. What is no tag to a browser is none here: comments (and with them the conditional ones for Outlook),
the text of script, style, title, textarea and their like, a tag inside an attribute's value, an end tag, a tag that the
text breaks off. What is shown without scripts is followed: a mail program runs none, so <noscript> is plain markup.
Within <svg> and <math> the rules are others (foreign).

Left as they are: relative targets, "//host", and all other schemes; a link whose tag says that it is not to be tracked (`_SAYS_NO`).

One expression runs over all that does not matter; Python is reached only for the tags that do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from app.mail import foreign
from app.mail.markup import (
    ATTRIBUTE,
    ATTRIBUTES,
    BOGUS_COMMENT,
    COMMENT,
    NO_TAG,
    SPACE,
    decode,
    either_case,
    hide_letters,
    read_attribute,
    reads_ascii,
    repeated,
    text_end,
)

# What of a mail is looked at and rewritten; ordinary mails have some dozen links in a tenth of a megabyte. Each link that is rewritten
# makes the mail longer by some hundred octets, and nobody asks for its size again.
MOST_HTML = 2 * 1024 * 1024  # octets, as they are encoded
MOST_LINKS = 5_000
_LINKS = (b"a", b"A", b"area")
_NAMES = ("a", "area", "script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext", "svg", "math")
_MATTERS = rb"%b(?=[%b/>])" % (either_case(_NAMES), SPACE)
_SKIPPED = b"|".join(
    (
        rb"""</[a-zA-Z][^>"'=]*+>""",
        # most tags: name="value" and nothing odd; where a quote does not follow a name and "=", the rule after this one decides
        rb"""<(?!%b)[a-zA-Z][^%b/>]*+%b[^>"'=]*+>""" % (_MATTERS, SPACE, repeated(rb"""[^>"'=]*+(?<=[^%b/"])="[^"]*+\"""" % SPACE)),
        rb"</?+(?!(?<=<)%b)[a-zA-Z][^%b/>]*+%b>" % (_MATTERS, SPACE, ATTRIBUTES),
        NO_TAG,
        COMMENT,
        BOGUS_COMMENT,
    )
)
# What nearly every link is: href first, in double quotes, a web address in ASCII.
_PLAIN_HREF = rb"""[%b]++[hH][rR][eE][fF]="([hH][tT][tT][pP][sS]?://[!$%%'-.0-;=@-\[\]-~][!#-~]*+)\"""" % SPACE
_NEXT_TAG = re.compile(
    rb"%b[^<]*+<(%b)(?>(?=%b)?)(%b)>" % (repeated(rb"[^<]*+(?:%b)" % _SKIPPED), _MATTERS, _PLAIN_HREF, ATTRIBUTES),
    re.DOTALL,
)
_WHOLE = re.compile(repeated(rb"[^<]++|%b" % _SKIPPED), re.DOTALL)
_BODY_END = re.compile(
    rb"%b[^<]*+(?=</[bB][oO][dD][yY][%b/>])" % (repeated(rb"[^<]*+(?!</[bB][oO][dD][yY][%b/>])(?:%b)" % (SPACE, _SKIPPED)), SPACE),
    re.DOTALL,
)
_WEB = re.compile(r"https?://[/\\]*+[^/\\?#\s]", re.IGNORECASE)  # more slashes than two are as good as two
_PLAIN_URL = re.compile(rb"[!-~]*+")
_AROUND_URL = "".join(map(chr, range(0x21)))
_WITHIN_URL = str.maketrans("", "", "\t\n\r")

# The attributes by which a link asks to be left alone: ours, and those that templates bring along from elsewhere (SendGrid, SparkPost;
# Postmark, SES, Mailgun and Mandrill, where it is the attribute's presence that says so).
_SAYS_NO = {
    **dict.fromkeys((b"data-staffetta-track", b"data-track", b"clicktracking", b"data-msys-clicktrack"), (b"off", b"0", b"false", b"no")),
    **dict.fromkeys((b"data-pm-no-track", b"ses:no-track", b"disable-tracking", b"mc:disable-tracking"), ()),
}


class LinkSpan(NamedTuple):
    """The value of one href: its bytes are [start:end], `url` is what a browser would read there."""

    start: int
    end: int
    url: str


@dataclass(slots=True)
class HtmlLinks:
    """The spans of all web links, in order; and where, behind them, an open pixel may stand, None if nowhere."""

    links: tuple[LinkSpan, ...]
    pixel: int | None


def read_links(html: bytes, charset: str = "utf-8") -> HtmlLinks:
    """All that tracking wants to know of an HTML text: of any octets, and nothing where ASCII is not ASCII in `charset`.

    The pixel stands before </body>, or else at the end, but never within what the text leaves open (a comment, a value): there it would
    not be seen, and might close what is open.
    """
    if not reads_ascii(charset):
        return HtmlLinks((), None)
    text = hide_letters(html, charset)
    may_say_no = b"track" in text.lower()
    spans: list[LinkSpan] = []
    around = foreign.Around()
    place, element, text_ends = 0, 0, -1
    while (tag := _NEXT_TAG.match(text, place)) is not None:
        name = tag[1]
        after = tag.end()
        if name in _LINKS or name.lower() in _LINKS:
            start, end = tag.span(2)
            if start < 0 or (may_say_no and b"track" in tag[3].lower()):
                if (span := _read_link(html, *tag.span(3), charset)) is not None:
                    spans.append(span)
            else:
                value = html[start:end]
                spans.append(LinkSpan(start, end, read_url(value, charset) if b"&" in value else value.decode("ascii")))
        elif (name := name.lower()) in (b"svg", b"math"):
            if not tag[3].endswith(b"/"):
                found, after, goes_on = foreign.read_foreign(text, after, name, around)
                spans += filter(None, (_read_link(html, start, end, charset) for start, end in found))
                if not goes_on:
                    return HtmlLinks(tuple(spans), None if found else tag.start(1) - 1)  # within, a pixel would end it
        else:
            element = tag.start(1) - 1
            if (text_ends := text_end(text, after, name)) < 0:
                return HtmlLinks(tuple(spans), element)  # the rest is text of this element
            after = text_ends
        place = after
    pixel = _pixel_place(text, place)
    # An end tag that breaks off ends no text.
    return HtmlLinks(tuple(spans), pixel if pixel != text_ends else element)


def _pixel_place(html: bytes, place: int) -> int:
    """`place`: behind the last tag that matters."""
    end = _BODY_END.match(html, place) or _WHOLE.match(html, place)
    assert end is not None  # nothing is enough for the second
    return end.end()


def _read_link(html: bytes, start: int, end: int, charset: str) -> LinkSpan | None:
    """The link of a tag whose attributes are [start:end]."""
    if b"track" in html[start:end].lower() and _says_no(html, start, end):
        return None
    for attribute in ATTRIBUTE.finditer(html, start, end):
        if attribute[1].lower() == b"href":
            # A second href on the same tag is not read by anybody.
            return _as_link(attribute, attribute.lastindex, charset) if attribute.lastindex not in (None, 1) else None
    return None


def _as_link(found: re.Match[bytes], group: int | None, charset: str) -> LinkSpan | None:
    assert group is not None
    url = read_url(found[group], charset)
    return LinkSpan(*found.span(group), url) if _WEB.match(url) else None


def read_url(value: bytes, charset: str) -> str:
    """An attribute's value as a browser takes it for a URL (WHATWG URL §4.4: space around it, tabs and line ends within do not count)."""
    if value.count(b"&") == value.count(b"&amp;") and _PLAIN_URL.fullmatch(value) is not None:  # nearly all are
        return value.decode("ascii").replace("&amp;", "&")
    text = value.decode("ascii") if value.isascii() and b"\x1b" not in value else decode(value, charset)
    text = read_attribute(text.replace("\0", "\ufffd")).strip(_AROUND_URL)
    return text if text.isprintable() else text.translate(_WITHIN_URL)


def _says_no(html: bytes, start: int, end: int) -> bool:
    for attribute in ATTRIBUTE.finditer(html, start, end):
        values = _SAYS_NO.get(attribute[1].lower())
        if values is None:
            continue
        value = (attribute[2] or attribute[3] or attribute[4] or b"").strip().lower()
        if value in values or (not values and value != b"false"):
            return True
    return False
