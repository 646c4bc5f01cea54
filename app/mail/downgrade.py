"""A mail that needs 8BITMIME or SMTPUTF8 in a form that does not: for hosts that offer less. Done before signing, or not at all.

    text part in 8 bits       quoted-printable, or base64 where most of it is not ASCII
    other part in 8 bits      base64
    message in the message    the same within: it may bear no encoding of its own (RFC 2046 §5.2.1)
    UTF-8 in free text        encoded words; in a display name too
    UTF-8 in a parameter      RFC 2231
    UTF-8 mailbox in To, Cc   an empty group of its name (RFC 6857 §3.1.4): nobody can answer it, but everybody can read it

What this cannot do without saying something else than the author did raises ValueError: mail that is signed or encrypted, a sender or a
Reply-To that is a UTF-8 mailbox, a part that is not what its encoding says. The recipient's own address is not in here: where that needs
SMTPUTF8, no other form helps.
"""

from __future__ import annotations

import re
from typing import Final

from app.mail.header import encode_words, format_free_text, format_parameter
from app.mail.parts import Part, read_parts
from app.mail.transfer import encode_octets, encode_text

# What a host refuses that a downgrade may mend: no 8BITMIME, no SMTPUTF8 (RFC 3463, RFC 6531).
MENDED_BY_DOWNGRADE: Final = frozenset(("5.6.3", "5.6.7"))

_DEEPEST = 10
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)(?:\r?\n|\Z)")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ADDRESSES = frozenset(("from", "sender", "to", "cc", "bcc", "reply-to", "resent-from", "resent-sender", "resent-to", "resent-cc"))
_ANSWERED = frozenset(("from", "sender", "reply-to", "resent-from", "resent-sender"))
_STRUCTURED = frozenset(("message-id", "in-reply-to", "references", "date", "received", "return-path", "mime-version"))
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
# One mailbox of a list: a quoted or bare name and <address>, or the address alone.
_MAILBOX = re.compile(r'\s*(?:(?:"((?:[^"\\]|\\.)*)"|([^"<>,;:]*?))\s*<([^<>]*)>|([^<>,;:"\s]+@[^<>,;:"\s]+))\s*(,|\Z)')
_BINARY_CHARSETS = ("utf-16", "utf-32", "ucs-2", "iso-10646")


def downgrade(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The same mail in 7 bits. `head` is the header block with its last line's end; ValueError says why there is none."""
    return _downgrade(head, body, 0)


def _downgrade(head: bytes, body: bytes, depth: int) -> tuple[bytes, bytes]:
    if depth > _DEEPEST:
        raise ValueError("the mail contains messages in messages, too deep to be changed")
    found = read_parts(head + b"\r\n" + body)
    if found.sealed:
        raise ValueError("the mail is signed or encrypted and cannot be changed")
    if not found.complete:
        raise ValueError("the mail has too many parts to be changed")
    whole = len(found.parts) == 1 and found.parts[0].start == 0  # the head is this part's own
    pieces: list[bytes] = []
    place, root_encoding = 0, None
    for part in found.parts:
        octets = body[part.start : part.end]
        encoding, lesser = (None, octets) if octets.isascii() else _encode(part, octets, depth)
        if whole:
            root_encoding = encoding
        else:
            fields_start = _fields_of(body, part)
            pieces += [_as_ascii(body[place:fields_start]), _part_fields(body[fields_start : part.start], encoding)]
        pieces.append(lesser)
        place = part.end
    pieces.append(_as_ascii(body[place:]))
    head = b"".join([_field(name, value, raw) for name, value, raw in _fields(head)])
    return (_set_encoding(head, root_encoding) if root_encoding is not None else head), b"".join(pieces)


# --- bodies


def _encode(part: Part, octets: bytes, depth: int) -> tuple[str, bytes]:
    """The part's new encoding and octets."""
    if part.content_type == "message/rfc822":
        head_end = octets.find(b"\r\n\r\n")
        if head_end < 0:
            raise ValueError("a message within the mail has no end of its header")
        head, body = _downgrade(octets[: head_end + 2], octets[head_end + 4 :], depth + 1)
        return "7bit", head + b"\r\n" + body
    if part.content_type.startswith(("message/", "multipart/")):
        raise ValueError(f"a part of type {part.content_type} may not be encoded")
    if part.encoding not in ("7bit", "8bit", "binary"):
        raise ValueError(f"a part is not what its encoding ({part.encoding}) says")
    if part.content_type.startswith("text/") and not part.charset.startswith(_BINARY_CHARSETS) and b"\0" not in octets:
        encoded = encode_text(octets.replace(b"\r\n", b"\n"))
        return encoded.encoding, encoded.octets
    return "base64", encode_octets(octets)


def _fields_of(body: bytes, part: Part) -> int:
    """Where the fields of a part begin: after the line of the delimiter before it."""
    delimiter = body.rfind(b"\n--", 0, part.start)
    line_end = body.find(b"\n", delimiter + 1 if delimiter >= 0 else 0)
    return line_end + 1 if 0 <= line_end < part.start else part.start


def _part_fields(fields: bytes, encoding: str | None) -> bytes:
    """The fields of a part with the empty line after them, in ASCII, and with its new encoding if it has one."""
    if fields.isascii() and encoding is None:
        return fields
    head = b"".join([_field(name, value, raw) for name, value, raw in _fields(fields)])
    return (_set_encoding(head, encoding) if encoding is not None else head) + b"\r\n"


def _set_encoding(head: bytes, encoding: str) -> bytes:
    """The head with one Content-Transfer-Encoding."""
    kept = [raw for name, _, raw in _fields(head) if name.lower() != "content-transfer-encoding"]
    return b"".join([*kept, f"Content-Transfer-Encoding: {encoding}\r\n".encode()])


def _as_ascii(octets: bytes) -> bytes:
    """The octets between parts: delimiters, fields of branches, words that no reader shows."""
    return octets if octets.isascii() else octets.decode("utf-8", "replace").encode("ascii", "replace")


# --- fields


def _fields(head: bytes) -> list[tuple[str, str, bytes]]:
    """(name, unfolded value, the field as it is) of a header block."""
    found = []
    for field in _FIELD.finditer(head):
        value = _FOLD.sub("", field[2].decode("utf-8", "replace")).strip(" \t")
        raw = field[0] if field[0].endswith(b"\n") else field[0] + b"\r\n"
        found.append((field[1].decode("ascii"), value, raw))
    return found


def _field(name: str, value: str, raw: bytes) -> bytes:
    """A field in ASCII: as it is, if it is."""
    if raw.isascii():
        return raw
    lower = name.lower()
    if lower in _ADDRESSES:
        return _address_field(name, value)
    if lower.startswith("content-") and lower != "content-description":
        return _parameter_field(name, value)
    if lower in _STRUCTURED or lower.startswith("list-"):
        # RFC 6857 §3.1.10: what machines read is kept for people, under a name that no machine reads
        return format_free_text(f"Downgraded-{name}", value)
    return format_free_text(name, value)


def _parameter_field(name: str, value: str) -> bytes:
    first = _PARAMETER.search(value)
    line = f"{name}: {value[: first.start()] if first is not None else value}".rstrip()
    if not line.isascii():
        raise ValueError(f"the field {name} of a part cannot be written in ASCII")
    for parameter, quoted, bare in _PARAMETER.findall(value):
        line += format_parameter(parameter, re.sub(r"\\(.)", r"\1", quoted) or bare)
    return f"{line}\r\n".encode("ascii")


def _address_field(name: str, value: str) -> bytes:
    """The list of mailboxes anew: names as encoded words, UTF-8 mailboxes as empty groups."""
    written, place = [], 0
    while place < len(value):
        found = _MAILBOX.match(value, place)
        if found is None or found.end() == place:
            raise ValueError(f"the field {name} cannot be written in ASCII")
        quoted, bare, mailbox, alone, _ = found.groups()
        shown = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else (bare or "")
        written.append(_mailbox(name, shown, mailbox or alone))
        place = found.end()
    joined = ",\r\n ".join(written)
    return f"{name}: {joined}\r\n".encode("ascii")


def _mailbox(field: str, shown: str, mailbox: str) -> str:
    if not mailbox.isascii():
        if field.lower() in _ANSWERED:
            raise ValueError(f"the address in {field} needs SMTPUTF8")
        return f"{encode_words(f'{shown} {mailbox}'.strip(), used=len(field) + 2)} :;"
    if not shown:
        return mailbox
    if shown.isascii():
        escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{mailbox}>'
    return f"{encode_words(shown, used=len(field) + 2)} <{mailbox}>"
