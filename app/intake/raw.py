"""Finished mail as it is handed to us: its bytes, its envelope, and what its sender wants to be told.

It enters by `Intake.submit_raw`, whichever door it came through.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EnvelopeRecipient:
    """One RCPT TO. `notify` (NOTIFY) and `original` (ORCPT, "rfc822;ada@example.com") are kept for delivery reports (RFC 3461)."""

    address: str
    notify: frozenset[str] = frozenset()
    original: str | None = None


@dataclass(slots=True)
class RawSubmission:
    """What a client hands us, as MIME. `raw` is as DATA brought it: dots unstuffed, CRLF line ends.

    `envelope_from` is empty for the null sender. `allowed_from`: the addresses and domains that the credential may have in From, all of
    the account's when it is empty. `tells_failures`: whether a final failure is reported to `envelope_from`. `stream`: the credential's.
    """

    raw: bytes
    envelope_from: str
    recipients: tuple[EnvelopeRecipient, ...]
    ret: str | None = None
    envelope_id: str | None = None
    allowed_from: tuple[str, ...] = ()
    tells_failures: bool = False
    stream: str | None = None
