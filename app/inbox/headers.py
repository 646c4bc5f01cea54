"""Header fields as people wrote them, from bytes that may be anything.

Read here and not by the stdlib's parser, because nothing may fail: a header-only mail, eight-bit junk, a charset nobody
knows and a megabyte of encoded words all come out as text that can be shown and put into JSON. Text is bounded and holds
no lone surrogates.
"""

from __future__ import annotations

import binascii
import itertools
import re
from collections.abc import Sequence

# More than any screen shows of one field, little enough that decoding cannot hurt.
_MAX_VALUE = 16 * 1024
_MAX_HEADERS = 1000

_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ENCODED_WORD = re.compile(r"=\?(?P<charset>[^?\s]{1,80})\?(?P<encoding>[bBqQ])\?(?P<text>[^?]*)\?=")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Codecs that are no charsets of mail, and that compute, or make text of another kind.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})

Headers = tuple[tuple[str, str], ...]


def split_head(raw: bytes) -> bytes:
    """The header block, without the blank line that ends it."""
    blank = _BLANK_LINE.search(raw)
    return raw if blank is None else raw[: blank.start()]


def read_headers(raw: bytes) -> Headers:
    """Names and decoded values in the order of the message; lines that are no header field are passed over."""
    headers: list[tuple[str, str]] = []
    for field in re.split(rb"\r?\n(?![ \t])", split_head(raw), maxsplit=_MAX_HEADERS)[:_MAX_HEADERS]:
        name, colon, value = field.partition(b":")
        # RFC 5322 §3.6.8: printable ASCII without space; old mail has blanks before the colon.
        if colon and re.fullmatch(rb"[!-9;-~]{1,200}", name.rstrip(b" \t")):
            headers.append((name.decode("ascii").rstrip(), decode_value(value[:_MAX_VALUE])))
    return tuple(headers)


def first_value(headers: Sequence[tuple[str, str]], name: str) -> str:
    """The first field of that lower-case name, or nothing."""
    return next((value for found, value in headers if found.lower() == name), "")


def decode_value(value: bytes) -> str:
    """A field's value as one line of text: unfolded, its encoded words decoded."""
    return decode_words(_FOLD.sub("", decode_text(value)))


def decode_words(value: str) -> str:
    """Text with its encoded words (RFC 2047) decoded, and no control characters: a decoded word may hold line ends and worse."""
    text: list[str] = []
    pending: list[tuple[str, bytes]] = []  # encoded words in a row
    end = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[end : word.start()]
        content = _decode_word(word["encoding"], word["text"])
        # RFC 2047 §6.2: blanks between two encoded words are not shown.
        if between.strip() or not pending:
            text += [_join_words(pending), between]
            pending = []
        pending.append((word["charset"].partition("*")[0], content))  # RFC 2231 §5: charset*language
        end = word.end()
    text += [_join_words(pending), value[end:]]
    return _CONTROLS.sub(" ", scrub("".join(text))).strip()


def decode_text(content: bytes, charset: str = "") -> str:
    """Text of any bytes: in the charset told, else UTF-8 if it is that, else as Windows wrote it."""
    for candidate in (charset, "utf-8"):
        if candidate and candidate.lower().replace("-", "_") not in _NO_CHARSETS:
            try:
                return scrub(content.decode(candidate))
            except (LookupError, ValueError):  # unknown, or no text of it; a NUL in the name is a ValueError
                continue
    return content.decode("cp1252", "replace")


def scrub(text: str) -> str:
    """Pairs of surrogates joined, lone ones replaced: UTF-8 and JSON have no place for them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decode_word(encoding: str, text: str) -> bytes:
    content = text.encode("utf-8", "replace")
    if encoding in "bB":
        try:
            return binascii.a2b_base64(content + b"=" * (-len(content) % 4))
        except ValueError:  # broken: shown as it is written
            return content
    return binascii.a2b_qp(content, header=True)


def _join_words(words: Sequence[tuple[str, bytes]]) -> str:
    """RFC 2047 §5 forbids to split a character over two words of one charset, and many do: their bytes are joined first."""
    runs = itertools.groupby(words, key=lambda word: word[0].lower())
    return "".join(decode_text(b"".join(content for _, content in run), charset) for charset, run in runs)
