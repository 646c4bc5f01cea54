"""From an outcome to what is settled: the row of the attempt, the words of the event, and which address it suppresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.delivery.conversation import Conversation, Hop, Phase
from app.delivery.lanes import Job
from app.delivery.retry import Outcome, judge, put_off_until
from app.delivery.route import RouteFailure
from app.delivery.settle import Verdict
from app.events.record import EVENT_OF, as_facts
from app.events.suppression import suppression_reason
from app.mail.address import suppression_key
from app.mail.reply import Reply
from app.store.ids import milliseconds_of, new_id, time_of
from app.store.queue import UNKNOWN_SITE
from app.store.settlement import AttemptRow, Settlement
from app.store.states import RecipientState


@dataclass(frozen=True, slots=True)
class Chance:
    """What a next attempt depends on beside the job: the database's time, the first wait, and a random number in [0, 1) for the jitter."""

    now: datetime
    first_wait_seconds: float
    jitter: float


def judged(job: Job, conversation: Conversation, chance: Chance, *, phase: str | None) -> Verdict:
    """What an attempt makes of a job; `phase` is None for what the DNS said."""
    outcome = judge(
        conversation.reply,
        phase,
        accepted=conversation.accepted,
        error=conversation.error,
        attempts=job.claimed.attempts + 1,
        now=chance.now,
        expires_at=job.deliverable.expires_at,
        first_wait_seconds=chance.first_wait_seconds,
        chance=chance.jitter,
    )
    return verdict_of(job, outcome, conversation)


def untried(job: Job, state: RecipientState, reason: str) -> Verdict:
    """A final word on a job without an attempt."""
    return verdict_of(job, Outcome(state, None, None, reason), None)


def put_off(job: Job, reason: str, chance: Chance, *, seconds: float) -> Verdict:
    """A job that is not tried now, nor for so many seconds."""
    accepted_at = time_of(job.claimed.recipient_id)
    expires_at = job.deliverable.expires_at
    due_at = put_off_until(seconds, accepted_at=accepted_at, now=chance.now, expires_at=expires_at, chance=chance.jitter)
    state = RecipientState.DEFERRED if due_at is not None else RecipientState.EXPIRED
    return verdict_of(job, Outcome(state, None, due_at, reason), None)


def verdict_of(job: Job, outcome: Outcome, conversation: Conversation | None) -> Verdict:
    """What becomes of a job; without a conversation there was no attempt.

    A row that goes back from a lane of exceptions is placed anew: it was settled, so it is no suspect any more, and its domain may
    have a route by its next attempt.
    """
    claimed, address = job.claimed, job.deliverable.address
    attempt = _attempt(conversation) if conversation is not None else None
    event = EVENT_OF[outcome.state]
    is_unsure = conversation is not None and conversation.dot_sent and conversation.reply is None
    settlement = Settlement(
        owner=job.owner,
        account_id=claimed.account_id,
        recipient_id=claimed.recipient_id,
        state=outcome.state,
        due_at=outcome.due_at,
        reason=outcome.reason,
        reply=f"{attempt.code} {attempt.reply}" if attempt is not None and attempt.code is not None else None,
        site_id=UNKNOWN_SITE if claimed.site_id < UNKNOWN_SITE else None,
        attempt=attempt,
        event=event.value,
        facts=as_facts(_facts(job, outcome, attempt, maybe_sent=is_unsure or claimed.maybe_sent)),
        maybe_sent=is_unsure,
    )
    reason = suppression_reason(event.value, outcome.reply_class.value if outcome.reply_class is not None else None)
    suppresses = (suppression_key(address), reason) if reason is not None else None
    wanted_at = max(milliseconds_of(claimed.recipient_id) / 1000, 0.0 if claimed.attempts else claimed.due_at.timestamp())
    return Verdict(settlement, suppresses, wanted_at)


def _facts(job: Job, outcome: Outcome, attempt: AttemptRow | None, *, maybe_sent: bool) -> dict[str, Any]:
    """What the event says: everything that explains the verdict, nothing that is empty."""
    facts: dict[str, Any] = {"recipient": job.deliverable.address, "attempts": job.claimed.attempts + (attempt is not None)}
    if attempt is not None:
        facts |= {"mx": attempt.mx, "ip": attempt.ip, "tls": attempt.tls, "phase": attempt.phase}
        if attempt.code is not None:
            facts |= {"code": attempt.code, "enhanced": attempt.enhanced, "reply": attempt.reply}
    if outcome.reason is not None:
        facts["reason"] = outcome.reason
    if outcome.reply_class is not None:
        facts["class"] = outcome.reply_class.value
    if outcome.due_at is not None:
        facts["next_attempt_at"] = outcome.due_at
    if maybe_sent:
        facts["maybe_sent"] = True
    return facts


def _attempt(conversation: Conversation) -> AttemptRow:
    reply, hop = conversation.reply, conversation.hop
    return AttemptRow(
        id=new_id(conversation.started_at.timestamp()),
        phase=conversation.phase.value,
        code=reply.code if reply is not None else None,
        enhanced=reply.enhanced if reply is not None else None,
        reply=reply.text if reply is not None else conversation.error,
        mx=hop.host or None,
        ip=hop.address or None,
        source=hop.source,
        tls=conversation.tls,
        connect_ms=conversation.connect_ms,
        total_ms=conversation.total_ms,
    )


def conversation_of(failure: RouteFailure, now: datetime) -> Conversation:
    """What the DNS said, in the form of a conversation that nobody held."""
    reply = Reply(550 if failure.permanent else 450, failure.enhanced, failure.text)
    return Conversation(
        reply=reply,
        phase=Phase.CONNECT,
        error=None,
        dot_sent=False,
        started_at=now,
        connect_ms=0,
        total_ms=0,
        hop=Hop("", "", 0, None),
        tls=None,
    )
