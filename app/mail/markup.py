"""The grammar of HTML's tags and attributes (WHATWG HTML §13.2.5) as expressions over bytes, and what an attribute's value says.

Whoever looks for something in a mail's HTML builds on these, so that all agree on what is a tag and what only looks like one: text,
a comment, another attribute's value, the inside of a script. Every expression takes time in proportion to what it reads.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from html.entities import html5
from typing import AnyStr

from app.mail.charset import codec_of


def repeated(expression: AnyStr) -> AnyStr:
    """An expression for `expression` as often as it comes, nothing of it ever given back.

    "(?:…)*+" says the same, but Python before 3.11.5 reads it wrongly where there are choices within (CPython issue 106052).
    "(?>(?:…)*)" is read rightly and keeps a place for every turn until it ends, 150 octets for each octet that is read;
    groups within a group keep that small.
    """
    if isinstance(expression, str):
        return f"(?>(?:(?>(?:{expression}){{1,500}}))*)"
    return rb"(?>(?:(?>(?:%b){1,500}))*)" % expression


SPACE = rb"\t\n\f\r "
_VALUE = rb"""(?:"[^"]*+"|'[^']*+'|[^%b>"'][^%b>]*+)""" % (SPACE, SPACE)
# A name is followed by "=" and a value that ends, or by no "=": else the text breaks off within a quoted value.
ATTRIBUTES = repeated(rb"[%b/]++|(?:=[^%b/>=]*+|[^%b/>=]++)(?:[%b]*+=[%b]*+(?:%b|(?=>))|(?![%b]*+=))" % (*(SPACE,) * 5, _VALUE, SPACE))
ATTRIBUTE = re.compile(
    rb"""[%b/]*+(=[^%b/>=]*+|[^%b/>=]++)(?>(?:[%b]*+=[%b]*+(?>(?:"([^"]*+)"|'([^']*+)'|([^%b>"'][^%b>]*+))?))?)""" % ((SPACE,) * 7)
)
COMMENT = rb"<!--(?:-?>|.*?--!?>)"
NO_TAG = rb"<(?![a-zA-Z/!?])"
BOGUS_COMMENT = rb"<(?:!(?!--)|\?|/(?![a-zA-Z]))[^>]*+>"

_SCRIPT_TURN = re.compile(rb"<!--|-->|<(/?)script(?=[%b/>])" % SPACE, re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#[xX]([0-9a-fA-F]+);?|#([0-9]+);?|([A-Za-z][A-Za-z0-9]*;?))")
_LONGEST_NAME = max(map(len, html5))
_STATEFUL = ("utf-7", "hz", "iso-2022", "utf7", "iso2022")
_JAPANESE = ("iso2022_jp", "iso-2022-jp", "csiso2022jp")
_JAPANESE_LETTERS = re.compile(rb"\x1b(?:\$[@B]|\(I).*?(?=\x1b\([BJ]|\Z)", re.DOTALL)


def either_case(names: tuple[str, ...]) -> bytes:
    """An expression for `names` in any case, factored by their letters. A flag for it would slow every other part down."""
    tails: dict[str, list[str]] = {}
    for name in names:
        tails.setdefault(name[0], []).append(name[1:])
    branches = []
    for letter, rest in tails.items():
        after = either_case(tuple(filter(None, rest))) if any(rest) else b""
        branches.append(b"[%b%b]" % (letter.encode(), letter.upper().encode()) + (b"(?>%b?)" % after if after and "" in rest else after))
    return b"(?:%b)" % b"|".join(branches)


def text_end(html: bytes, place: int, name: bytes) -> int:
    """Where the end tag begins that ends the text of script, style, title and their like; -1 if all that is left is text."""
    if name == b"plaintext":
        return -1
    if name == b"script":
        return _script_end(html, place)
    end = re.compile(rb"</%b(?=[%b/>])" % (name, SPACE), re.IGNORECASE).search(html, place)
    return -1 if end is None else end.start()


def _script_end(html: bytes, place: int) -> int:
    """A script within "<!--" may name another script, whose end tag then is not the end (§13.2.5.20 to §13.2.5.31)."""
    escaped = doubly = False
    while (turn := _SCRIPT_TURN.search(html, place)) is not None:
        place = turn.end()
        if turn[1] is None:
            if turn[0] == b"-->":
                escaped = doubly = False
            elif not escaped:
                escaped, place = True, turn.end() - 2  # its hyphens may be those of "-->"
        elif not turn[1]:
            doubly = escaped
        elif doubly:
            doubly = False
        else:
            return turn.start()
    return -1


@lru_cache(maxsize=256)
def reads_ascii(charset: str) -> bool:
    """Whether the octets of ASCII are ASCII in this charset, wherever they stand (UTF-16 is no such, nor is what shifts)."""
    if charset.lower() in _JAPANESE:
        return True  # by `hide_letters`
    octets = bytes(range(0x20, 0x7F))
    try:
        return not charset.lower().startswith(_STATEFUL) and octets.decode(charset) == octets.decode("ascii")
    except (LookupError, UnicodeError, ValueError):
        # A charset that nobody knows is read as ASCII and something more. What Python calls by a name may also be no charset at all.
        return not charset.lower().startswith(("utf", "ucs"))


def hide_letters(html: bytes, charset: str) -> bytes:
    """The text with those octets made neutral that look like ASCII and are letters of a script (ISO 2022-JP); same length."""
    if charset.lower() not in _JAPANESE:
        return html
    return _JAPANESE_LETTERS.sub(lambda found: b"x" * len(found[0]), html)


def decode(octets: bytes, charset: str) -> str:
    """The characters of a value; what is wrong in them is replaced, as browsers do."""
    codec = codec_of(charset)
    try:
        if codec == "utf-7":  # the only one that makes halves of surrogate pairs
            return octets.decode(codec, "replace").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if codec is not None and codec != "ascii":
            return octets.decode(codec, "replace")
    except (LookupError, ValueError):  # what only looks like a text's encoding
        pass
    try:  # declared as ASCII, or as nothing that we know
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def read_attribute(value: str) -> str:
    """An attribute's value with its character references read (WHATWG HTML §13.2.5.73)."""
    if "&" not in value:
        return value
    if value.count("&") == value.count("&amp;"):  # nearly all are
        return value.replace("&amp;", "&")
    return _REFERENCE.sub(_read_reference, value)


def _read_reference(found: re.Match[str]) -> str:
    hexadecimal, decimal, name = found.groups()
    if name is None:
        return _character(hexadecimal, 16) if hexadecimal is not None else _character(decimal, 10)
    if name.endswith(";") and name in html5:
        return html5[name]
    for length in range(min(len(name), _LONGEST_NAME), 1, -1):
        if name[:length] in html5:
            place = found.start(3) + length
            after = found.string[place : place + 1]
            # Without its semicolon, and before "=" or a letter, it is a parameter of the URL and no character.
            if after == "=" or (after.isascii() and after.isalnum()):
                break
            return html5[name[:length]] + name[length:]
    return found[0]


def _character(digits: str, radix: int) -> str:
    digits = digits.lstrip("0") or "0"
    number = int(digits, radix) if len(digits) <= 7 else 0
    if not 0 < number <= 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        return "\ufffd"
    if 0x80 <= number <= 0x9F:
        character = codecs.decode(bytes((number,)), "cp1252", "ignore")
        return character or chr(number)
    return chr(number)
