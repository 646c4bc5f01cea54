"""From what is kept of a recipient to what its sender is told of it. Pure.

The status code (RFC 3463) is the server's own where it gave one that fits the end; else the one that our word for it stands for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import orjson

from app.events.suppression import Reason
from app.mail.reply import Reply, ReplyClass, classify, read_reply
from app.mail.report_phrases import Meaning
from app.mail.report_writing import Fate
from app.store.ids import time_of
from app.store.owed_reports import FateRow, OwedKind, ReportedMail
from app.store.states import RecipientState

_S = RecipientState
# What a recipient must be (still) for a report of the kind to be true.
TRUE_OF: Final = {
    OwedKind.FAILURE: frozenset((_S.BOUNCED, _S.EXPIRED, _S.FAILED, _S.SUPPRESSED, _S.CANCELLED, _S.BOUNCED_LATE)),
    OwedKind.DELAY: frozenset((_S.DEFERRED,)),
    OwedKind.SUCCESS: frozenset((_S.DELIVERED,)),
}
_STATUS: Final = {
    ReplyClass.INVALID_MAILBOX: "5.1.1",
    ReplyClass.INVALID_DOMAIN: "5.1.2",
    ReplyClass.MAILBOX_FULL: "5.2.2",
    ReplyClass.MAILBOX_DISABLED: "5.2.1",
    ReplyClass.TOO_LARGE: "5.3.4",
}
_SUPPRESSED: Final = {
    Reason.INVALID_MAILBOX: (Meaning.KNOWN_DEAD, "5.1.1", "user unknown: refused by its own server before"),
    Reason.INVALID_DOMAIN: (Meaning.KNOWN_DEAD, "5.1.2", "domain not found: it took no mail before"),
    Reason.COMPLAINT: (Meaning.UNWANTED, "5.7.1", "blocked: its reader called earlier mail spam"),
    Reason.UNSUBSCRIBE: (Meaning.UNWANTED, "5.7.1", "blocked: its reader has unsubscribed"),
}
_LISTED: Final = (Meaning.LISTED, "5.7.1", "blocked: the address is on the sender's own list of those that get no mail")


def fate_of(row: FateRow, kind: OwedKind, mail: ReportedMail) -> Fate | None:
    """What is told of a recipient; None when it is not true any more."""
    if row.state not in TRUE_OF[kind]:
        return None
    original = asked_of(row).get("original")
    tried_at = time_of(row.attempt_id) if row.attempt_id is not None else None
    match row.state:
        case _S.DELIVERED:
            # RFC 3461 §5.2.2: relayed, where DSN is not asked of the next hop.
            action, (meaning, status) = "relayed", (Meaning.RELAYED, _server_status(row, "2") or "2.0.0")
        case _S.DEFERRED:
            action, (meaning, status) = "delayed", (Meaning.DELAYED, _server_status(row, "4") or "4.0.0")
        case _S.BOUNCED:
            reply_class = _reply_class(row)
            action, meaning = "failed", Meaning(reply_class.value)
            status = _server_status(row, "5") or _STATUS.get(reply_class, "5.0.0")
        case _S.BOUNCED_LATE:
            return _late(row, original, tried_at)
        case _S.EXPIRED:
            action, (meaning, status) = "failed", (Meaning.EXPIRED, "4.4.7")
        case _S.SUPPRESSED:
            known = {reason.value: told for reason, told in _SUPPRESSED.items()}
            meaning, status, words = known.get(row.reason or "", _LISTED)
            return Fate(row.address, "failed", status, meaning, words, original=original)
        case _S.CANCELLED:  # owed only where the operator dropped it
            return Fate(row.address, "failed", "5.3.0", Meaning.WITHDRAWN, "withdrawn by the operator", original=original)
        case _:
            return Fate(row.address, "failed", "5.3.0", Meaning.UNMADE, row.reason or "", original=original)
    diagnostic, is_reply = _diagnostic(row)
    return Fate(
        row.address,
        action,
        status,
        meaning,
        diagnostic,
        is_reply,
        row.mx,
        original,
        tried_at,
        mail.expires_at if kind is OwedKind.DELAY else None,
    )


def asked_of(row: FateRow) -> dict[str, Any]:
    """What its sender has asked (intake.raw): from, notify, original, ret, envelope_id, tells_failures."""
    asked: dict[str, Any] = orjson.loads(row.dsn)
    return asked


def _late(row: FateRow, original: str | None, tried_at: datetime | None) -> Fate:
    """What the report said that came back: its reason bears the status (feedback.reports)."""
    quoted = read_reply(row.last_reply or "")
    words = row.last_reply or ""
    if quoted.is_positive:  # the report quoted nothing, and this is what was said when the mail was taken
        quoted, words = Reply(0, None, ""), ""
    said = read_reply((row.reason or "").rpartition("reported after delivery")[2])
    reply = Reply(quoted.code or 550, quoted.enhanced or said.enhanced, words)
    reply_class = classify(reply)
    status = reply.enhanced if reply.enhanced is not None and reply.enhanced.startswith("5") else _STATUS.get(reply_class, "5.0.0")
    return Fate(row.address, "failed", status, Meaning(reply_class.value), words, bool(quoted.code), None, original, tried_at)


def _reply_class(row: FateRow) -> ReplyClass:
    """The reason of a bounce is its class (delivery.retry)."""
    try:
        return ReplyClass(row.reason or "")
    except ValueError:
        return classify(Reply(row.code or 550, row.enhanced, row.reply or ""), row.phase)


def _server_status(row: FateRow, digit: str) -> str | None:
    return row.enhanced if row.enhanced is not None and row.enhanced.startswith(digit) else None


def _diagnostic(row: FateRow) -> tuple[str, bool]:
    """(the last words on the recipient, whether a server said them)."""
    if row.code is not None:
        words = " ".join(filter(None, (str(row.code), row.enhanced, row.reply)))
        return words, bool(row.mx)  # without a server it is what the DNS said
    return row.reply or row.reason or "", False
