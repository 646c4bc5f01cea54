"""Replies: a code, an enhanced code (RFC 2034) and a sentence, in printable ASCII on one short line.

Mail programs show the sentence to their users, so it says what to do. Nothing of a client's octets goes back unlaundered.
"""

from __future__ import annotations

import re

from app.errors import RelayError

# RFC 5321 §4.5.3.1.5 has 512 octets with the CRLF.
_LONGEST = 500
_CODED = re.compile(r"[245]\d\d (?:[245]\.\d{1,3}\.\d{1,3})(?: |$)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# What the library says without an enhanced code, by its code; the greeting, 334 and 354 have none (RFC 2034 §4).
_ENHANCED = {"2": "2.0.0", "4": "4.3.0", "5": "5.5.1", "500": "5.5.2", "501": "5.5.4", "552": "5.3.4", "553": "5.1.3", "555": "5.5.4"}


class Refusal(Exception):
    """A reply of 4yz or 5yz, raised by what found the reason."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


def reply_to(error: RelayError) -> str:
    """A refusal of the house in SMTP's words."""
    detail = error.message
    if len(error.errors) > 1:
        detail = " ".join(dict.fromkeys(each.detail for each in error.errors))
    if error.retry_after_seconds is not None:
        detail = f"{detail} Try again in {error.retry_after_seconds} s."
    return f"{error.smtp_reply} {detail}"


def launder(reply: str) -> str:
    """The reply as it may leave: with an enhanced code, printable, short enough."""
    text = _UNPRINTABLE.sub("?", reply)
    if text[:1] in {"2", "4", "5"} and text[:3] != "220" and text[3:4] == " " and _CODED.match(text) is None:
        text = f"{text[:3]} {_ENHANCED.get(text[:3], _ENHANCED[text[0]])} {text[4:]}"
    return text[:_LONGEST]
