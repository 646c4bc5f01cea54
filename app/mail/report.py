"""What a mail says that came to one of our return paths: bounce, delay notice, complaint, autoreply, a wish to be left alone, or none of these.

`read_report` takes any octets, is bounded (see `letter`) and never raises. The standards are read first, what hosts write otherwise after
them; nothing is looked up by the name of a system:

    1. a feedback report (RFC 5965) or a mail forwarded as a complaint          → complaint        report_feedback
    2. delivery status fields (RFC 3464), wherever they stand                   → bounce, delay    report_status
    3. a notice in words, from a mail system, about mail that did not arrive    → bounce, delay    report_plain
    4. marks of a mail that a program wrote (RFC 3834)                          → autoreply
    5. a wish to be taken from the list                                         → unsubscribe

What is said of a recipient is classed by `reply.classify_reported`, the same words and codes as for an answer in the dialogue. Whose mail
came back is not believed from here: the return path says that (`envelope`), the addresses here may be redacted, rewritten or forged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.mail.letter import Fields, Letter, Page, read_fields, read_head, read_letter
from app.mail.reply import ReplyClass, classify_reported, is_proof
from app.mail.report_plain import Named, cut_notice, read_notice
from app.mail.report_status import STATUS_TYPES, StatusGroup, address_in, find_status, read_notification, read_status, without_status
from app.mail.report_words import AUTOREPLY, DAEMON, DELAY, FAILURE, FINAL, STILL_TRIED, UNSUBSCRIBE


class ReportKind(StrEnum):
    """What a mail is that came back."""

    BOUNCE = "bounce"  # it was not delivered, and will not be
    DELAY = "delay"  # it is still being tried
    DELIVERED = "delivered"  # it was delivered, relayed or expanded
    COMPLAINT = "complaint"  # its reader called it spam
    FEEDBACK = "feedback"  # a feedback report that is no complaint: it failed authentication, or is no spam after all
    AUTOREPLY = "autoreply"  # a program answered it
    UNSUBSCRIBE = "unsubscribe"  # its reader wants no more of it
    OTHER = "other"  # none of these: a person's reply, other mail


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report says of one recipient. `reply_class` is set where the kind is bounce or delay.

    `suppresses`: the address is proven to be dead. That asks for more than the class (`reply.is_proof`): what came back late, from a host
    beyond the one that took the mail, may be anybody's rendering of anybody's words."""

    address: str
    action: str = ""
    status: str = ""
    diagnostic: str = ""
    reply_class: ReplyClass | None = None
    suppresses: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """`message_id`: of the mail that the report is about, without angle brackets. `feedback_type`: as RFC 5965 has it."""

    kind: ReportKind
    recipients: tuple[Reported, ...] = ()
    message_id: str = ""
    feedback_type: str = ""


_MOST_RECIPIENTS: Final = 500
_LONGEST_NOTICE: Final = 64 * 1024
_LONGEST_TOLD: Final = 1000

_ORIGINAL_TYPES: Final = frozenset(
    ("message/rfc822", "message/global", "text/rfc822-headers", "text/rfc822-header", "message/global-headers", "message/rfc822-headers", "text/rfc822")
)
_ID = re.compile(r"<([^<>\s]{1,500})>|([^<>\s]{1,500}@[^<>\s]{1,255})")
_ID_FIELD = re.compile(r"^[ \t>]{0,20}message-id[ \t]*:[ \t]*\n?[ \t]*<?([^<>\s]{1,500}@[^<>\s]{1,255})>?", re.IGNORECASE | re.MULTILINE)
_TO_FIELD = re.compile(r"^[ \t>]{0,20}(?:to|x-failed-recipients|x-envelope-to|x-original-to|delivered-to)[ \t]*:[ \t]*([^\n]{1,2000})", re.IGNORECASE | re.MULTILINE)
_FAILED_FIELDS: Final = ("x-failed-recipients", "x-failed-recipient", "x-undelivered-to", "x-postfix-failed-recipients")


def read_report(raw: bytes) -> Report:
    """What this mail is, whom it is about, and which mail."""
    letter = read_letter(raw)
    papers = _sort(letter)
    return _feedback(papers) or _status(papers) or _notice(papers) or _unsubscribe(papers) or _autoreply(papers) or Report(ReportKind.OTHER)


@dataclass(frozen=True, slots=True)
class _Papers:
    """The pages of a letter by what they are. `text` is all that was said: the `notice` and the mail `quoted` in it."""

    letter: Letter
    status: str
    feedback: str | None
    text: str
    notice: str
    quoted: str
    originals: tuple[str, ...]
    message_id: str

    @property
    def subject(self) -> str:
        return self.letter.fields.first("subject").lower()[:500]


def _sort(letter: Letter) -> _Papers:
    status = "\n\n".join(page.text for page in letter.pages if page.content_type in STATUS_TYPES)
    feedback = next((page.text for page in letter.pages if page.content_type == "message/feedback-report"), None)
    originals = tuple(page.text for page in letter.pages if page.content_type in _ORIGINAL_TYPES)
    text = _told(letter.pages)
    notice = cut_notice(text)[:_LONGEST_NOTICE]
    quoted = text[len(notice) :]
    message_id = _message_id(originals, quoted, notice)
    if not status and (status := find_status(text)):
        notice = without_status(notice)
    return _Papers(letter, status, feedback, text, notice, quoted, originals, message_id)


def _told(pages: Sequence[Page]) -> str:
    """What is said before the mail that came back; HTML only where nothing else is."""
    before: list[Page] = []
    for page in pages:
        if page.content_type in _ORIGINAL_TYPES:
            break
        if page.content_type not in STATUS_TYPES and page.content_type != "message/feedback-report":
            before.append(page)
    plain = [page.text for page in before if page.content_type != "text/html" and page.text.strip()]
    return "\n\n".join(plain or [page.text for page in before])


def _message_id(originals: Sequence[str], quoted: str, notice: str) -> str:
    for original in originals:
        found = _ID.search(read_head(original.lstrip("\n")).first("message-id"))
        if found is not None:
            return found[1] or found[2]
    named = _ID_FIELD.search(quoted) or _ID_FIELD.search(notice)
    return named[1] if named is not None else ""


# --- complaints

_COMPLAINT_SUBJECT = re.compile(r"\W*(?:complaint about message|abuse report|spam (?:complaint|report)|email (?:abuse|feedback) report|fw: ?\[?spam)", re.IGNORECASE)
_NO_COMPLAINTS: Final = frozenset(("auth-failure", "not-spam", "dmarc"))


def _feedback(papers: _Papers) -> Report | None:
    if papers.feedback is None:
        return _forwarded_complaint(papers)
    fields = read_fields(re.sub(r"\n[ \t]*\n", "\n", papers.feedback))
    kind = fields.first("feedback-type").lower().strip()[:50] or "abuse"
    addresses = [address for value in fields.every("original-rcpt-to", "removal-recipient") if (address := address_in(value))]
    if not addresses:
        addresses = _addressees(papers.originals)
    return Report(
        ReportKind.FEEDBACK if kind in _NO_COMPLAINTS else ReportKind.COMPLAINT,
        tuple(Reported(address) for address in _unique(addresses)),
        papers.message_id,
        kind,
    )


def _forwarded_complaint(papers: _Papers) -> Report | None:
    """Microsoft's JMRP, and others before RFC 5965: the mail itself, in a mail that calls itself a complaint."""
    if not papers.originals or papers.status or _COMPLAINT_SUBJECT.match(papers.subject) is None:
        return None
    return Report(ReportKind.COMPLAINT, tuple(Reported(address) for address in _addressees(papers.originals)), papers.message_id, "abuse")


def _addressees(originals: Sequence[str]) -> list[str]:
    """To whom a mail went, by its own header."""
    for original in originals:
        fields = read_head(original.lstrip("\n"))
        value = fields.first("x-hmxmroriginalrecipient", "x-original-to", "x-rcpt-to", "to")
        found = [address for one in value.split(",")[:_MOST_RECIPIENTS] if (address := address_in(one))]
        if found:
            return _unique(found)
    return []


def _unique(addresses: Sequence[str]) -> list[str]:
    return list({address.lower(): address for address in reversed(addresses)}.values())[::-1][:_MOST_RECIPIENTS]


# --- delivery status

_KINDS: Final = (
    (ReportKind.BOUNCE, ("failed",)),
    (ReportKind.DELAY, ("delayed",)),
    (ReportKind.DELIVERED, ("delivered", "relayed", "expanded")),
)


_STATUS_OF: Final = {"delayed": "4.0.0"}


def _status(papers: _Papers) -> Report | None:
    groups = read_status(papers.status) or read_notification(papers.text)
    groups = [group for group in groups if group.action] or groups
    for kind, actions in _KINDS:
        chosen = [group for group in groups if group.action in actions]
        if chosen:
            return Report(kind, _reported(papers, chosen), papers.message_id)
    return None


def _reported(papers: _Papers, groups: Sequence[StatusGroup]) -> tuple[Reported, ...]:
    named = {one.address.lower(): one.saying for one in read_notice(papers.notice, _own(papers.letter.fields))}
    recipients: dict[str, Reported] = {}
    for group in groups:
        key = group.address.lower()
        if key not in recipients:
            saying = named.get(key) or papers.notice[:4000]
            kind = classify_reported(group.diagnostic, group.status or _STATUS_OF.get(group.action, ""), saying)
            words = papers.notice if len(groups) == 1 else saying
            proven = group.action == "failed" and is_proof(kind, group.diagnostic or saying, group.status, words)
            told = group.diagnostic or named.get(key, "")
            recipients[key] = Reported(group.address, group.action, group.status, told[:_LONGEST_TOLD], kind, proven)
    return tuple(recipients.values())


# --- notices in words


def _notice(papers: _Papers) -> Report | None:
    fields = papers.letter.fields
    said = papers.notice.lower()
    listed = [address for value in fields.every(*_FAILED_FIELDS) for one in value.split(",") if (address := address_in(one))]
    if not listed and not _is_notice(papers, said):
        return None
    named = read_notice(papers.notice, _own(fields))
    if not (listed or named or _is_from_system(fields)):
        return None  # nobody is named by nobody that we know
    tried = STILL_TRIED.search(said[:6000]) is not None
    delayed = tried or DELAY.search(said[:6000]) is not None or DELAY.search(papers.subject) is not None
    final = not tried and FINAL.search(said[:6000]) is not None
    kind = ReportKind.DELAY if delayed and not final else ReportKind.BOUNCE
    return Report(kind, _chosen(papers, listed, named, "failed" if kind is ReportKind.BOUNCE else "delayed"), papers.message_id)


def _is_notice(papers: _Papers, said: str) -> bool:
    """Whether a mail system writes about mail that did not arrive."""
    fields = papers.letter.fields
    daemon, bounced = _is_daemon(fields), _has_null_sender(fields)
    report = papers.letter.content_type == "multipart/report" and "report-type=disposition" not in fields.first("content-type").lower().replace('"', "")
    subject = FAILURE.search(papers.subject) is not None or DELAY.search(papers.subject) is not None
    speaks = FAILURE.search(said[:6000]) is not None or (daemon and DELAY.search(said[:6000]) is not None)
    if _is_answer(papers) and not (daemon and (subject or speaks)):
        return False
    points = 2 * daemon + bounced + 2 * report + 2 * subject + 2 * speaks
    return points >= 4 and (subject or speaks or report)


def _is_daemon(fields: Fields) -> bool:
    author = fields.first("from").lower()[:500]
    return DAEMON.search(author) is not None or not author.strip("<> ")


def _has_null_sender(fields: Fields) -> bool:
    """RFC 5321 §6.1: a notice is sent with the null return path, so that nothing answers it."""
    return_path = fields.first("return-path").lower()
    return return_path.strip() == "<>" or "mailer-daemon" in return_path


def _is_from_system(fields: Fields) -> bool:
    return _is_daemon(fields) or _has_null_sender(fields)


def _chosen(papers: _Papers, listed: Sequence[str], named: Sequence[Named], action: str) -> tuple[Reported, ...]:
    sayings = {one.address.lower(): one.saying for one in named}
    addresses = list(listed) or [one.address for one in named]
    if not addresses:
        addresses = _addressees(papers.originals or (papers.quoted,))
    found = []
    for address in _unique(addresses):
        saying = sayings.get(address.lower(), "") or " ".join(papers.notice[:4000].split())
        kind = classify_reported(saying, _STATUS_OF.get(action, ""), papers.notice[:4000])
        proven = action == "failed" and is_proof(kind, saying, "", papers.notice if len(addresses) == 1 else saying)
        found.append(Reported(address, action, "", saying[:_LONGEST_TOLD], kind, proven))
    return tuple(found)


def _own(fields: Fields) -> list[str]:
    """Those that the mail is from and to."""
    values = fields.every("from", "to", "delivered-to", "x-original-to", "envelope-to", "reply-to", "sender", "return-path")
    return [address for value in values for one in value.split(",")[:20] if (address := address_in(one))]


# --- other mail by programs, and wishes


def _is_answer(papers: _Papers) -> bool:
    """Whether a program answered in its owner's name (RFC 3834 §5, and what was usual before)."""
    fields = papers.letter.fields
    automatic = fields.first("auto-submitted").lower().startswith(("auto-replied", "auto-generated"))
    marked = any(name in fields for name in ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response-suppress-reply"))
    precedence = fields.first("precedence").lower() in ("auto_reply", "auto-reply")
    return marked or precedence or (AUTOREPLY.search(papers.subject) is not None) or (automatic and fields.first("auto-submitted").lower().startswith("auto-replied"))


def _autoreply(papers: _Papers) -> Report | None:
    fields = papers.letter.fields
    disposition = any(page.content_type == "message/disposition-notification" for page in papers.letter.pages)
    if not (disposition or _is_answer(papers)):
        return None
    author = address_in(fields.first("from"))
    answered = _ID.search(fields.first("in-reply-to", "references"))
    message_id = papers.message_id or ((answered[1] or answered[2]) if answered is not None else "")
    return Report(ReportKind.AUTOREPLY, (Reported(author),) if author else (), message_id)


def _unsubscribe(papers: _Papers) -> Report | None:
    first = next((line for line in papers.notice.split("\n") if line.strip()), "").lower()
    asks = UNSUBSCRIBE.fullmatch(papers.subject) or (len(first) < 60 and UNSUBSCRIBE.fullmatch(first))
    author = address_in(papers.letter.fields.first("from"))
    if not asks or not author:
        return None
    return Report(ReportKind.UNSUBSCRIBE, (Reported(author),), papers.message_id)
