"""Header fields as people wrote them, from bytes that may be anything.

Read here and not by the stdlib's parser, because nothing may fail: a header-only mail, eight-bit junk, a charset nobody
knows and a megabyte of encoded words all come out as text that can be shown and put into JSON. Text is bounded and holds
no lone surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.mail.words import decode_text, decode_words

# More than any screen shows of one field, little enough that decoding cannot hurt.
_MAX_VALUE = 16 * 1024
_MAX_HEADERS = 1000

_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")

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
