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

from app.mail.address import normalise_domain
from app.mail.header import encode_words, format_free_text, format_parameter
from app.mail.recode import Need, recode
from app.mail.words import decode_words

# What a host refuses that a downgrade may mend: no 8BITMIME, no SMTPUTF8 (RFC 3463, RFC 6531).
MENDED_BY_DOWNGRADE: Final = frozenset(("5.6.3", "5.6.7"))

_ADDRESSES = frozenset(("from", "sender", "to", "cc", "bcc", "reply-to", "resent-from", "resent-sender", "resent-to", "resent-cc"))
_ANSWERED = frozenset(("from", "sender", "reply-to", "resent-from", "resent-sender"))
_STRUCTURED = frozenset(("message-id", "in-reply-to", "references", "date", "received", "return-path", "mime-version"))
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
# One mailbox of a list: a quoted or bare name and <address>, or the address alone.
_MAILBOX = re.compile(r'\s*(?:(?:"((?:[^"\\]|\\.)*)"|([^"<>,;:]*?))\s*<([^<>]*)>|([^<>,;:"\s]+@[^<>,;:"\s]+))\s*(,|\Z)')


def downgrade(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The same mail in 7 bits. `head` is the header block with its last line's end; ValueError says why there is none."""
    return recode(head, body, _SEVEN_BITS)


def _as_ascii(octets: bytes) -> bytes:
    """The octets between parts: delimiters, fields of branches, words that no reader shows."""
    return octets if octets.isascii() else octets.decode("utf-8", "replace").encode("ascii", "replace")


def field_in_ascii(name: str, value: str, raw: bytes) -> bytes:
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
    return format_free_text(name, decode_words(value))


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
    value = re.sub(r"\s+", " ", value)  # long runs of spaces would cost their square
    written, place = [], 0
    while place < len(value):
        found = _MAILBOX.match(value, place)
        if found is None or found.end() == place:
            raise ValueError(f"the field {name} cannot be written in ASCII")
        quoted, bare, mailbox, alone, _ = found.groups()
        # RFC 2047 §5: encoded words are none within quotes, so those of a bare name are read before it is quoted or encoded.
        shown = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else decode_words(bare or "")
        written.append(_mailbox(name, shown, mailbox or alone))
        place = found.end()
    joined = ",\r\n ".join(written)
    return f"{name}: {joined}\r\n".encode("ascii")


def _mailbox(field: str, shown: str, mailbox: str) -> str:
    mailbox = _with_alabels(mailbox)
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


def _with_alabels(mailbox: str) -> str:
    """A mailbox of which only the domain is not ASCII has another spelling that is."""
    local, _, domain = mailbox.rpartition("@")
    try:
        return f"{local}@{normalise_domain(domain)}" if local.isascii() and not domain.isascii() else mailbox
    except ValueError:
        return mailbox


_SEVEN_BITS = Need(bytes.isascii, field_in_ascii, _as_ascii)
