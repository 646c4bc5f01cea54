"""The pages of a mail that came back, sorted: status fields, feedback fields, the notice, the mail that it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.mail.letter import Fields, Letter, Page, read_head
from app.mail.report_plain import cut_notice
from app.mail.report_status import STATUS_TYPES, address_in, find_status, without_status
from app.mail.report_words import DAEMON

FEEDBACK_TYPE: Final = "message/feedback-report"
MOST_RECIPIENTS: Final = 500
_LONGEST_NOTICE: Final = 64 * 1024

_ORIGINAL_TYPES: Final = frozenset(
    (
        *("message/rfc822", "message/global", "message/rfc822-headers", "message/global-headers"),
        *("text/rfc822", "text/rfc822-headers", "text/rfc822-header"),
    )
)
_ID = re.compile(r"<([^<>\s]{1,500})>|([^<>\s]{1,500}@[^<>\s]{1,255})")
_ID_FIELD = re.compile(
    r"^[ \t>]{0,20}message-id[ \t]{0,20}:[ \t]{0,20}\n?[ \t]{0,20}<?([^<>\s@]{1,500}@[^<>\s]{1,255})", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Papers:
    """A letter sorted. `text` is all that is said in words: the `notice`, and the mail `quoted` in it if it is; `originals` are parts.

    `status` holds the status fields wherever they stood; `feedback` is None where there is no such part.
    """

    fields: Fields
    content_type: str
    types: frozenset[str]
    subject: str
    status: str
    feedback: str | None
    text: str
    notice: str
    quoted: str
    originals: tuple[str, ...]
    message_id: str

    @property
    def is_from_daemon(self) -> bool:
        """Whether the author is a mail system by name, or nobody."""
        author = self.fields.first("from").lower()[:500]
        return DAEMON.search(author) is not None or not author.strip("<> ")

    @property
    def has_null_sender(self) -> bool:
        """RFC 5321 §4.5.5: notices are sent with the null return path, so that nothing answers them."""
        return_path = self.fields.first("return-path").lower()
        return return_path.strip() == "<>" or "mailer-daemon" in return_path

    @property
    def own(self) -> list[str]:
        """The addresses that the letter is from and to."""
        values = self.fields.every("from", "to", "delivered-to", "x-original-to", "envelope-to", "reply-to", "sender", "return-path")
        return [address for value in values for address in addresses_in(value)]


def sort_letter(letter: Letter) -> Papers:
    status = "\n\n".join(page.text for page in letter.pages if page.content_type in STATUS_TYPES)
    originals = tuple(page.text for page in letter.pages if page.content_type in _ORIGINAL_TYPES)
    text = _words(letter.pages)
    notice = cut_notice(text)[:_LONGEST_NOTICE]
    quoted = text[len(notice) :]
    message_id = _message_id(originals, quoted, notice)
    if not status and (status := find_status(text)):
        notice = without_status(notice)
    return Papers(
        fields=letter.fields,
        content_type=letter.content_type,
        types=frozenset(page.content_type for page in letter.pages),
        subject=letter.fields.first("subject").lower()[:500],
        status=status,
        feedback=next((page.text for page in letter.pages if page.content_type == FEEDBACK_TYPE), None),
        text=text,
        notice=notice,
        quoted=quoted,
        originals=originals,
        message_id=message_id,
    )


def addressees(papers: Papers) -> list[str]:
    """To whom the mail went that came back, by its own header."""
    for original in papers.originals or (papers.quoted,):
        fields = read_head(original.lstrip("\n"))
        # What Microsoft's JMRP adds says it when "To" was redacted.
        found = addresses_in(fields.first("x-hmxmroriginalrecipient", "x-original-to", "x-rcpt-to", "to"))
        if found:
            return unique(found)
    return []


def id_in(value: str) -> str:
    """The first Message-ID in a field's value, without its brackets."""
    found = _ID.search(value[:2000])
    return (found[1] or found[2]) if found is not None else ""


def addresses_in(value: str) -> list[str]:
    return [address for one in value.split(",", MOST_RECIPIENTS)[:MOST_RECIPIENTS] if (address := address_in(one))]


def unique(addresses: Sequence[str]) -> list[str]:
    """Each address once, in order, whatever its case."""
    first: dict[str, str] = {}
    for address in addresses:
        first.setdefault(address.lower(), address)
    return list(first.values())[:MOST_RECIPIENTS]


def _words(pages: Sequence[Page]) -> str:
    """What is said before the mail that came back; HTML only where nothing else is."""
    before: list[Page] = []
    for page in pages:
        if page.content_type in _ORIGINAL_TYPES:
            break
        if page.content_type not in STATUS_TYPES and page.content_type != FEEDBACK_TYPE:
            before.append(page)
    plain = [page.text for page in before if page.content_type != "text/html" and page.text.strip()]
    return "\n\n".join(plain or [page.text for page in before])


def _message_id(originals: Sequence[str], quoted: str, notice: str) -> str:
    for original in originals:
        if found := id_in(read_head(original.lstrip("\n")).first("message-id")):
            return found
    named = _ID_FIELD.search(quoted) or _ID_FIELD.search(notice)
    return named[1] if named is not None else ""
