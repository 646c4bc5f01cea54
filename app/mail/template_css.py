"""The rules of <style> written into the elements, because many mail programs read nothing else; on the source of a template.

The whole mail is put together for it: the layout with the blocks of its child and the partials in their places, so that a rule
of the layout reaches what a block contains. css-inline then says which declarations each element gets, and only the style attributes
are taken from its answer: every other byte of the sources stays what it was, tags of Jinja above all. Nothing is ever fetched.

<style> stays too, for media queries and for programs that read it. An element whose tag depends on a statement of Jinja, and a
declaration whose value is a variable, are left to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import css_inline

from app.mail.markup import read_attribute, repeated
from app.mail.template_jinja import TAG, statement_of

_EXPRESSION, _STATEMENT = "\ue000", "\ue001"
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\s>"']++)"""
_ATTRIBUTES = repeated(rf"""\s+|/|[^\s"'>/=]++(?:\s*=\s*{_VALUE})?""".encode()).decode()
_ELEMENT = re.compile(
    rf"""<!--.*?-->|(<(?:style|script)\b[^>]*+>).*?</(?:style|script)|<([a-zA-Z][\w:-]*)({_ATTRIBUTES})>""",
    re.DOTALL | re.IGNORECASE,
)
_STYLE = re.compile(rf"""(?<=[\s"'])style\s*=\s*({_VALUE})""", re.IGNORECASE)
_INLINED = re.compile(r"""<[a-zA-Z][\w:-]*(?:\s+[^\s"'>/=]+(?:="[^"]*")?)*?\s+data-stf="(\d+)"((?:\s+[^\s"'>/=]+(?:="[^"]*")?)*)\s*/?>""")
_INLINED_STYLE = re.compile(r'\sstyle="([^"]*)"')
_MOST_SEGMENTS = 2_000
_MOST_ELEMENTS = 20_000
_MOST_DEPTH = 12

_inliner = css_inline.CSSInliner(
    inline_style_tags=True, keep_style_tags=True, keep_link_tags=True, keep_at_rules=True, load_remote_stylesheets=False, extra_css=None
)


@dataclass(frozen=True, slots=True)
class _Element:
    """A start tag: where its name ends, and the span of its style attribute (the value with its quotes, and the whole of it)."""

    name_end: int
    style: tuple[int, int] | None
    style_value: str


def inline_css(main: str, sources: Mapping[str, str]) -> dict[str, str]:
    """The same sources with style attributes. `main` is the template that the mail is made from."""
    if main not in sources or not any("<style" in source.lower() for source in sources.values()):
        return dict(sources)
    masked = {name: _mask(source) for name, source in sources.items()}
    elements = {name: _find_elements(text) for name, text in masked.items()}
    segments = _Assembly(sources).segments(main)
    document, places = _assemble(segments, masked, elements)
    styles = _read_styles(_inliner.inline(document))
    found: dict[str, dict[int, str]] = {name: {} for name in sources}
    for number, (name, place) in enumerate(places):
        if number in styles:
            found[name].setdefault(place, styles[number])
    return {name: _splice(source, elements[name], found[name]) for name, source in sources.items()}


def _mask(source: str) -> str:
    """The source with every character of Jinja's tags replaced, of the same length; outside of tags of HTML by blanks."""

    def fill(found: re.Match[str]) -> str:
        return (_EXPRESSION if found[0].startswith("{{") else _STATEMENT) * len(found[0])

    filled = TAG.sub(fill, source)
    pieces: list[str] = []
    place = 0
    for element in _ELEMENT.finditer(filled):
        pieces += [_blank(filled[place : element.start()]), element[0]]
        place = element.end()
    return "".join((*pieces, _blank(filled[place:])))


def _blank(text: str) -> str:
    return text.replace(_EXPRESSION, " ").replace(_STATEMENT, " ")


def _find_elements(masked: str) -> list[_Element]:
    found: list[_Element] = []
    for element in _ELEMENT.finditer(masked):
        if element[2] is None or _STATEMENT in element[0]:
            continue
        style = _STYLE.search(masked, element.end(2), element.end(3))
        value = style[1].strip("\"'") if style is not None else ""
        found.append(_Element(element.end(2), style.span(1) if style is not None else None, value))
        if len(found) > _MOST_ELEMENTS:
            break
    return found


class _Assembly:
    """The spans of all sources in the order in which the mail shows them."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._tags = {name: [(m.start(), m.end(), statement_of(m[0])) for m in TAG.finditer(source)] for name, source in sources.items()}
        self._made: list[tuple[str, int, int]] = []

    def segments(self, main: str) -> list[tuple[str, int, int]]:
        self._walk_template(main, {}, 0)
        return self._made

    def _walk_template(self, name: str, blocks: Mapping[str, tuple[str, int, int]], depth: int) -> None:
        if name not in self._sources or depth > _MOST_DEPTH:
            return
        parent = next((word for _, _, said in self._tags[name] if said is not None and said[0] == "extends" for word in [said[1]]), None)
        blocks = self._blocks_of(name) | dict(blocks)
        if parent is not None:
            self._walk_template(parent, blocks, depth + 1)
        else:
            self._walk(name, 0, len(self._sources[name]), blocks, depth + 1)

    def _walk(self, name: str, start: int, end: int, blocks: Mapping[str, tuple[str, int, int]], depth: int) -> None:
        place = start
        for tag_start, tag_end, said in self._tags[name]:
            if tag_start < place or tag_end > end or said is None or len(self._made) > _MOST_SEGMENTS or depth > _MOST_DEPTH:
                continue
            if said[0] == "include":
                self._made.append((name, place, tag_start))
                self._walk_template(said[1], {}, depth + 1)
                place = tag_end
            elif said[0] == "block" and said[1] in blocks and blocks[said[1]][:2] != (name, tag_end):
                self._made.append((name, place, tag_start))
                self._walk(*blocks[said[1]], blocks, depth + 1)
                place = next((e for n, s, e in [self._blocks_of(name)[said[1]]] if s == tag_end), tag_end)
        self._made.append((name, place, end))

    def _blocks_of(self, name: str) -> dict[str, tuple[str, int, int]]:
        found: dict[str, tuple[str, int, int]] = {}
        opened: list[tuple[str, int]] = []
        for tag_start, tag_end, said in self._tags[name]:
            if said is not None and said[0] == "block":
                opened.append((said[1], tag_end))
            elif said is not None and said[0] == "endblock" and opened:
                block, start = opened.pop()
                found[block] = (name, start, tag_start)
        return found


def _assemble(
    segments: list[tuple[str, int, int]], masked: Mapping[str, str], elements: Mapping[str, list[_Element]]
) -> tuple[str, list[tuple[str, int]]]:
    """The document with each element numbered, and where each number stands in the sources."""
    pieces: list[str] = []
    places: list[tuple[str, int]] = []
    for name, start, end in segments:
        text, place = masked[name], start
        for element in elements[name]:
            if not start <= element.name_end <= end:
                continue
            if len(places) > _MOST_ELEMENTS:
                break
            pieces += [text[place : element.name_end], f' data-stf="{len(places)}"']
            place = element.name_end
            if element.style is not None and _EXPRESSION in element.style_value and element.style[1] <= end:
                # A style that a variable is part of: what the rules add stands before it.
                pieces += [text[place : element.style[0]], '""']
                place = element.style[1]
            places.append((name, element.name_end))
        pieces.append(text[place:end])
    return "".join(pieces), places


def _read_styles(document: str) -> dict[int, str]:
    styles: dict[int, str] = {}
    for found in _INLINED.finditer(document):
        style = _INLINED_STYLE.search(found[0])
        if style is not None:
            # A declaration whose value is a variable stays in <style>.
            kept = [
                one.strip() for one in _split(read_attribute(style[1])) if one.strip() and _EXPRESSION not in one and _STATEMENT not in one
            ]
            if kept:
                styles[int(found[1])] = "; ".join(kept).replace("&", "&amp;").replace('"', "&quot;").replace("{{", "{ {").replace("\n", " ")
    return styles


def _split(style: str) -> list[str]:
    """Declarations, apart at semicolons that are in no string and no brackets (a data: URL has some)."""
    pieces, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(style):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == ";" and depth <= 0:
            pieces.append(style[start:place])
            start = place + 1
    return [*pieces, style[start:]]


def _splice(source: str, elements: list[_Element], styles: Mapping[int, str]) -> str:
    pieces: list[str] = []
    place = 0
    for element in elements:
        style = styles.get(element.name_end)
        if style is None:
            continue
        if element.style is None:
            pieces += [source[place : element.name_end], f' style="{style}"']
            place = element.name_end
        elif _EXPRESSION in element.style_value:
            start, end = element.style
            given = source[start:end]
            quote = given[0] if given[0] in "\"'" else ""
            inside = given[1:-1] if quote else given
            pieces += [
                source[place:start],
                f'"{style}; ' if quote != "'" else f"'{style.replace(chr(39), '&#39;')}; ",
                inside,
                quote or '"',
            ]
            place = end
        else:
            pieces += [source[place : element.style[0]], f'"{style}"']
            place = element.style[1]
    return "".join((*pieces, source[place:]))
