"""Finished mail becomes content: the header block and the body as they came, but for what was asked and what sending demands.

    asked      our control fields taken out; Bcc and Resent-Bcc taken out, whose readers nobody else is to see
    demanded   a Received field on top (RFC 5321 §4.4), made by `trace`
               Date and Message-ID where there is none (RFC 6409 §8.2, §8.3), MIME-Version where MIME is used without (RFC 2045 §4)
               bare CR and LF made CRLF (RFC 5322 §2.3)
               lines over 998 octets: that field folded, that part encoded anew (recode)
               header fields that are not in UTF-8 (RFC 6532) written as encoded words

Every other octet stays. Mail that is signed or encrypted by its author is never rewritten: with lines too long it is refused. Tracking
is spliced later, at the places that the part map leads to. The header is read strictly (fields), for it says who the mail is from; the
body is only measured and mapped (parts), in bounded time whatever it holds.

    read_finished   what the mail says of itself; raises Unfit
    adopt           the content of it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from app.mail.address import Address
from app.mail.address_list import read_author
from app.mail.compose import Content
from app.mail.fields import LONGEST_HEAD, LONGEST_LINE, Field, Unfit, fold_field, has_short_lines, mend_field, read_fields
from app.mail.parts import read_parts
from app.mail.recode import Need, recode
from app.mail.words import decode_words

CONTROL_PREFIX = "x-staffetta-"

_LINE_END = re.compile(rb"\r*\n|\r")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
_EMPTY_LINE = re.compile(rb"\n[ \t]*\r\n")
# Fields that say who sends: each mailbox in them is checked like that of From.
_SENDING = ("from", "sender", "resent-from", "resent-sender")
_HIDDEN = frozenset(("bcc", "resent-bcc"))
_LONGEST_SUBJECT = 2000


@dataclass(slots=True)
class Finished:
    """A mail as it was handed in. `fields` are those that leave with it; `senders` (field name, address) are all who say they send it."""

    fields: list[Field]
    controls: list[Field]
    hidden: list[Field]
    senders: list[tuple[str, Address]]
    body: bytes

    @property
    def author(self) -> Address:
        return self.senders[0][1]

    @property
    def subject(self) -> str:
        return decode_words(self.value_of("subject"))[:_LONGEST_SUBJECT]

    @property
    def message_id(self) -> str | None:
        """With its angle brackets, as far as it is one; None where the mail has none."""
        value = self.value_of("message-id")
        found = _MESSAGE_ID.search(value)
        return (found[0] if found is not None else decode_words(value))[:LONGEST_LINE] or None

    def value_of(self, name: str) -> str:
        return next((field.value for field in self.fields if field.name == name), "")


@dataclass(slots=True)
class Adopted:
    """The content of a finished mail. `sealed`: signed or encrypted, or too intricate to be looked through, and so never rewritten."""

    content: Content
    sealed: bool


def read_finished(raw: bytes, *, is_tidy: bool = False) -> Finished:
    """What a mail says of itself, and who it says it is from. Raises Unfit with the field that is to blame.

    `is_tidy`: it is known that its line ends are CRLF and that it has no other CR or LF and no NUL, so it is not looked through again.
    """
    head, body = _split(raw if is_tidy else _with_line_ends(raw))
    fields: list[Field] = []
    controls: list[Field] = []
    hidden: list[Field] = []
    for field in read_fields(head):
        kept = controls if field.name.startswith(CONTROL_PREFIX) else hidden if field.name in _HIDDEN else fields
        kept.append(field)
    return Finished(fields, controls, hidden, _read_senders(fields), body)


def adopt(finished: Finished, *, message_id: str, date: datetime, trace: bytes = b"") -> Adopted:
    """Head and body as they will be sent, `trace` on top, and the map of the parts. `message_id` and `date`: for a mail that has none."""
    kept = [field for field in finished.fields if field.value or field.name not in ("date", "message-id")]
    names = {field.name for field in kept}
    head = b"".join([field.raw for field in kept])
    if not (head.isascii() and has_short_lines(head)):
        head = b"".join([mend_field(field) for field in kept])
    body = finished.body
    if not has_short_lines(body):
        head, body = _shorten(head, body)
        names |= {"content-transfer-encoding"} if b"\nContent-Transfer-Encoding:" in head else set()
    if "date" not in names:
        head += f"Date: {format_datetime(date.replace(microsecond=0))}\r\n".encode("ascii")
    if "message-id" not in names:
        head += f"Message-ID: <{message_id}>\r\n".encode("ascii")
    if "mime-version" not in names and not names.isdisjoint(("content-type", "content-transfer-encoding")):
        head += b"MIME-Version: 1.0\r\n"
    head = trace + head
    found = read_parts(head + b"\r\n" + body)
    return Adopted(Content(head, body, found.parts if found.complete else ()), found.sealed or not found.complete)


def _with_line_ends(raw: bytes) -> bytes:
    """All line ends CRLF: what is one line to a program must not be two to another."""
    if b"\0" in raw:  # RFC 5322 §4: what has it cannot be sent everywhere, and some programs end there
        raise Unfit("The message contains a NUL character.")
    crlf = raw.count(b"\r\n")
    if crlf == raw.count(b"\n") == raw.count(b"\r"):
        return raw
    return _LINE_END.sub(b"\r\n", raw)


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """(header block with its last line's end, body)."""
    if raw.startswith(b"\r\n"):
        raise Unfit("The message begins with an empty line: it has no header.")
    end = raw.find(b"\r\n\r\n", 0, LONGEST_HEAD + 4)
    if end >= 0:
        return raw[: end + 2], raw[end + 4 :]
    if len(raw) > LONGEST_HEAD:
        raise Unfit(f"The header of the message has more than {LONGEST_HEAD} bytes.")
    return raw.removesuffix(b"\r\n") + b"\r\n", b""  # a mail may be all header (RFC 5322 §2.1)


def _read_senders(fields: list[Field]) -> list[tuple[str, Address]]:
    """From first. Exactly one From with exactly one mailbox is demanded (RFC 5322 §3.6.2 would allow several)."""
    senders: list[tuple[str, Address]] = []
    for name in _SENDING:
        for field in fields:
            if field.name != name:
                continue
            shown = name.title()
            if _EMPTY_LINE.search(field.raw) is not None:  # where some programs end the header
                raise Unfit(f"The header field {shown} has an empty line.", shown)
            try:
                senders.append((shown, read_author(field.value)))
            except ValueError as error:
                raise Unfit(f"The header field {shown} cannot be taken: {error}", shown) from error
    if not senders or senders[0][0] != "From":
        raise Unfit("The message has no From field.", "From")
    return senders


def _shorten(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    try:
        return recode(head, body, _SHORT_LINES)
    except Unfit:
        raise
    except ValueError as error:
        raise Unfit(f"The message has a line of more than {LONGEST_LINE} octets and cannot be encoded anew: {error}.") from error


def _short_field(name: str, _value: str, raw: bytes) -> bytes:
    return raw if has_short_lines(raw) else fold_field(name, raw)


def _short_between(octets: bytes) -> bytes:
    """What no reader shows, cut where it is too long."""
    if has_short_lines(octets):
        return octets
    lines = octets.split(b"\r\n")
    return b"\r\n".join([line[start : start + LONGEST_LINE] for line in lines for start in range(0, len(line) or 1, LONGEST_LINE)])


_SHORT_LINES = Need(has_short_lines, _short_field, _short_between)
