"""Whose turn it is: rows that are tried alone, and all others."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.delivery import suspects
from app.delivery.suspects import Suspects, Turn


class Worker:
    """A worker's hands, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.in_hand: list[UUID] = []
        self.suspects = Suspects(lambda: len(self.in_hand), lambda: self.in_hand)
        monkeypatch.setattr(suspects.time, "monotonic", lambda: self.now)

    def turn(self, *, others_wait: bool) -> Turn:
        return self.suspects.turn(waiting=True, others_wait=others_wait)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker(monkeypatch)
    assert made.turn(others_wait=True) is Turn.ALONE
    made.now += 5
    assert made.turn(others_wait=True) is Turn.OTHERS
    return made


def test_after_a_turn_the_others_have_three_times_as_long(worker: Worker) -> None:
    worker.now += 14.9
    assert worker.turn(others_wait=True) is Turn.OTHERS
    worker.now += 0.2
    assert worker.turn(others_wait=True) is Turn.ALONE


def test_what_the_others_have_in_hand_is_theirs(worker: Worker) -> None:
    worker.in_hand = [UUID(int=1)]
    worker.now += 1
    assert worker.turn(others_wait=False) is Turn.OTHERS


def test_time_that_the_others_have_no_use_for_is_not_kept_for_them(worker: Worker) -> None:
    worker.now += 0.1
    assert worker.turn(others_wait=False) is Turn.ALONE
