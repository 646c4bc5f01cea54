"""The states of a recipient, and the only ways between them.

    scheduled ──▶ ready ──▶ claimed ──▶ delivered ──▶ bounced_late
        │           │ ▲        ├──────▶ bounced
        │           │ │        ├──────▶ expired
        │           │ └────────┼──────▶ deferred (waits in the queue, then is ready again)
        │           │          ├──────▶ failed
        │           ▼ ▲        ▼
        │           held ◀─────┘
        └──▶ suppressed, cancelled  (from any state before claimed; suppressed also from claimed, while nothing was tried)

Everything that decides a fate goes by TRANSITIONS; the tests check every fate that the house writes against it.
`claimed` lives in the queue table alone: the wide row is written when a recipient is accepted and when it is settled.
A final state is left once at most: a receiver that said 250 may still report a bounce (delivered → bounced_late).
"""

from __future__ import annotations

from enum import StrEnum


class RecipientState(StrEnum):
    SCHEDULED = "scheduled"  # accepted, not due before send_at
    READY = "ready"  # due, waits for a worker
    CLAIMED = "claimed"  # a live worker has it
    DEFERRED = "deferred"  # tried, the next attempt has its time
    HELD = "held"  # waits for somebody's word; the reason is with it
    DELIVERED = "delivered"  # the next hop said 250; not "in the inbox"
    BOUNCED = "bounced"  # refused for good in the dialogue
    EXPIRED = "expired"  # given up by age
    SUPPRESSED = "suppressed"  # not tried, or not again: the address is on the suppression list
    CANCELLED = "cancelled"  # withdrawn by its account before it was claimed
    FAILED = "failed"  # could not be rendered or built
    BOUNCED_LATE = "bounced_late"  # delivered, then reported back by a DSN


_S = RecipientState

TRANSITIONS: dict[RecipientState, frozenset[RecipientState]] = {
    _S.SCHEDULED: frozenset({_S.READY, _S.HELD, _S.SUPPRESSED, _S.CANCELLED}),
    _S.READY: frozenset({_S.CLAIMED, _S.HELD, _S.SUPPRESSED, _S.CANCELLED}),
    _S.DEFERRED: frozenset({_S.READY, _S.HELD, _S.SUPPRESSED, _S.CANCELLED}),
    _S.HELD: frozenset({_S.READY, _S.SCHEDULED, _S.SUPPRESSED, _S.CANCELLED}),
    _S.CLAIMED: frozenset({_S.DELIVERED, _S.BOUNCED, _S.DEFERRED, _S.EXPIRED, _S.FAILED, _S.SUPPRESSED, _S.HELD, _S.READY}),
    _S.DELIVERED: frozenset({_S.BOUNCED_LATE}),
    _S.BOUNCED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.SUPPRESSED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
    _S.BOUNCED_LATE: frozenset(),
}

FINAL = frozenset({_S.DELIVERED, _S.BOUNCED, _S.EXPIRED, _S.SUPPRESSED, _S.CANCELLED, _S.FAILED, _S.BOUNCED_LATE})

# A recipient begins in one of these; suppressed at the door is a beginning and an end.
INITIAL = frozenset({_S.SCHEDULED, _S.READY, _S.HELD, _S.SUPPRESSED})


def may_become(before: RecipientState, after: RecipientState) -> bool:
    """Whether a recipient in `before` may go to `after` in one step."""
    return after in TRANSITIONS[before]
