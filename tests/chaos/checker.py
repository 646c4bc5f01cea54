"""The judge of a chaos run: set algebra over what was acknowledged, seen, owned at a fault, and told. Pure.

After the faults and a drain these must be empty (a *yes* is a final dot that the sink answered with 2xx):

    lost         acknowledged recipients that the house does not know, or calls delivered while the sink gave no yes
    stuck        recipients that the house has accepted and that have no final state
    unexpected   addresses that the sink saw and nobody had ever asked for
    accepted_twice   addresses with more than one message: a retry with the same Idempotency-Key made another
    duplicates   a yes after a yes that no fault explains. A fault explains the two when the recipient was *in flight* at it: its first
                 yes came before the fault, its second after, and its queue row named the worker that the fault took when that worker had
                 stopped doing anything. A commit of the outcome takes the row away, so such a row is an outcome that was not committed.
    unmarked     recipients with an explained duplicate that have ended without the mark `maybe_sent`
    late         worker kills after which none of the rows was in other hands within RECLAIM_SECONDS
    unfenced     final states that a worker set after it had been given up
    illegal      recipients whose events are no path through the table of states, or end elsewhere than the recipient
    untold       events that no post to the webhook receiver carried, or carried under several webhook-ids
    unclean      drains (SIGTERM) that did not end by themselves or left rows behind
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from app.store.states import FINAL, RecipientState, may_become
from tests.chaos.evidence import Evidence, Fault, Recipient, Told
from tests.doubles.sink_log import TOLD_YES, Dot

RECLAIM_SECONDS = 20.0
# The sink reads a dot a little after the worker that sent it has died.
_ON_THE_WAY_SECONDS = 1.0
_FINAL = frozenset(state.value for state in FINAL)
_STATE_OF = {f"message.{state.value}": state for state in RecipientState}


@dataclass(frozen=True, slots=True)
class Findings:
    """The sets above; `passed` when all are empty. `counts` are the sizes of what was compared."""

    lost: frozenset[str]
    stuck: frozenset[str]
    unexpected: frozenset[str]
    accepted_twice: frozenset[str]
    duplicates: frozenset[str]
    unmarked: frozenset[str]
    late: frozenset[str]
    unfenced: frozenset[str]
    illegal: frozenset[str]
    untold: frozenset[str]
    unclean: frozenset[str]
    counts: Mapping[str, int]

    @property
    def broken(self) -> dict[str, frozenset[str]]:
        """What is not empty."""
        sets = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "counts"}
        return {name: found for name, found in sets.items() if found}

    @property
    def passed(self) -> bool:
        return not self.broken


def check(evidence: Evidence) -> Findings:
    """All sets of the module's head."""
    yes = _yes_by_recipient(evidence)
    acked = {ack.address for ack in evidence.acks}
    seen = {dot.recipient for dot in evidence.dots}
    by_address: dict[str, list[Recipient]] = defaultdict(list)
    for recipient in evidence.recipients:
        by_address[recipient.address].append(recipient)
    unexplained, explained = _duplicates(evidence, yes)
    return Findings(
        lost=_lost(acked, by_address, yes),
        stuck=frozenset(
            f"{r.address} is {r.state} ({evidence.left.get(r.id, 'not in the queue')})"
            for r in evidence.recipients
            if r.state not in _FINAL
        ),
        unexpected=frozenset(seen - evidence.attempted),
        accepted_twice=_accepted_twice(evidence, by_address),
        duplicates=unexplained,
        unmarked=frozenset(r.address for r in explained if not r.maybe_sent and r.state in _FINAL),
        late=frozenset(_late(evidence.faults)),
        unfenced=frozenset(_unfenced(evidence)),
        illegal=frozenset(_illegal(evidence)),
        untold=frozenset(_untold(evidence)) if evidence.posts_expected else frozenset(),
        unclean=frozenset(f"drain of worker {fault.worker}" for fault in evidence.faults if fault.clean is False),
        counts={
            "attempted": len(evidence.attempted),
            "acknowledged": len(acked),
            "in the house": len(evidence.recipients),
            "seen by the sink": len(seen),
            "final dots": len(evidence.dots),
            "in flight at a fault": _in_flight(evidence, yes),
            "received twice": sum(len(dots) > 1 for dots in yes.values()),
            "marked maybe sent": sum(recipient.maybe_sent for recipient in evidence.recipients),
            "stale attempts": sum(attempt.stale for attempt in evidence.attempts),
            "events": len(evidence.events),
            "webhook posts": len(evidence.posts),
            **Counter(f"state {recipient.state}" for recipient in evidence.recipients),
        },
    )


Yes = Mapping[tuple[str, str], list[Dot]]


def _yes_by_recipient(evidence: Evidence) -> Yes:
    """The dots that were answered with yes, in time, by (message, address)."""
    found: dict[tuple[str, str], list[Dot]] = defaultdict(list)
    for dot in sorted(evidence.dots, key=lambda dot: dot.time):
        if dot.verdict in TOLD_YES:
            found[dot.message_id.partition("@")[0], dot.recipient].append(dot)
    return found


def _lost(acked: Iterable[str], by_address: Mapping[str, Sequence[Recipient]], yes: Yes) -> frozenset[str]:
    return frozenset(
        address
        for address in acked
        if not by_address.get(address)
        or any(r.state == RecipientState.DELIVERED and (r.message, address) not in yes for r in by_address[address])
    )


def _accepted_twice(evidence: Evidence, by_address: Mapping[str, Sequence[Recipient]]) -> frozenset[str]:
    messages: dict[str, set[str]] = defaultdict(set)
    for ack in evidence.acks:
        messages[ack.address].add(ack.message)
    for address, recipients in by_address.items():
        messages[address].update(recipient.message for recipient in recipients)
    return frozenset(address for address, found in messages.items() if len(found) > 1)


# --- duplicates


def _duplicates(evidence: Evidence, yes: Yes) -> tuple[frozenset[str], list[Recipient]]:
    """(addresses with a second yes that no fault explains, recipients with one that a fault does)."""
    faults: dict[UUID, list[Fault]] = defaultdict(list)
    for fault in evidence.faults:
        for recipient_id in fault.owned:
            faults[recipient_id].append(fault)
    unexplained: set[str] = set()
    explained: list[Recipient] = []
    recipients = {(recipient.message, recipient.address): recipient for recipient in evidence.recipients}
    for key, dots in yes.items():
        if len(dots) < 2:
            continue
        recipient = recipients.get(key)
        known = faults.get(recipient.id, []) if recipient is not None else []
        if recipient is not None and all(_explains(known, one, other) for one, other in pairwise(dots)):
            explained.append(recipient)
        else:
            unexplained.add(key[1])
    return frozenset(unexplained), explained


def _explains(faults: Iterable[Fault], one: Dot, other: Dot) -> bool:
    return any(one.time <= fault.at + _ON_THE_WAY_SECONDS and fault.at < other.time for fault in faults)


def _in_flight(evidence: Evidence, yes: Yes) -> int:
    """How many recipients were owned at a fault with a yes before it: the most that may come twice."""
    first_yes = {(message, address): dots[0].time for (message, address), dots in yes.items()}
    keys = {recipient.id: (recipient.message, recipient.address) for recipient in evidence.recipients}
    return sum(
        first_yes.get(keys.get(recipient_id, ("", "")), float("inf")) <= fault.at + _ON_THE_WAY_SECONDS
        for fault in evidence.faults
        for recipient_id in fault.owned
    )


# --- leases


def _late(faults: Iterable[Fault]) -> Iterable[str]:
    for fault in faults:
        if fault.owned and fault.clean is None and (fault.reclaimed_seconds is None or fault.reclaimed_seconds > RECLAIM_SECONDS):
            yield f"{fault.kind} of worker {fault.worker}: {fault.reclaimed_seconds}"


def _unfenced(evidence: Evidence) -> Iterable[str]:
    settled = {recipient.id: recipient for recipient in evidence.recipients if recipient.settled_at is not None}
    for attempt in evidence.attempts:
        recipient = settled.get(attempt.recipient)
        if recipient is None or attempt.stale or attempt.outcome != recipient.state:
            continue
        given_up = evidence.given_up.get(attempt.worker)
        if given_up is not None and recipient.settled_at is not None and recipient.settled_at > given_up:
            yield f"{recipient.address} by worker {attempt.worker}"


# --- history


def _illegal(evidence: Evidence) -> Iterable[str]:
    histories: dict[UUID, list[Told]] = defaultdict(list)
    for event in evidence.events:
        histories[event.about].append(event)
    for recipient in evidence.recipients:
        message_id = UUID(recipient.message)
        accepted = [event for event in histories.get(message_id, ()) if event.type == "message.accepted"]
        if len(accepted) != 1:
            yield f"{recipient.address}: accepted {len(accepted)} times"
        reason = _what_is_wrong(sorted(histories.get(recipient.id, ()), key=lambda event: event.number), recipient)
        if reason:
            yield f"{recipient.address}: {reason}"


def _what_is_wrong(history: Sequence[Told], recipient: Recipient) -> str | None:
    """The first thing that is not legal in a recipient's events; None when all are."""
    if [event.number for event in history] != list(range(1, len(history) + 1)):
        return f"events are numbered {[event.number for event in history]}"
    state = RecipientState.READY
    for event in history:
        told = _STATE_OF[event.type]
        if not _may_lead_to(state, told):
            return f"{told.value} after {state.value}"
        state = told
    if history and state.value != recipient.state:
        return f"told {state.value}, is {recipient.state}"
    if not history and recipient.state in _FINAL:
        return f"is {recipient.state}, nothing was told"
    return None


def _may_lead_to(before: RecipientState, after: RecipientState) -> bool:
    """In one step, or by the steps that no event tells of: ready again, claimed."""
    if may_become(before, after):
        return True
    unspoken = {RecipientState.READY, RecipientState.CLAIMED}
    return any(may_become(before, step) and may_become(step, after) for step in unspoken) or (
        may_become(before, RecipientState.READY) and may_become(RecipientState.CLAIMED, after)
    )


def _untold(evidence: Evidence) -> Iterable[str]:
    ids: dict[str, set[str]] = defaultdict(set)
    for webhook_id, event_id in evidence.posts:
        ids[event_id].add(webhook_id)
    for event in evidence.events:
        posted = ids.get(f"evt_{event.id.hex}", set())
        if len(posted) != 1:
            yield f"{event.type} {event.id}: {len(posted)} webhook-ids"
