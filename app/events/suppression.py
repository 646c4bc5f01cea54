"""Why an address is suppressed, and which event does it. Pure.

Only a receiver's final word that the mailbox or the domain does not exist suppresses (mail.reply.ReplyClass.suppresses), in all
streams. Being refused for policy says something about us or about the content, never about the address. Who unsubscribes leaves one
stream: its other mail still goes to him.
"""

from __future__ import annotations

from enum import StrEnum

from app.mail.reply import ReplyClass


class Reason(StrEnum):
    """What the list says of an address."""

    INVALID_MAILBOX = "invalid_mailbox"  # a receiver: there is no such mailbox
    INVALID_DOMAIN = "invalid_domain"  # a receiver, or the DNS: no mail goes to this domain
    MAILBOX_DISABLED = "mailbox_disabled"  # the mailbox is closed or blocked
    COMPLAINT = "complaint"  # its reader called the mail spam
    UNSUBSCRIBE = "unsubscribe"  # its reader left the stream
    MANUAL = "manual"  # the account said so
    IMPORT = "import"  # the account brought it from elsewhere, and did not say why


def suppression_reason(event_type: str, reply_class: str | None) -> str | None:
    """The reason under which the address of this event is suppressed, or None."""
    if event_type == "message.bounced" and reply_class is not None and ReplyClass(reply_class).suppresses:
        return Reason(reply_class).value
    return None
