"""Fairness in the owner's memory."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

from app import store
from app.delivery.lanes import BULK, TRANSACTIONAL, FairBuffer, Job, Site
from app.store.deliverables import Deliverable
from app.store.queue import Claimed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(account_id: int = 1, size: int = 10_000, lane_class: int = TRANSACTIONAL) -> Job:
    recipient_id = store.ids.recipient_id(store.ids.new_message_id(), 1)
    claimed = Claimed(recipient_id, account_id, 7, lane_class, size, NOW, 1, 0, False)
    deliverable = Deliverable(recipient_id, "one@x.test", 1, "transactional", "<m@x>", NOW, date(2026, 2, 1))
    return Job(1, claimed, deliverable, b"", b"")


def take(buffer: FairBuffer, count: int) -> Counter[int]:
    return Counter(job.claimed.account_id for _ in range(count) if (job := buffer.pop()) is not None)


def test_accounts_take_turns_whatever_they_have() -> None:
    buffer = FairBuffer()
    for _ in range(500):
        buffer.push(a_job(1))
    for _ in range(50):
        buffer.push(a_job(2))
        buffer.push(a_job(3))
    taken = take(buffer, 90)
    assert max(taken.values()) - min(taken.values()) <= 5
    assert sum(taken.values()) + buffer.count == 600


def test_an_account_of_huge_mails_gets_its_part_in_bytes() -> None:
    buffer = FairBuffer()
    for _ in range(50):
        buffer.push(a_job(1, size=1_000_000))
    for _ in range(1000):
        buffer.push(a_job(2, size=10_000))
    taken = take(buffer, 600)
    assert 4 <= taken[1] <= 16, "18 KB against 1 MB a turn"


def test_one_account_alone_waits_for_nobody() -> None:
    buffer = FairBuffer()
    jobs = [a_job(size=25_000_000) for _ in range(3)]
    for job in jobs:
        buffer.push(job)
    assert [buffer.pop() for _ in range(4)] == [*jobs, None]


def test_transactional_goes_before_bulk() -> None:
    site = Site(7)
    for _ in range(3):
        site.push(a_job(lane_class=BULK))
    site.push(urgent := a_job(2, lane_class=TRANSACTIONAL))
    assert site.buffered == 4
    assert site.pop() is urgent
    assert len(list(site.clear())) == 3
    assert site.pop() is None
