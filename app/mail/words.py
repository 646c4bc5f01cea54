"""Text as people wrote it into header fields, from bytes that may be anything: encoded words (RFC 2047), eight-bit junk, unknown charsets.

Nothing fails here: whatever comes out can be shown, put into JSON and stored. It holds no controls, no line ends, no lone surrogates.
"""

from __future__ import annotations

import binascii
import itertools
import re
from collections.abc import Sequence

from app.mail.charset import codec_of

_ENCODED_WORD = re.compile(r"=\?(?P<charset>[^?\s]{1,80})\?(?P<encoding>[bBqQ])\?(?P<text>[^?]*)\?=")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


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
    return in_one_line("".join(text))


def in_one_line(text: str) -> str:
    """Text without control characters: those that end lines, and those that neither JSON nor a database can take."""
    return _CONTROLS.sub(" ", scrub(text)).strip()


def decode_text(content: bytes, charset: str = "") -> str:
    """Text of any bytes: in the charset told, else UTF-8 if it is that, else as Windows wrote it."""
    for codec in (codec_of(charset), "utf-8"):
        if codec is not None:
            try:
                return scrub(content.decode(codec))
            except (LookupError, ValueError):  # no text of it
                continue
    return content.decode("cp1252", "replace")


def unbase64(octets: bytes) -> bytes:
    """What base64 stands for, as far as it goes: what belongs to none is passed over."""
    octets = octets.partition(b"=")[0].translate(None, _NOT_BASE64)  # files of many megabytes come here
    # Four letters are three octets; one that is left over says nothing.
    octets = octets[: len(octets) - 1] if len(octets) % 4 == 1 else octets
    return binascii.a2b_base64(octets + b"=" * (-len(octets) % 4))


def scrub(text: str) -> str:
    """Pairs of surrogates joined, lone ones replaced: UTF-8 and JSON have no place for them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decode_word(encoding: str, text: str) -> bytes:
    content = text.encode("utf-8", "replace")
    return unbase64(content) if encoding in "bB" else binascii.a2b_qp(content, header=True)


def _join_words(words: Sequence[tuple[str, bytes]]) -> str:
    """RFC 2047 §5 forbids to split a character over two words of one charset, and many do: their bytes are joined first."""
    runs = itertools.groupby(words, key=lambda word: word[0].lower())
    return "".join(decode_text(b"".join(content for _, content in run), charset) for charset, run in runs)


def is_encodable(text: str) -> bool:
    """Whether there is no half of a surrogate pair in it: JSON's escapes can write one."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
