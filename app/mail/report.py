"""What a mail says that came back to a return path: bounce, delay notice, complaint, autoreply, a wish to be left alone, or none of them.

`read_report` takes any octets, is bounded (see `letter`) and never raises. The standards are read first, what hosts write otherwise after
them; nothing is looked up by the name of a system:

    1. a feedback report (RFC 5965), or a mail forwarded as a complaint         → complaint        report_feedback
    2. delivery status fields (RFC 3464), wherever they stand                   → bounce, delay    report_status
    3. a notice in words, from a mail system, about mail that did not arrive    → bounce, delay    report_plain
    4. a wish to be taken from the list                                         → unsubscribe      report_answers
    5. marks of a mail that a program wrote (RFC 3834)                          → autoreply        report_answers

What is said of a recipient is classed by `reply.classify_reported`, by the same words and codes as an answer in the dialogue. Whose mail
came back is not believed from here: the return path says that (`envelope`), the addresses here may be redacted, rewritten or forged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.mail.letter import read_letter
from app.mail.reply import classify_reported, is_proof
from app.mail.report_answers import is_answer, read_autoreply, read_unsubscription
from app.mail.report_feedback import read_complaint
from app.mail.report_kinds import Report, Reported, ReportKind
from app.mail.report_papers import Papers, addressees, addresses_in, sort_letter, unique
from app.mail.report_plain import LISTED, Named, read_notice
from app.mail.report_status import StatusGroup, read_notification, read_status
from app.mail.report_words import DELAY, DIGEST, FAILURE, FINAL, FORWARDED, STILL_TRIED

__all__ = ["Report", "ReportKind", "Reported", "read_report"]

_LONGEST_TOLD: Final = 1000
_READ_FOR_WORDS: Final = 6000  # of a notice; what it is about it says early
_READ_FOR_CLASS: Final = 4000
_READ_FOR_NAMES: Final = 16_000
_MOST_JUDGED: Final = 20  # by words; a mail of ours has one recipient

_KINDS: Final = (
    (ReportKind.BOUNCE, ("failed",)),
    (ReportKind.DELAY, ("delayed",)),
    (ReportKind.DELIVERED, ("delivered", "relayed", "expanded")),
)
_DOUBTFUL: Final = 4  # of `_weight`: a notice if it also names somebody as one does who could not deliver
_CERTAIN: Final = 5
_FAILED_FIELDS: Final = ("x-failed-recipients", "x-failed-recipient")
_STATUS_OF: Final = {"delayed": "4.0.0"}


def read_report(raw: bytes) -> Report:
    """What this mail is, whom it is about, and which mail."""
    papers = sort_letter(read_letter(raw))
    return (
        read_complaint(papers)
        or _read_status_report(papers)
        or _read_words(papers)
        or read_unsubscription(papers)
        or read_autoreply(papers)
        or Report(ReportKind.OTHER)
    )


def _read_status_report(papers: Papers) -> Report | None:
    """A report with status fields. It is of the worst kind that happened, and names the recipients to whom that did."""
    groups = read_status(papers.status) or read_notification(papers.text)
    for kind, actions in _KINDS:
        chosen = [group for group in groups if group.action in actions]
        if chosen:
            return Report(kind, _by_status(papers, chosen), papers.message_id)
    return None


def _by_status(papers: Papers, groups: Sequence[StatusGroup]) -> tuple[Reported, ...]:
    named = {one.address.lower(): one.saying for one in read_notice(papers.notice, papers.own)}
    recipients: dict[str, Reported] = {}
    for group in groups:
        key = group.address.lower()
        if key not in recipients:
            said = named.get(key, "")
            is_judged = len(recipients) < _MOST_JUDGED
            recipients[key] = _reported(papers, group, said, is_alone=len(groups) == 1) if is_judged else _listed(group)
    return tuple(recipients.values())


def _read_words(papers: Papers) -> Report | None:
    """A notice without status fields."""
    listed = [address for value in papers.fields.every(*_FAILED_FIELDS) for address in addresses_in(value)]
    weight = _weight(papers)
    if not listed and weight < _DOUBTFUL:
        return None
    named = read_notice(papers.notice, papers.own)
    is_certain = weight >= _CERTAIN and (papers.is_from_daemon or papers.has_null_sender)
    if not listed and not is_certain and not any(one.rank >= LISTED for one in named):
        return None  # anybody may write of delivery, and postmasters write of much
    said = papers.notice[:_READ_FOR_WORDS].lower()
    is_tried = STILL_TRIED.search(said) is not None
    is_delayed = is_tried or DELAY.search(said) is not None or DELAY.search(papers.subject) is not None
    is_delay = is_delayed and (is_tried or FINAL.search(said) is None)
    recipients = _by_words(papers, listed, _of_those(papers, named), "delayed" if is_delay else "failed")
    return Report(ReportKind.DELAY if is_delay else ReportKind.BOUNCE, recipients, papers.message_id)


def _weight(papers: Papers) -> int:
    """How much says that a mail system writes about mail that did not arrive. No mark of that is sure by itself, so they are added."""
    is_daemon = papers.is_from_daemon
    is_titled = FAILURE.search(papers.subject) is not None or DELAY.search(papers.subject) is not None
    said = papers.notice[:_READ_FOR_WORDS].lower()
    is_said = FAILURE.search(said) is not None or (is_daemon and DELAY.search(said) is not None)
    is_marked = papers.content_type == "multipart/report" and "message/disposition-notification" not in papers.types
    if not (is_titled or is_said or is_marked):
        return 0
    if not is_daemon and (is_answer(papers) or (not papers.has_null_sender and _is_of_people(papers))):
        return 0
    if DIGEST.search(papers.subject) is not None and not (is_titled or is_marked):
        return 0  # mail systems write of much
    return 2 * is_daemon + papers.has_null_sender + 3 * is_marked + 3 * is_titled + 2 * is_said


def _is_of_people(papers: Papers) -> bool:
    """Whether it is an answer, passed on by somebody, or said on a mailing list: people quote bounces to each other."""
    is_on_list = "list-id" in papers.fields or "list-post" in papers.fields or papers.fields.first("precedence").lower() == "list"
    is_posting = is_on_list and papers.subject.lstrip().startswith("[")  # hosts answer lists too, with the list's own header
    return is_posting or "in-reply-to" in papers.fields or FORWARDED.match(papers.subject) is not None


def _of_those(papers: Papers, named: Sequence[Named]) -> Sequence[Named]:
    """Of several that are named in passing, those who are named in the mail that came back too."""
    if len(named) < 2 or named[0].rank >= LISTED:
        return named
    quoted = "\n".join((papers.quoted, *papers.originals))[:_READ_FOR_NAMES].lower()
    return [one for one in named if one.address.lower() in quoted] or named


def _by_words(papers: Papers, listed: Sequence[str], named: Sequence[Named], action: str) -> tuple[Reported, ...]:
    sayings = {one.address.lower(): one.saying for one in named}
    addresses = unique(list(listed) or [one.address for one in named] or addressees(papers))
    recipients: list[Reported] = []
    for address in addresses:
        said = sayings.get(address.lower(), "") or papers.notice[:_READ_FOR_CLASS].strip()
        group = StatusGroup(address, action, "", said)
        is_judged = len(recipients) < _MOST_JUDGED
        recipients.append(_reported(papers, group, said, is_alone=len(addresses) == 1) if is_judged else _listed(group))
    return tuple(recipients)


def _reported(papers: Papers, group: StatusGroup, said: str, *, is_alone: bool) -> Reported:
    """One recipient: `said` is what the notice says beside his address. What it says elsewhere is of him for sure only if he is alone."""
    about = said if said and group.diagnostic != said else papers.notice[:_READ_FOR_CLASS]
    reply_class = classify_reported(group.diagnostic, _status_of(group), about)
    everything = papers.notice[:_READ_FOR_CLASS] if is_alone or not said else said
    is_dead = group.action == "failed" and is_proof(reply_class, group.diagnostic or said, group.status, everything)
    return Reported(group.address, reply_class, group.action, group.status, _told(group.diagnostic or said), is_dead)


def _listed(group: StatusGroup) -> Reported:
    """One who comes behind many others: by the code alone, for words take time."""
    return Reported(group.address, classify_reported("", _status_of(group), ""), group.action, group.status, _told(group.diagnostic))


def _status_of(group: StatusGroup) -> str:
    return group.status or _STATUS_OF.get(group.action, "")


def _told(said: str) -> str:
    return " ".join(said.split())[:_LONGEST_TOLD]
