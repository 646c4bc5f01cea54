"""The text of header fields: what may stand in one, encoded words, folding, parameters.

A field is folded on whitespace only and its words are never re-encoded behind the caller's back: what is read
by machines (List-Unsubscribe, References) leaves as it came. Only free text (a subject, a display name) becomes
encoded words. Lines aim at 76 octets and never pass 998 (RFC 5322 §2.1.1).

Which fields a client may set is the business of `compose`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

LINE_AIM: Final = 76
LONGEST_WORD: Final = 900  # room for a field name before it and still below 998 octets
_WORD_PAYLOAD: Final = 75 - len("=?utf-8?q??=")  # RFC 2047 §2: an encoded word has at most 75 characters

# Controls other than TAB, the two Unicode line ends, and halves of surrogate pairs: nothing a header may carry.
_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 §2.2: printable ASCII without the colon
_Q_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # RFC 2047 §5 (3): also right in a phrase
_NOT_Q_LITERAL = re.compile(rb"[^A-Za-z0-9!*+\-/ ]")
_BREAK = re.compile(r"(?<=[^ \t])(?=[ \t]+[^ \t])")


def check_text(text: str, what: str) -> None:
    """Raise ValueError if `text` holds a character that no header may carry."""
    if text.isprintable():  # the common case: no controls, no line ends, no surrogates
        return
    found = _FORBIDDEN.search(text)
    if found is not None:
        raise ValueError(f"The {what} contains a character that mail does not allow (U+{ord(found.group()):04X}).")


def is_field_name(name: str) -> bool:
    """Whether `name` can name a header field (RFC 5322 §2.2)."""
    return _FIELD_NAME.fullmatch(name) is not None


def has_long_word(text: str) -> bool:
    """Whether a word of `text` is too long for a line. The spaces before a word count: a field can only be folded before them."""
    return len(text) > LONGEST_WORD and max(map(len, _BREAK.split(text))) > LONGEST_WORD


def format_field(name: str, value: str) -> bytes:
    """One field of given text, folded on whitespace only, CRLF ended; raises ValueError if a word is too long for a line."""
    line = f"{name}: {value}"
    if len(line) <= LINE_AIM and line.isascii():
        return line.encode() + b"\r\n"
    return _fold(line).encode() + b"\r\n"


def format_free_text(name: str, text: str) -> bytes:
    """One field of free text (a subject): as it is if plain, else as encoded words."""
    if _is_plain(text):
        return format_field(name, text)
    words = encode_words(text, used=len(name) + 2)
    return f"{name}: {words}\r\n".encode()


def encode_words(text: str, *, used: int = 0) -> str:
    """`text` as RFC 2047 encoded words, each on a line of its own; `used` octets of the first line are already taken."""
    return "\r\n ".join(_encoded_words(text, used))


def format_parameter(name: str, value: str) -> str:
    """A MIME parameter with its leading "; " and a fold: quoted if short ASCII, else RFC 2231 extended, continued if long."""
    if value.isascii() and len(value) <= 60 and "\t" not in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f';\r\n {name}="{escaped}"'
    chunks = list(_percent_chunks(value, LINE_AIM - len(name) - len("*00*=utf-8''") - 2))
    if len(chunks) == 1:
        return f";\r\n {name}*=utf-8''{chunks[0]}"
    # RFC 2231 §4.1: only the first piece names the charset.
    pieces = [f";\r\n {name}*0*=utf-8''{chunks[0]}"]
    pieces += [f";\r\n {name}*{number}*={chunk}" for number, chunk in enumerate(chunks[1:], 1)]
    return "".join(pieces)


def _is_plain(text: str) -> bool:
    if not text.isascii() or "=?" in text or "\t" in text or text != text.strip(" "):
        return False
    return not has_long_word(text)


def _fold(line: str) -> str:
    """Break before whitespace so that lines stay within the aim where words allow (RFC 5322 §2.2.3)."""
    lines: list[str] = []
    current = ""
    for chunk in _BREAK.split(line):
        # The first chunk is the field's name: it never stands alone on its line, because some readers drop such fields.
        only_name = not lines and current.endswith(":")
        if current and not only_name and len((current + chunk).encode()) > LINE_AIM:
            lines.append(current)
            current = chunk
        else:
            current += chunk
    lines.append(current)
    if any(len(one.encode()) > 998 for one in lines):
        raise ValueError("The header contains a word that is too long for a line of mail (more than 900 characters).")
    return "\r\n".join(lines)


def _encoded_words(text: str, used: int) -> Iterator[str]:
    """Words of at most 75 octets that each decode alone: a character is never split over two words (RFC 2047 §5)."""
    raw = text.encode()
    # Q where most of it stays readable, B where most of it would be escaped.
    letter = "q" if 6 * len(_NOT_Q_LITERAL.findall(raw)) <= len(raw) else "b"
    whole = _encoded_word(raw, letter)
    if used + len(whole) <= 75:
        yield whole
        return
    room = max(_WORD_PAYLOAD - used, 24)
    payload, size = bytearray(), 0
    for character in text:
        octets = character.encode()
        if letter == "q":
            cost = sum(1 if octet in _Q_LITERAL or octet == 0x20 else 3 for octet in octets)
            full = size + cost > room
        else:
            cost = len(octets)
            full = (size + cost + 2) // 3 * 4 > room
        if full and payload:
            yield _encoded_word(bytes(payload), letter)
            payload, size, room = bytearray(), 0, _WORD_PAYLOAD
        payload += octets
        size += cost
    yield _encoded_word(bytes(payload), letter)


def _encoded_word(octets: bytes, letter: str) -> str:
    if letter == "b":
        return f"=?utf-8?b?{binascii.b2a_base64(octets, newline=False).decode()}?="
    escaped = _NOT_Q_LITERAL.sub(lambda found: b"=%02X" % found.group()[0], octets)
    return f"=?utf-8?q?{escaped.replace(b' ', b'_').decode()}?="


def _percent_chunks(value: str, room: int) -> Iterator[str]:
    chunk = ""
    for character in value:
        escaped = quote(character, safe="")
        if chunk and len(chunk) + len(escaped) > room:
            yield chunk
            chunk = ""
        chunk += escaped
    yield chunk
