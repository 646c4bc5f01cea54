"""Complaints: feedback reports (ARF, RFC 5965) of Yahoo's CFL and many others, and mails forwarded as a complaint (Microsoft's JMRP).

Of a redacted report the recipient is whom the mail was to by its own header, or nobody: the return path, or a token in the mail, says who
it was. A report about authentication (RFC 6591) or one that takes a complaint back is feedback, and no complaint.
"""

from __future__ import annotations

import re
from typing import Final

from app.mail.letter import read_fields
from app.mail.reply import ReplyClass
from app.mail.report_kinds import Report, Reported, ReportKind
from app.mail.report_papers import Papers, addressees, addresses_in, unique

_EMPTY_LINE = re.compile(r"\n[ \t]*(?=\n)")
_COMPLAINT_SUBJECT = re.compile(r"\W*(?:complaint about message|abuse report|spam (?:complaint|report)|e-?mail (?:abuse|feedback) report)")
_NO_COMPLAINTS: Final = frozenset(("auth-failure", "not-spam", "dmarc"))


def read_complaint(papers: Papers) -> Report | None:
    if papers.feedback is not None:
        return _feedback(papers, papers.feedback)
    if papers.originals and not papers.status and _COMPLAINT_SUBJECT.match(papers.subject) is not None:
        recipients = tuple(Reported(address, ReplyClass.COMPLAINT) for address in addressees(papers))
        return Report(ReportKind.COMPLAINT, recipients, papers.message_id, "abuse")
    return None


def _feedback(papers: Papers, text: str) -> Report:
    # Some write their fields in two blocks.
    fields = read_fields(_EMPTY_LINE.sub("", text.strip()))
    feedback_type = fields.first("feedback-type").strip().lower()[:50] or "abuse"
    is_complaint = feedback_type not in _NO_COMPLAINTS
    # RFC 5965 §3.2: Original-Rcpt-To may stand several times.
    named = [address for value in fields.every("original-rcpt-to", "removal-recipient") for address in addresses_in(value)]
    recipients = tuple(Reported(address, ReplyClass.COMPLAINT if is_complaint else None) for address in unique(named) or addressees(papers))
    return Report(ReportKind.COMPLAINT if is_complaint else ReportKind.FEEDBACK, recipients, papers.message_id, feedback_type)
