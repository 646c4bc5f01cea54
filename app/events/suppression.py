"""Which event suppresses an address. Pure.

Only a receiver's final word that the mailbox or the domain does not exist suppresses (mail.reply.ReplyClass.suppresses). Being refused
for policy says something about us or about the content, never about the address.
"""

from __future__ import annotations

from app.mail.reply import ReplyClass


def suppression_reason(event_type: str, reply_class: str | None) -> str | None:
    """The reason under which the address of this event is suppressed, or None."""
    if event_type == "message.bounced" and reply_class is not None and ReplyClass(reply_class).suppresses:
        return reply_class
    return None
