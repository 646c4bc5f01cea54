"""From what is kept of a recipient to what its sender is told: status, meaning, words; and only while it is true."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from app.mail.report_phrases import Meaning
from app.store.ids import new_id
from app.store.owed_reports import FateRow, OwedKind, ReportedMail
from app.watch.fates import fate_of

MAIL = ReportedMail("Hello", "<1@x.test>", datetime(2026, 12, 1, tzinfo=UTC), date(2026, 12, 31))
ROW = FateRow(
    id=UUID(int=1),
    address="ada@x.test",
    state="bounced",
    reason="invalid_mailbox",
    last_reply="550 unknown",
    settled_at=datetime.now(UTC),
    dsn='{"from":"shop@sender.test","original":"rfc822;Ada@x.test"}',
    attempt_id=new_id(),
    phase="rcpt",
    code=550,
    enhanced="5.1.1",
    reply="unknown",
    mx="mx.x.test",
)


@pytest.mark.parametrize(
    ("changes", "status", "meaning", "diagnostic", "is_reply"),
    [
        ({}, "5.1.1", Meaning.INVALID_MAILBOX, "550 5.1.1 unknown", True),
        ({"enhanced": None}, "5.1.1", Meaning.INVALID_MAILBOX, "550 unknown", True),
        ({"reason": "policy", "enhanced": None, "reply": "no"}, "5.0.0", Meaning.POLICY, "550 no", True),
        ({"reason": "policy", "enhanced": "4.7.1"}, "5.0.0", Meaning.POLICY, "550 4.7.1 unknown", True),
        ({"reason": "mailbox_full", "enhanced": None}, "5.2.2", Meaning.MAILBOX_FULL, "550 unknown", True),
        # What the DNS said is no server's word.
        (
            {"reason": "invalid_domain", "enhanced": "5.1.2", "reply": "no such domain", "mx": None},
            "5.1.2",
            Meaning.INVALID_DOMAIN,
            None,
            False,
        ),
        ({"reason": None}, "5.1.1", Meaning.INVALID_MAILBOX, "550 5.1.1 unknown", True),
        ({"state": "expired", "code": 450, "enhanced": "4.2.1"}, "4.4.7", Meaning.EXPIRED, "450 4.2.1 unknown", True),
        ({"state": "expired", "code": None, "reply": "connection refused"}, "4.4.7", Meaning.EXPIRED, "connection refused", False),
        ({"state": "failed", "reason": "the content is no longer kept"}, "5.3.0", Meaning.UNMADE, "the content is no longer kept", False),
        ({"state": "cancelled", "reason": "claimed 5 times"}, "5.3.0", Meaning.WITHDRAWN, "withdrawn by the operator", False),
        ({"state": "suppressed", "reason": "invalid_mailbox"}, "5.1.1", Meaning.KNOWN_DEAD, None, False),
        ({"state": "suppressed", "reason": "unsubscribe"}, "5.7.1", Meaning.UNWANTED, None, False),
        ({"state": "suppressed", "reason": "manual"}, "5.7.1", Meaning.LISTED, None, False),
        (
            {"state": "bounced_late", "reason": "reported after delivery: 5.2.2 552 mailbox full", "last_reply": "552 mailbox full"},
            "5.2.2",
            Meaning.MAILBOX_FULL,
            "552 mailbox full",
            True,
        ),
        (
            {"state": "bounced_late", "reason": "reported after delivery, without a reason", "last_reply": "250 ok"},
            "5.0.0",
            None,
            None,
            None,
        ),
    ],
)
def test_a_failure(changes: dict[str, object], status: str, meaning: Meaning | None, diagnostic: str | None, is_reply: bool | None) -> None:
    fate = fate_of(replace(ROW, **changes), OwedKind.FAILURE, MAIL)  # type: ignore[arg-type]
    assert fate is not None
    assert (fate.address, fate.action, fate.status, fate.original) == ("ada@x.test", "failed", status, "rfc822;Ada@x.test")
    assert meaning is None or fate.meaning is meaning
    assert diagnostic is None or fate.diagnostic == diagnostic
    assert is_reply is None or fate.is_reply is is_reply


def test_a_delay_says_until_when_it_is_tried() -> None:
    fate = fate_of(replace(ROW, state="deferred", code=450, enhanced="4.2.0"), OwedKind.DELAY, MAIL)
    assert fate is not None
    assert (fate.action, fate.status, fate.meaning, fate.tried_until) == ("delayed", "4.2.0", Meaning.DELAYED, MAIL.expires_at)


def test_a_success_is_relayed() -> None:
    fate = fate_of(replace(ROW, state="delivered", code=250, enhanced="2.0.0", reply="queued"), OwedKind.SUCCESS, MAIL)
    assert fate is not None
    assert (fate.action, fate.status, fate.mta) == ("relayed", "2.0.0", "mx.x.test")


@pytest.mark.parametrize(
    ("state", "kind"), [("delivered", "delay"), ("bounced", "delay"), ("bounced_late", "success"), ("cancelled", "delay")]
)
def test_what_is_not_true_any_more_is_not_told(state: str, kind: str) -> None:
    assert fate_of(replace(ROW, state=state), OwedKind(kind), MAIL) is None
