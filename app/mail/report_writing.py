"""Delivery reports (RFC 3464) as mail: what senders are told of recipients, for people and for machines.

    text/plain                  what has happened, in the sender's language (report_phrases)
    message/delivery-status     the same in fields
    message/rfc822              the mail, or text/rfc822-headers: its header block alone

A multipart/report (RFC 6522) to the envelope sender, to be sent with the null reverse path and marked as an answer of a program (RFC 3834),
so that nothing answers it. Where an address or the mail's header is in UTF-8 its part is that of RFC 6533. The same values give the
same octets: a report that is written again is the same mail. `report` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from app.mail.address import Address, domain_of, format_header
from app.mail.header import format_field, format_free_text
from app.mail.languages import choose_language
from app.mail.letter import read_head
from app.mail.report_phrases import ENGLISH, PHRASES, Meaning, Phrases
from app.mail.transfer import encode_text, text_octets

LONGEST_RETURNED: Final = 256 * 1024  # of a mail; of a longer one its header comes back
DAEMON: Final = "mailer-daemon"
_DAEMON_NAME: Final = "Mail Delivery System"
_LONGEST_DIAGNOSTIC: Final = 800  # in octets: less than a line, whatever it is
_LONGEST_SUBJECT: Final = 200
_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]{1,400}@[!-;=?-~]{1,400}>")
_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one recipient. `action`: failed, delayed or relayed. `is_reply`: the diagnostic is what a server said."""

    address: str
    action: str
    status: str
    meaning: Meaning
    diagnostic: str = ""
    is_reply: bool = False
    mta: str | None = None
    original: str | None = None  # ORCPT decoded: "rfc822;ada@example.com"
    tried_at: datetime | None = None
    tried_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The mail that a report is about; `head` (with its last line's end) is empty when it is no longer kept, `body` None when it stays."""

    subject: str
    message_id: str  # with its angle brackets
    arrived_at: datetime
    envelope_id: str | None = None
    head: bytes = b""
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """The report's own header. `message_id` stands without angle brackets; `controls` are fields for the house, which never leave it."""

    domain: str
    to: str
    message_id: str
    written_at: datetime
    reporting_mta: str
    language: str = ENGLISH.language
    controls: tuple[tuple[str, str], ...] = ()


def write_report(cover: Cover, fates: Sequence[Fate], returned: Returned) -> bytes:
    """The whole mail; all fates have one action."""
    phrases = PHRASES.get(cover.language, ENGLISH)
    parts = [_notice_part(phrases, fates, returned), _status_part(cover, fates, returned), *_returned_part(returned)]
    boundary = f"=_{cover.message_id.partition('@')[0]}_"
    delimiter = f"--{boundary}".encode()
    head = _head(cover, phrases, fates[0].action, returned, boundary)
    if not all(part.isascii() for part in parts):
        head += b"Content-Transfer-Encoding: 8bit\r\n"
    body = b"".join(delimiter + _CRLF + part + _CRLF for part in parts) + delimiter + b"--\r\n"
    return head + _CRLF + body


def reader_language(head: bytes, fallback: str) -> str:
    """The language of a mail's author, as his program tells it (RFC 3282): what he likes to read, else what he has written in."""
    fields = read_head(head.decode("utf-8", "replace").replace("\r\n", "\n"))
    said = (fields.first("accept-language"), fields.first("content-language"))
    return next((found for one in said if one and (found := choose_language(one, PHRASES)) is not None), fallback)


def _head(cover: Cover, phrases: Phrases, action: str, returned: Returned, boundary: str) -> bytes:
    title = {"failed": phrases.failure_subject, "delayed": phrases.delay_subject}.get(action, phrases.success_subject)
    fields = [
        format_field("From", format_header(Address(f"{DAEMON}@{cover.domain}", _DAEMON_NAME))),
        format_field("To", cover.to),
        format_free_text("Subject", title.format(subject=_shown_subject(returned, phrases))),
        format_field("Date", format_datetime(cover.written_at.replace(microsecond=0))),
        format_field("Message-ID", f"<{cover.message_id}>"),
        # RFC 3834 §5: an answer to a mail, by a program.
        b"Auto-Submitted: auto-replied\r\n",
        format_field("Content-Language", phrases.language),
        *(format_field(name, value) for name, value in cover.controls),
    ]
    if _MESSAGE_ID.fullmatch(returned.message_id) is not None:
        fields += [format_field(name, returned.message_id) for name in ("In-Reply-To", "References")]
    content_type = f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"'
    return b"".join(fields) + f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n".encode("ascii")


# --- for people


def _notice_part(phrases: Phrases, fates: Sequence[Fate], returned: Returned) -> bytes:
    encoded = encode_text(text_octets(_notice(phrases, fates, returned), "report"))
    fields = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoded.encoding}\r\n\r\n"
    return fields.encode("ascii") + encoded.octets + _CRLF


def _notice(phrases: Phrases, fates: Sequence[Fate], returned: Returned) -> str:
    opening = {"failed": phrases.failure, "delayed": phrases.delay}.get(fates[0].action, phrases.success)
    ends = [fate.tried_until for fate in fates if fate.tried_until is not None]
    about = phrases.about.format(subject=_shown_subject(returned, phrases), date=_shown_time(returned.arrived_at))
    sections = [
        opening.format(until=_shown_time(max(ends)) if ends else "…"),
        *(_section(phrases, fate) for fate in fates),
        about,
        phrases.written_by_program,
    ]
    return "\n\n".join(sections) + "\n"


def _section(phrases: Phrases, fate: Fate) -> str:
    lines = [f"<{fate.address}>", f"    {phrases.meanings[fate.meaning].format(domain=domain_of(fate.address))}"]
    if fate.is_reply and fate.diagnostic and fate.action != "relayed":
        lines += [f"    {phrases.answered.format(server=fate.mta or domain_of(fate.address))}", f"    {_plain(fate.diagnostic)}"]
    return "\n".join(lines)


def _shown_subject(returned: Returned, phrases: Phrases) -> str:
    subject = _plain(returned.subject)
    if len(subject) > _LONGEST_SUBJECT:
        subject = subject[:_LONGEST_SUBJECT] + "…"
    return subject or phrases.no_subject


def _plain(text: str) -> str:
    """In one line, without controls."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _shown_time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


# --- for machines


def _status_part(cover: Cover, fates: Sequence[Fate], returned: Returned) -> bytes:
    # RFC 6533 §5: global-delivery-status is the same in UTF-8.
    in_utf8 = not all(fate.address.isascii() and (fate.original or "").isascii() for fate in fates)
    content_type = "message/global-delivery-status" if in_utf8 else "message/delivery-status"
    groups = [_message_fields(cover, returned), *(_recipient_fields(fate) for fate in fates)]
    written = _CRLF.join(groups)
    if not in_utf8:
        written = written.decode().encode("ascii", "replace")
    encoding = b"" if written.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return f"Content-Type: {content_type}\r\n".encode("ascii") + encoding + _CRLF + written


def _message_fields(cover: Cover, returned: Returned) -> bytes:
    """RFC 3464 §2.2."""
    fields = [("Original-Envelope-Id", returned.envelope_id)] if returned.envelope_id else []
    fields += [("Reporting-MTA", f"dns; {cover.reporting_mta}"), ("Arrival-Date", _time(returned.arrived_at))]
    return b"".join(format_field(name, value) for name, value in fields if value)


def _recipient_fields(fate: Fate) -> bytes:
    """RFC 3464 §2.3, in the order given there."""
    kind = "rfc822" if fate.address.isascii() else "utf-8"  # RFC 6533 §3
    fields = []
    if fate.original:
        original_kind, _, original = fate.original.partition(";")
        fields.append(("Original-Recipient", f"{original_kind}; {original}"))
    fields += [("Final-Recipient", f"{kind}; {fate.address}"), ("Action", fate.action), ("Status", fate.status)]
    if fate.mta and fate.is_reply:
        fields.append(("Remote-MTA", f"dns; {fate.mta}"))
    if fate.diagnostic:
        said = _plain(fate.diagnostic).encode()[:_LONGEST_DIAGNOSTIC].decode("utf-8", "ignore")
        fields.append(("Diagnostic-Code", f"{'smtp' if fate.is_reply else 'x-staffetta'}; {said}"))
    if fate.tried_at is not None:
        fields.append(("Last-Attempt-Date", _time(fate.tried_at)))
    if fate.tried_until is not None:
        fields.append(("Will-Retry-Until", _time(fate.tried_until)))
    return b"".join(format_field(name, value) for name, value in fields)


def _time(at: datetime) -> str:
    return format_datetime(at.replace(microsecond=0))


def _returned_part(returned: Returned) -> list[bytes]:
    """The mail as it was handed in, or its header; nothing where it is no longer kept."""
    if not returned.head:
        return []
    in_utf8 = not returned.head.isascii()
    if returned.body is None:
        # RFC 6533 §6: global-headers for a header block in UTF-8
        content_type, octets = "message/global-headers" if in_utf8 else "text/rfc822-headers", returned.head
    else:
        content_type, octets = "message/global" if in_utf8 else "message/rfc822", returned.head + _CRLF + returned.body
    encoding = b"" if octets.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return [f"Content-Type: {content_type}\r\n".encode("ascii") + encoding + _CRLF + octets]
