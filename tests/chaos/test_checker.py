"""The judge itself, on made-up logs: it passes what is right and finds each thing that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.store.ids import new_id, new_message_id, recipient_id
from tests.chaos.checker import check
from tests.chaos.evidence import Ack, Attempt, Evidence, Fault, Recipient, Told
from tests.doubles.sink_log import Dot

FAULT_AT = 100.0
WORKER = 7


class Story:
    """One message to one recipient that went well; tests spoil it."""

    def __init__(self, address: str = "ada@site1.example") -> None:
        message_id = new_message_id()
        self.message, self.id, self.address = message_id.hex, recipient_id(message_id, 1), address
        self.evidence = Evidence(
            attempted={address},
            acks=[Ack(99.0, address, self.message)],
            dots=[self.dot(99.5)],
            recipients=[Recipient(self.id, self.message, address, "delivered", 99.6, False)],
            attempts=[Attempt(self.id, WORKER, "delivered", False)],
        )
        self.tell(message_id, "accepted", 0)
        self.tell(self.id, "delivered", 1)

    def dot(self, at: float, verdict: str = "accepted") -> Dot:
        return Dot(at, self.address, f"{self.message}@shop.test", 100, verdict, 1)

    def tell(self, about: UUID, state: str, number: int, *, posted: bool = True) -> None:
        event = Told(new_id(), about, f"message.{state}", number)
        self.evidence.events.append(event)
        if posted:
            self.evidence.posts.append((f"evt_{event.id.hex}", f"evt_{event.id.hex}"))

    def change(self, **changes: Any) -> None:
        self.evidence.recipients = [replace(recipient, **changes) for recipient in self.evidence.recipients]

    def kill(self, *, owned: bool = True, at: float = FAULT_AT, reclaimed: float | None = 5.0) -> None:
        rows = frozenset({self.id}) if owned else frozenset()
        self.evidence.faults.append(Fault("worker killed", at, WORKER, rows, 30, reclaimed))

    def broken(self) -> set[str]:
        return set(check(self.evidence).broken)


@pytest.fixture
def story() -> Story:
    return Story()


def test_mail_that_arrived_once_and_was_told_is_right(story: Story) -> None:
    findings = check(story.evidence)
    assert findings.passed
    assert findings.counts["seen by the sink"] == 1


def test_an_acknowledged_recipient_that_the_house_does_not_know_is_lost(story: Story) -> None:
    story.evidence.acks.append(Ack(99.0, "lost@site1.example", new_message_id().hex))
    assert check(story.evidence).lost == {"lost@site1.example"}


def test_delivered_without_a_yes_of_the_sink_is_lost(story: Story) -> None:
    story.evidence.dots = [story.dot(99.5, "defer")]
    assert story.broken() == {"lost"}


def test_a_bounce_needs_no_yes(story: Story) -> None:
    story.evidence.dots = []
    story.change(state="bounced")
    story.evidence.events.pop()
    story.tell(story.id, "bounced", 1)
    assert story.broken() == set()


@pytest.mark.parametrize("state", ["ready", "deferred", "held", "scheduled"])
def test_no_final_state_is_stuck(story: Story, state: str) -> None:
    story.change(state=state)
    assert "stuck" in story.broken()


def test_mail_to_an_address_that_nobody_asked_for_is_unexpected(story: Story) -> None:
    story.evidence.attempted.clear()
    assert story.broken() == {"unexpected"}


def test_an_unacknowledged_message_may_arrive(story: Story) -> None:
    story.evidence.acks.clear()
    assert story.broken() == set()


def test_two_messages_for_one_key_are_accepted_twice(story: Story) -> None:
    other = Story()
    story.evidence.recipients += other.evidence.recipients
    story.evidence.events += other.evidence.events
    story.evidence.posts += other.evidence.posts
    story.evidence.dots += other.evidence.dots
    assert story.broken() == {"accepted_twice"}


def test_a_second_yes_without_a_fault_is_a_duplicate(story: Story) -> None:
    story.evidence.dots.append(story.dot(101.0))
    assert story.broken() == {"duplicates"}


def test_a_second_yes_is_explained_by_the_death_of_the_worker_that_had_it_in_flight(story: Story) -> None:
    story.evidence.dots.append(story.dot(101.0))
    story.change(maybe_sent=True)
    story.kill()
    assert story.broken() == set()


def test_a_fault_that_did_not_own_the_recipient_explains_nothing(story: Story) -> None:
    story.evidence.dots.append(story.dot(101.0))
    story.kill(owned=False)
    assert story.broken() == {"duplicates"}


def test_a_fault_before_the_first_yes_explains_nothing(story: Story) -> None:
    story.evidence.dots.append(story.dot(101.0))
    story.kill(at=90.0)
    assert story.broken() == {"duplicates"}


def test_a_fault_after_the_second_yes_explains_nothing(story: Story) -> None:
    story.evidence.dots.append(story.dot(99.7))
    story.kill()
    assert story.broken() == {"duplicates"}


def test_each_further_yes_needs_a_fault_of_its_own(story: Story) -> None:
    story.evidence.dots += [story.dot(105.0), story.dot(106.0)]
    story.change(maybe_sent=True)
    story.kill()
    assert story.broken() == {"duplicates"}
    story.kill(at=105.5)
    assert story.broken() == set()


def test_an_explained_duplicate_must_be_marked(story: Story) -> None:
    story.evidence.dots.append(story.dot(101.0))
    story.kill()
    assert story.broken() == {"unmarked"}


def test_a_dot_that_was_refused_and_sent_again_is_no_duplicate(story: Story) -> None:
    story.evidence.dots.insert(0, story.dot(99.1, "defer"))
    assert story.broken() == set()


@pytest.mark.parametrize("reclaimed", [None, 20.5])
def test_rows_of_a_dead_worker_that_nobody_takes_in_time_are_late(story: Story, reclaimed: float | None) -> None:
    story.kill(reclaimed=reclaimed)
    assert story.broken() == {"late"}


def test_a_state_set_by_a_worker_that_was_given_up_is_unfenced(story: Story) -> None:
    story.evidence.given_up[WORKER] = 99.55
    assert story.broken() == {"unfenced"}


def test_a_stale_attempt_of_a_worker_that_was_given_up_is_right(story: Story) -> None:
    story.evidence.given_up[WORKER] = 99.55
    story.evidence.attempts = [Attempt(story.id, WORKER, "delivered", True), Attempt(story.id, 8, "delivered", False)]
    assert story.broken() == set()


def test_deferred_and_then_delivered_is_a_legal_history(story: Story) -> None:
    story.evidence.events.pop()
    story.tell(story.id, "deferred", 1)
    story.tell(story.id, "delivered", 2)
    assert story.broken() <= {"untold"}
    assert not check(story.evidence).illegal


@pytest.mark.parametrize(
    "states", [["delivered", "deferred"], ["delivered", "delivered"], ["bounced", "delivered"], ["deferred"], []], ids="-".join
)
def test_other_histories_of_a_delivered_recipient_are_illegal(story: Story, states: list[str]) -> None:
    story.evidence.events = story.evidence.events[:1]
    for number, state in enumerate(states, 1):
        story.tell(story.id, state, number)
    assert "illegal" in story.broken()


def test_a_gap_in_the_numbers_of_events_is_illegal(story: Story) -> None:
    story.evidence.events = story.evidence.events[:1]
    story.tell(story.id, "delivered", 2)
    assert "illegal" in story.broken()


def test_a_message_is_accepted_once(story: Story) -> None:
    story.tell(UUID(story.message), "accepted", 0)
    assert "illegal" in story.broken()


def test_an_event_that_was_never_posted_is_untold(story: Story) -> None:
    story.evidence.posts.pop()
    assert story.broken() == {"untold"}


def test_an_event_may_be_posted_twice_under_one_id(story: Story) -> None:
    story.evidence.posts.append(story.evidence.posts[-1])
    assert story.broken() == set()


def test_an_event_posted_under_two_ids_is_found(story: Story) -> None:
    story.evidence.posts.append(("evt_other", story.evidence.posts[-1][1]))
    assert story.broken() == {"untold"}


def test_a_drain_that_left_rows_is_unclean(story: Story) -> None:
    story.evidence.faults.append(Fault("worker drained", FAULT_AT, WORKER, frozenset(), 30, clean=False))
    assert story.broken() == {"unclean"}
