"""Links within <svg> and <math>, where HTML's own rules do not hold (WHATWG HTML §13.2.6.5).

There <style>, <title> and <script> are plain elements with tags inside, "<![CDATA[" is text up to "]]>", and a tag that only HTML has ends
it all. Some elements (<foreignObject>, <desc>, <mtext>) hold HTML again. So the open elements are followed; for HTML inside only as
far as end tags need it.
"""

from __future__ import annotations

import re

from app.mail.markup import ATTRIBUTE, ATTRIBUTES, BOGUS_COMMENT, COMMENT, NO_TAG, SPACE, repeated, text_end

_TAG = rb"<(/?)([a-zA-Z][^%b/>]*+)(%b)>" % (SPACE, ATTRIBUTES)
_HTML_TAG = re.compile(repeated(rb"[^<]++|%b" % b"|".join((NO_TAG, COMMENT, BOGUS_COMMENT))) + _TAG, re.DOTALL)
_CDATA = rb"<!\[CDATA\[.*?\]\]>"
_FOREIGN_TAG = re.compile(
    repeated(rb"[^<]++|%b" % b"|".join((NO_TAG, COMMENT, _CDATA, rb"(?!<!\[CDATA\[)(?:%b)" % BOGUS_COMMENT))) + _TAG, re.DOTALL
)
_TEXTS = frozenset((b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes", b"plaintext"))
_VOID = frozenset(b"area base br col embed hr img input link meta source track wbr".split())
_ONLY_HTML = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta nobr ol p pre ruby s "
    b"small span strong strike sub sup table tt u ul var".split()
)
# End tags that end nothing around, or that have rules of their own. All others end what is open within their element.
_NOT_AROUND = frozenset((b"html", b"head", b"body", b"p", b"br", b"svg", b"math"))
_OF_TABLES = frozenset(b"caption table tbody td tfoot th thead tr".split())
_MOST_NAMES = 50  # that are looked for in all the text
_OF_FONT = frozenset((b"color", b"face", b"size"))
_HOLD_HTML = {b"svg": frozenset((b"foreignobject", b"desc", b"title")), b"math": frozenset((b"mi", b"mo", b"mn", b"ms", b"mtext"))}

_DEEPEST = 100  # elements: each end tag looks through them

# An open element: whose it is (b"svg", b"math", b"" for HTML), its name, and whether it holds HTML.
_Element = tuple[bytes, bytes, bool]


class Around:
    """Which elements are open in the HTML around, near enough for broken markup; each name is looked for once in all."""

    def __init__(self) -> None:
        self._counted: dict[bytes, tuple[int, int]] = {}

    def is_open(self, html: bytes, place: int, name: bytes) -> bool:
        """Whether more elements of this name begin than end before `place`, which never goes back."""
        if len(self._counted) >= _MOST_NAMES and name not in self._counted:
            return False
        done, depth = self._counted.get(name, (0, 0))
        if done == place:
            return depth > 0
        tags = re.compile(rb"<(/?)%b(?=[%b/>])" % (re.escape(name), SPACE), re.IGNORECASE).findall(html, done, place)
        depth = max(depth + len(tags) - 2 * tags.count(b"/"), 0)
        self._counted[name] = place, depth
        return depth > 0


class _Elements:
    """The elements that are open within a root, outermost first; their names beside them, to be looked up at once."""

    def __init__(self, root: bytes) -> None:
        self.open: list[_Element] = []
        self.names: list[bytes] = []
        self.add((root, root, False))

    def add(self, element: _Element) -> None:
        self.open.append(element)
        self.names.append(element[1])

    def cut(self, number: int) -> None:
        """Close all but the first ones."""
        del self.open[number:], self.names[number:]


def read_foreign(html: bytes, place: int, root: bytes, around: Around) -> tuple[list[tuple[int, int]], int, bool]:
    """The attributes [start:end] of every <a> and <area> up to where HTML goes on; that place; whether there is any such place.

    `root`: svg or math, just opened."""
    found: list[tuple[int, int]] = []
    elements = _Elements(root)
    begin = place
    while elements.open:
        space, _name, holds_html = elements.open[-1]
        tag = (_FOREIGN_TAG if space else _HTML_TAG).match(html, place)
        if tag is None:
            return found, place, False
        name, place = tag[2].lower(), tag.end()
        if tag[1]:
            if space and name not in _NOT_AROUND and name not in elements.names:
                if around.is_open(html, begin, name) and _reaches_out(elements, name):
                    return found, tag.start(1) - 1, True
            else:
                _close(elements, name)
            continue
        attributes = tag.span(3)
        if space and not holds_html and _ends_foreign(html, name, attributes):
            _leave_foreign(elements)
            space = b""
            if not elements.open:
                return found, tag.start(2) - 1, True
        if name in (b"a", b"area"):
            found.append(attributes)
        is_html = (not space or holds_html) and not _stays_foreign(elements, name)
        if is_html and name in _TEXTS:
            if (place := text_end(html, place, name)) < 0:
                return found, tag.start(2) - 1, False
        elif len(elements.open) >= _DEEPEST:
            continue
        elif is_html and name not in (b"svg", b"math"):
            if name not in _VOID:
                elements.add((b"", name, False))
        elif not tag[3].endswith(b"/"):
            elements.add(_opened(html, space if not is_html else name, name, attributes))
    return found, place, True


def _opened(html: bytes, space: bytes, name: bytes, attributes: tuple[int, int]) -> _Element:
    holds_html = name in _HOLD_HTML[space]
    if space == b"math" and name == b"annotation-xml":
        encoding = _values(html, attributes).get(b"encoding", b"").lower()
        holds_html = encoding in (b"text/html", b"application/xhtml+xml")
    return space, name, holds_html


def _stays_foreign(elements: _Elements, name: bytes) -> bool:
    """In an <mi> and its like, two tags are MathML still."""
    return name in (b"mglyph", b"malignmark") and elements.open[-1][0] == b"math" and elements.names[-1] != b"annotation-xml"


def _ends_foreign(html: bytes, name: bytes, attributes: tuple[int, int]) -> bool:
    return name in _ONLY_HTML or (name == b"font" and not _OF_FONT.isdisjoint(_values(html, attributes)))


def _leave_foreign(elements: _Elements) -> None:
    number = len(elements.open)
    while number and elements.open[number - 1][0] and not elements.open[number - 1][2]:
        number -= 1
    elements.cut(number)


def _reaches_out(elements: _Elements, name: bytes) -> bool:
    """Whether an end tag may end what is open around. HTML within keeps it; so do elements that hold HTML, but for those of tables
    (§13.2.4.2, the scopes)."""
    return not any((holds_html and name not in _OF_TABLES) or not space for space, _, holds_html in elements.open)


def _close(elements: _Elements, name: bytes) -> None:
    is_html = not elements.open[-1][0]
    if not is_html and name in (b"p", b"br"):
        _leave_foreign(elements)
    elif name in elements.names:
        for number in range(len(elements.open) - 1, -1, -1):
            if is_html and elements.open[number][0]:
                return  # HTML's end tags do not reach out of the element that holds it
            if elements.names[number] == name:
                elements.cut(number)
                return


def _values(html: bytes, attributes: tuple[int, int]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for attribute in ATTRIBUTE.finditer(html, *attributes):
        found.setdefault(attribute[1].lower(), attribute[2] or attribute[3] or attribute[4] or b"")
    return found
