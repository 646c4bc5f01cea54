"""Answers that are no bounces: what a program wrote in its owner's name, and the wish to be taken from a list."""

from __future__ import annotations

from typing import Final

from app.mail.reply import ReplyClass
from app.mail.report_kinds import Report, Reported, ReportKind
from app.mail.report_papers import Papers, id_in
from app.mail.report_status import address_in
from app.mail.report_words import AUTOREPLY, UNSUBSCRIBE, UNSUBSCRIBE_ALONE

_MARKS: Final = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response")
_LONGEST_WISH: Final = 60


def is_answer(papers: Papers) -> bool:
    """Whether a program answered in its owner's name: RFC 3834 §5, and what was usual before."""
    fields = papers.fields
    return (
        fields.first("auto-submitted").lower().startswith("auto-replied")
        or any(name in fields for name in _MARKS)
        or fields.first("precedence").lower() in ("auto_reply", "auto-reply")
        or AUTOREPLY.search(papers.subject) is not None
    )


def read_autoreply(papers: Papers) -> Report | None:
    """An autoreply, or a receipt that says the mail was opened or thrown away (RFC 8098)."""
    if "message/disposition-notification" not in papers.types and not is_answer(papers):
        return None
    message_id = papers.message_id or id_in(papers.fields.first("in-reply-to", "references"))
    return Report(ReportKind.AUTOREPLY, _author(papers, ReplyClass.AUTOREPLY), message_id)


def read_unsubscription(papers: Papers) -> Report | None:
    """A mail that says "unsubscribe" and little else: in its subject, or in its first line."""
    author = _author(papers, None)
    if not author or papers.is_from_daemon or not (_is_wish(papers) or _begins_with_wish(papers)):
        return None
    return Report(ReportKind.UNSUBSCRIBE, author, papers.message_id or id_in(papers.fields.first("in-reply-to", "references")))


def _is_wish(papers: Papers) -> bool:
    """By its subject. An answer has that of what it answers, which may speak of unsubscribing itself: there the bare word alone counts."""
    if "in-reply-to" in papers.fields or is_answer(papers):
        return UNSUBSCRIBE_ALONE.fullmatch(papers.subject) is not None
    return UNSUBSCRIBE.fullmatch(papers.subject[:_LONGEST_WISH]) is not None


def _begins_with_wish(papers: Papers) -> bool:
    """By what its author wrote first, if a person did."""
    first = next((line.strip() for line in papers.notice.split("\n") if line.strip()), "").lower()
    return len(first) < _LONGEST_WISH and UNSUBSCRIBE.fullmatch(first) is not None and not is_answer(papers)


def _author(papers: Papers, reply_class: ReplyClass | None) -> tuple[Reported, ...]:
    author = address_in(papers.fields.first("from"))
    return (Reported(author, reply_class),) if author else ()
