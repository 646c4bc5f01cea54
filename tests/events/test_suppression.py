"""Which event suppresses an address."""

from __future__ import annotations

import pytest

from app.events.suppression import suppression_reason
from app.mail.reply import ReplyClass


@pytest.mark.parametrize("reply_class", list(ReplyClass))
def test_only_a_dead_mailbox_or_domain_suppresses(reply_class: ReplyClass) -> None:
    reason = suppression_reason("message.bounced", reply_class.value)
    assert reason == (reply_class.value if reply_class in {ReplyClass.INVALID_MAILBOX, ReplyClass.INVALID_DOMAIN} else None)


def test_a_deferral_suppresses_nothing() -> None:
    assert suppression_reason("message.deferred", ReplyClass.INVALID_MAILBOX.value) is None
    assert suppression_reason("message.bounced", None) is None
