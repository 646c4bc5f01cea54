"""What a mail can be that came back, and what it says of each recipient. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.mail.reply import ReplyClass


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
    """What a report says of one recipient: for an autoreply or an unsubscription, of whom it is from.

    `action` and `status` are RFC 3464's, or empty. `diagnostic` is what the remote host said, or what stands beside the address.
    `suppresses`: the address is proven to be dead. That asks for more than the class does (`reply.is_proof`): what comes back late, from a
    host behind the one that took the mail, is one program's rendering of another one's words.
    """

    address: str
    reply_class: ReplyClass | None = None
    action: str = ""
    status: str = ""
    diagnostic: str = ""
    suppresses: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """`message_id`: of the mail that it is about, without angle brackets. `feedback_type`: as RFC 5965 §7.3 has it, for feedback alone."""

    kind: ReportKind
    recipients: tuple[Reported, ...] = ()
    message_id: str = ""
    feedback_type: str = ""
