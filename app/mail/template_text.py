"""A text part out of an HTML one, on the source of the template: what the mail says, without a cost for every message.

Tags of Jinja stay where they are and fill the text as they fill the HTML. Links keep their target in brackets, images their alt
text; what is hidden (the preheader of many mails), head, styles and comments are left out. Each source is taken by itself, so that a
layout and what it contains fit together again.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from app.mail.template_jinja import TAG, statement_of

_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_SPACE = re.compile(r"\s+")
_HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
_LEFT_OUT = frozenset(("head", "style", "script", "title", "template"))
_VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"))
_BLOCKS = {"p": 2, "h1": 2, "h2": 2, "h3": 2, "h4": 2, "h5": 2, "h6": 2, "table": 2, "ul": 2, "ol": 2, "blockquote": 2}
_BLOCKS |= dict.fromkeys(
    ("div", "tr", "li", "section", "article", "header", "footer", "center", "address", "dl", "dt", "dd", "pre", "hr"), 1
)
# What HTML lets authors leave out (WHATWG HTML §13.1.2.4): a start tag also ends such elements, as far as it lies in nothing of the third.
_TABLE = ("table", "template")
_ENDING: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "li": (("li",), ("ul", "ol", "menu", *_TABLE)),
    **dict.fromkeys(("dt", "dd"), (("dt", "dd"), ("dl", *_TABLE))),
    **dict.fromkeys(("td", "th"), (("td", "th"), _TABLE)),
    "tr": (("td", "th", "tr"), _TABLE),
    **dict.fromkeys(("tbody", "thead", "tfoot"), (("td", "th", "tr", "tbody", "thead", "tfoot", "caption", "colgroup"), _TABLE)),
}
_ENDING |= dict.fromkeys(
    (
        *("address", "article", "aside", "blockquote", "center", "details", "div", "dl", "fieldset", "figcaption", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "menu", "nav", "ol", "p", "pre", "section", "table", "ul"),
    ),
    (("p",), ("td", "th", "button", *_TABLE)),
)
_IN_HEAD = frozenset(
    ("head", "base", "basefont", "bgsound", "link", "meta", "noframes", "noscript", "script", "style", "template", "title")
)
# An end tag of these ends all that is open in them.
_ENDS_INNER = frozenset((*_BLOCKS, "td", "th", "tbody", "thead", "tfoot", "body", "html", "head")) - {"p", "hr"}
_SYNTAX = re.compile(r"\{(?=[{%#])")


def derive_text(html: str) -> str:
    """The text template of an HTML template."""
    tags: list[str] = []

    def mark(found: re.Match[str]) -> str:
        tags.append(found[0])
        return f"{_OPEN}{len(tags) - 1}{_CLOSE}"

    walk = _Walk(tags)
    walk.feed(TAG.sub(mark, html.replace(_OPEN, "").replace(_CLOSE, "")))
    walk.close()
    return walk.text()


def tidy_text(text: str) -> str:
    """A rendered text without the gaps that conditions and loops left."""
    # Plain replacing is a tenth of what an expression takes. Blanks in a row are rare, and there may be a thousand of them.
    text = text.replace(" \n", "\n")
    if " \n" in text:
        text = "\n".join([line.rstrip(" ") for line in text.split("\n")])
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


class _Walk(HTMLParser):
    def __init__(self, tags: list[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._tags = tags
        self._pieces: list[str] = []
        self._breaks = 0  # line ends that the text ends with; a source may be a partial in the middle of a line
        self._wanted = 0  # line ends before the next word
        self._space = False
        self._left_out: list[str] = []
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        self._flush()
        return "".join(self._pieces)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._end_before(tag)
        if self._left_out:
            self._left_out += [tag] if tag not in _VOID else []
            return
        if tag not in _VOID and (tag in _LEFT_OUT or "hidden" in given or _HIDDEN.search(given.get("style", ""))):
            self._left_out.append(tag)
            return
        self._want(_BLOCKS.get(tag, 0))
        if tag == "br":
            self._flush()
            self._put("\n")
        elif tag == "li":
            self._word("- ")
        elif tag == "hr":
            self._word("---")
            self._want(1)
        elif tag in ("td", "th"):
            self._space = True
        elif tag == "img" and given.get("alt", "").strip():
            self._write(given["alt"])
        elif tag == "a":
            self._links.append((given.get("href", "").strip(), len(self._pieces)))

    def handle_endtag(self, tag: str) -> None:
        if self._left_out:
            if tag in self._left_out:
                del self._left_out[_last(self._left_out, (tag,)) :]
                return
            if tag not in _ENDS_INNER:
                return
            self._left_out.clear()
        if tag == "a" and self._links:
            href, start = self._links.pop()
            said = "".join(self._pieces[start:]).strip()
            target = self._unmark(href)
            if target and not target.startswith("#") and target.removeprefix("mailto:").removeprefix("tel:") != said:
                self._word(f" ({target})" if said else target)
        self._want(_BLOCKS.get(tag, 0))

    def _end_before(self, tag: str) -> None:
        """What is left out and open, ends where the next element says so."""
        if self._left_out == ["head"] and tag not in _IN_HEAD:
            self._left_out.clear()
        ended, within = _ENDING.get(tag, ((), ()))
        inner = self._left_out[_last(self._left_out, within) + 1 :]
        places = [place for place, one in enumerate(inner) if one in ended]
        if places:
            del self._left_out[len(self._left_out) - len(inner) + places[0] :]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if not self._left_out:
            self._write(data)

    def _write(self, text: str) -> None:
        place = 0
        for found in _MARK.finditer(text):
            self._write_words(text[place : found.start()])
            self._write_tag(self._tags[int(found[1])])
            place = found.end()
        self._write_words(text[place:])

    def _write_words(self, text: str) -> None:
        words = _SPACE.sub(" ", text)
        if not words:
            return
        if words[0] == " ":
            self._space = True
        if words.strip():
            self._word(_SYNTAX.sub("{{ '{' }}", words.strip()))
            self._space = words[-1] == " "

    def _write_tag(self, tag: str) -> None:
        if statement_of(tag) is None and not tag.startswith("{#"):
            self._word(tag)
            return
        # Lines end before a statement: whichever way it goes, what comes next stands where it stood in the HTML.
        self._flush()
        self._pieces.append(tag if not tag.startswith("{#") else "")

    def _word(self, text: str) -> None:
        self._flush()
        if self._space and not self._breaks:
            self._pieces.append(" ")
        self._space = False
        self._put(text)

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self._breaks = 1 if text == "\n" else 0

    def _want(self, breaks: int) -> None:
        self._wanted = max(self._wanted, breaks)
        self._space = self._space and not breaks

    def _flush(self) -> None:
        missing = self._wanted - self._breaks
        if missing > 0:
            self._pieces.append("\n" * missing)
            self._breaks = self._wanted
        self._wanted = 0

    def _unmark(self, text: str) -> str:
        return _MARK.sub(lambda found: self._tags[int(found[1])], text)


def _last(tags: list[str], wanted: tuple[str, ...]) -> int:
    """Where the last of the wanted stands; -1 for nowhere."""
    return max((place for place, tag in enumerate(tags) if tag in wanted), default=-1)
