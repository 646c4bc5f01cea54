"""Who may converse when conversations are short: the last quarter is not for bulk mail, nor for an account that has all the others."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.config import Settings
from app.delivery.deliver import Deliveries
from app.delivery.lanes import BULK, TRANSACTIONAL, Job, Site
from app.delivery.outgoing import Flow
from app.delivery.site_names import SiteNames
from app.keyring import Keyring
from tests.delivery.test_lanes import a_job

_MOST = 8
_OF_ONE = 6


class Lease:
    """Alone, and of a site that needs no other."""

    worker_id = 1

    def slot_of(self, _site_id: int) -> tuple[int, int]:
        return (1, 0)


class Hands(Deliveries):
    """Deliveries whose conversations last until they are told to end. The peaks are of all, of bulk, and of any account."""

    def __init__(self, keyring: Keyring, **settings: Any) -> None:
        nothing: Any = SimpleNamespace()
        super().__init__(
            nothing,
            Settings(worker_connections=_MOST, **settings),
            lease=Lease(),  # type: ignore[arg-type]
            names=SiteNames(),
            domains=nothing,
            contents=nothing,
            filler=nothing,
            keyring=keyring,
            router=nothing,
            connections=nothing,
            settler=nothing,
            want=lambda _site, _lane_class, _buffered: None,
            strayed=lambda: None,
        )
        self.talking: dict[asyncio.Future[None], Job] = {}
        self.begun: list[Job] = []
        self.peaks = (0, 0, 0)

    async def _deliver_safely(self, job: Job, site: Site, flow: Flow) -> bool:
        over = asyncio.get_running_loop().create_future()
        self.talking[over] = job
        self.begun.append(job)
        accounts = Counter(one.claimed.account_id for one in self.talking.values())
        of_bulk = sum(one.claimed.lane_class == BULK for one in self.talking.values())
        now = (len(self.talking), of_bulk, max(accounts.values()))
        self.peaks = (max(self.peaks[0], now[0]), max(self.peaks[1], now[1]), max(self.peaks[2], now[2]))
        await over
        del self.talking[over]
        return True

    def end_one(self, place: int = 0) -> None:
        list(self.talking)[place].set_result(None)

    async def settle_down(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def give(self, *jobs: Job) -> None:
        self.offer(jobs)
        await self.settle_down()


@pytest.fixture
async def hands(tmp_path: Any) -> AsyncIterator[Hands]:
    made = Hands(Keyring.create(tmp_path / "keyring.json"), connections_per_site=2)
    made._attempts.close_unused = lambda _flow: None  # type: ignore[method-assign]
    yield made
    made.take_back()
    await made.finish_within(0)


def job_at(site_id: int, account_id: int, lane_class: int) -> Job:
    job = a_job(account_id, lane_class=lane_class)
    job.claimed = replace(job.claimed, site_id=site_id)
    return job


@pytest.mark.parametrize("lane_class", [TRANSACTIONAL, BULK])
async def test_slow_hosts_of_one_account_leave_room(hands: Hands, lane_class: int) -> None:
    """Whose conversations are under way when the other's mail comes."""
    await hands.give(*[job_at(site, 1, lane_class) for site in range(1, 11) for _ in range(20)])
    assert len(hands.talking) == _OF_ONE
    await hands.give(job_at(99, 2, TRANSACTIONAL))
    assert hands.begun[-1].claimed.account_id == 2


async def test_the_sites_of_a_full_account_take_turns(hands: Hands) -> None:
    await hands.give(*[job_at(site, 1, TRANSACTIONAL) for site in range(1, 11) for _ in range(20)])
    for _ in range(12):
        hands.end_one()
        await hands.settle_down()
    assert Counter(job.claimed.site_id for job in hands.begun).keys() == set(range(1, 11))


async def test_bulk_sites_take_turns_beside_transactional_mail(hands: Hands) -> None:
    await hands.give(*[job_at(site, site, BULK) for site in range(1, 11) for _ in range(20)])
    await hands.give(*[job_at(50, 50, TRANSACTIONAL) for _ in range(2)])
    for _ in range(12):
        hands.end_one()
        await hands.settle_down()
    assert Counter(job.claimed.site_id for job in hands.begun).keys() == {*range(1, 11), 50}


@pytest.mark.parametrize("seed", range(20))
async def test_all_have_their_turn_whatever_ends_first(hands: Hands, seed: int) -> None:
    chance = random.Random(seed)
    jobs = [
        job_at(chance.randrange(1, 30), chance.choice([1, 1, 1, 2, 3]), chance.choice([TRANSACTIONAL, BULK]))
        for _ in range(chance.randrange(400))
    ]
    left = list(jobs)
    while left or hands.talking:
        if left and chance.random() < 0.1:
            count = chance.randrange(1, 60)
            await hands.give(*left[:count])
            left = left[count:]
        if hands.talking:
            hands.end_one(chance.randrange(len(hands.talking)))
            await hands.settle_down()
    assert {id(job) for job in hands.begun} == {id(job) for job in jobs}
    assert hands.peaks[0] <= _MOST
    assert hands.peaks[1] <= _OF_ONE
    assert hands.peaks[2] <= _OF_ONE
    assert hands.conversing == 0
    assert (hands._turns._of_bulk, hands._turns._of_account, hands._turns._full) == (0, {}, None)
