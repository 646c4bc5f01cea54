"""Which event suppresses an address. Pure.

Only a receiver's word that the mailbox or the domain does not exist (or is shut) suppresses. Being refused for policy says
something about us or about the content, never about the address.
"""

from __future__ import annotations

_SUPPRESSING = frozenset({"invalid_mailbox", "invalid_domain", "mailbox_disabled"})


def suppression_reason(event_type: str, reply_class: str | None) -> str | None:
    """The reason under which the address of this event is suppressed, or None."""
    if event_type == "message.bounced" and reply_class in _SUPPRESSING:
        return reply_class
    return None
