"""Which rows a worker claims: many small lanes and a few large ones."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import Any, Self

import pytest

from app import store
from app.config import Settings
from app.delivery import claims as claims_module
from app.delivery.claims import EPOCH, Claims
from app.delivery.lease import Lease
from app.jobs import Wakes
from app.store.db import Database
from app.store.queue import Claimed, Share
from tests.builders import a_message, write

LARGE, SMALL = range(1, 9), range(100, 500)


async def test_a_full_claim_leaves_no_lane_behind(database: Database, redis_url: str) -> None:
    """Eight large lanes fill every claim to its limit; four hundred small ones behind them are claimed all the same, each row once."""
    wanted = Counter({Share(site, 0, 1): 230 for site in LARGE}) + Counter({Share(site, 0, 1): 2 for site in SMALL})
    recipients = await write(database, *[a_message() for _ in range(wanted.total())])
    sites = [share.site_id for share in wanted.elements()]
    claimed: Counter[Share] = Counter()
    claims_made: list[int] = []
    done = asyncio.Event()

    async def take(_connection: Any, _owner: int, rows: list[Claimed]) -> None:
        claimed.update(row.share for row in rows)
        claims_made.append(len({row.share for row in rows}))
        if claimed.total() >= wanted.total():
            done.set()

    settings, wakes = Settings(), Wakes(redis_url)
    lease = Lease(database, settings, wakes, "test", dict)
    await lease.begin()
    claims = Claims(
        database,
        settings,
        lease,
        wakes,
        in_hand=lambda: 0,
        bytes_in_hand=lambda: 0,
        held_of=lambda _owner: [],
        rows_of=lambda _account: 0,
        buffered=lambda _site, _class: 0,
        take=take,
    )
    async with database.hot() as connection:
        await store.queue.place(connection, [row.id for row in recipients], sites)
    claims.tell(wanted)
    claiming = asyncio.create_task(claims.run())
    try:
        async with asyncio.timeout(30):
            await done.wait()
    finally:
        claims.stop()
        await claiming
        await wakes.close()
    assert claimed == wanted
    assert max(claims_made) > 100, "many small lanes at once"


async def test_room_made_during_a_survey_is_not_forgotten(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hands are full, and become empty while the queue is surveyed: the next claim comes then, not at the next poll."""
    settings, wakes = Settings(poll_seconds=60.0), Wakes(redis_url)
    (recipient,) = await write(database, a_message())
    in_hand = [settings.worker_buffer_rows]
    done = asyncio.Event()

    async def take(_connection: Any, _owner: int, _rows: list[Claimed]) -> None:
        done.set()

    lease = Lease(database, settings, wakes, "test", dict)
    await lease.begin()
    claims = Claims(
        database,
        settings,
        lease,
        wakes,
        in_hand=lambda: in_hand[0],
        bytes_in_hand=lambda: 0,
        held_of=lambda _owner: [],
        rows_of=lambda _account: 0,
        buffered=lambda _site, _class: 0,
        take=take,
    )
    survey = store.queue.survey_shares

    async def survey_while_hands_empty(*given: Any) -> list[Share]:
        found = await survey(*given)
        in_hand[0] = 0
        claims.room_made()
        return found

    monkeypatch.setattr(store.queue, "survey_shares", survey_while_hands_empty)
    async with database.hot() as connection:
        await store.queue.place(connection, [recipient.id], [1])
    claims.tell([Share(1, 0, 1)])
    claiming = asyncio.create_task(claims.run())
    try:
        async with asyncio.timeout(20):
            await done.wait()
    finally:
        claims.stop()
        await claiming
        await wakes.close()


class _Hands:
    """A worker with endless room unless it is to keep what it takes, and what it has claimed."""

    def __init__(self, database: Database, wakes: Wakes, *, keeps: bool = False, **settings: Any) -> None:
        self._keeps = keeps
        self._database = database
        self._wakes = wakes
        self._settings = Settings(**settings)
        self.taken: list[Claimed] = []

    async def __aenter__(self) -> Self:
        lease = Lease(self._database, self._settings, self._wakes, "test", dict)
        await lease.begin()
        self.claims = Claims(
            self._database,
            self._settings,
            lease,
            self._wakes,
            in_hand=lambda: len(self.taken) if self._keeps else 0,
            bytes_in_hand=lambda: 0,
            held_of=lambda _owner: [row.recipient_id for row in self.taken],
            rows_of=lambda account: self._keeps * sum(row.account_id == account for row in self.taken),
            buffered=lambda _site, _class: 0,
            take=self._take,
        )
        self._claiming = asyncio.create_task(self.claims.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.claims.stop()
        await self._claiming
        await self._wakes.close()

    async def until(self, rows: int) -> None:
        async with asyncio.timeout(20):
            while len(self.taken) < rows:
                await asyncio.sleep(0.02)

    async def _take(self, _connection: Any, _owner: int, rows: list[Claimed]) -> None:
        self.taken += rows


async def test_a_claim_that_failed_is_made_again(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, failures = store.queue.claim, iter([OSError("gone")])

    async def fail_once(*given: Any) -> list[Claimed]:
        for failure in failures:
            raise failure
        return await claim(*given)

    recipients = await write(database, *[a_message() for _ in range(3)])
    async with database.hot() as connection:
        await store.queue.place(connection, [one.id for one in recipients], [7, 8, 9])
    monkeypatch.setattr(store.queue, "claim", fail_once)
    monkeypatch.setattr(store.queue, "survey_shares", _find_nothing)
    async with _Hands(database, Wakes(redis_url)) as hands:
        hands.claims.tell([Share(site, 0, 1) for site in (7, 8, 9)])
        await hands.until(3)


async def test_a_lane_that_nobody_comes_back_to_is_found_by_a_survey(database: Database, redis_url: str) -> None:
    async with _Hands(database, Wakes(redis_url), poll_seconds=0.1) as hands:
        hands.claims._known[7, 0] = OrderedDict({1: EPOCH})
        (recipient,) = await write(database, a_message())
        async with database.hot() as connection:
            await store.queue.place(connection, [recipient.id], [7])
        await hands.until(1)


async def test_what_is_ready_since_before_the_place_of_a_share_is_found(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that became visible late: its time lies before rows that were claimed already. Surveys come much more often than it is old."""
    monkeypatch.setattr(claims_module, "_REWIND_SECONDS", 1.0)
    late, first = await write(database, a_message(), a_message())
    async with database.hot() as connection:
        await store.queue.place(connection, [first.id], [7])
        async with _Hands(database, Wakes(redis_url), poll_seconds=0.05) as hands:
            await hands.until(1)
            await connection.execute("UPDATE queue SET site_id = 7, due_at = now() - interval '1 hour' WHERE recipient_id = $1", late.id)
            await hands.until(2)


async def test_what_another_worker_serves_wakes_nobody_here(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not remembered, and no turn of the loop is made for it; what is ours is claimed when it is told with it."""
    slot_of = Lease.slot_of
    monkeypatch.setattr(Lease, "slot_of", lambda lease, site_id: None if site_id == 8 else slot_of(lease, site_id))
    monkeypatch.setattr(store.queue, "survey_shares", _find_nothing)
    recipients = await write(database, *[a_message() for _ in range(2)])
    async with database.hot() as connection:
        await store.queue.place(connection, [one.id for one in recipients], [7, 8])
    async with _Hands(database, Wakes(redis_url)) as hands:
        hands.claims.tell([Share(8, 0, 1)])
        assert not hands.claims._something.is_set()
        hands.claims.tell([Share(8, 0, 1), Share(7, 0, 1)])
        assert list(hands.claims._known) == [(7, 0)]
        await hands.until(1)
    assert [row.site_id for row in hands.taken] == [7]


async def test_no_account_fills_the_hands(database: Database, redis_url: str) -> None:
    """Its hosts are slow, so that nothing of it is settled: others' transactional mail is claimed all the same."""
    slow = await write(database, *[a_message() for _ in range(400)])
    (other,) = await write(database, a_message(account_id=2))
    async with database.hot() as connection:
        await store.queue.place(connection, [row.id for row in slow], [100 + number % 20 for number in range(400)])
    async with _Hands(database, Wakes(redis_url), keeps=True, poll_seconds=0.1, worker_buffer_rows=100) as hands:
        await hands.until(75)
        await asyncio.sleep(0.5)
        async with database.hot() as connection:
            await store.queue.place(connection, [other.id], [7])
        async with asyncio.timeout(20):
            while hands.taken[-1].account_id != 2:
                await asyncio.sleep(0.02)
        assert 75 <= len(hands.taken) < 100
        hands.taken = [row for row in hands.taken if row.account_id == 2]  # the slow ones are settled at last
        hands.claims.room_made()
        await hands.until(76)


async def _find_nothing(*_given: Any) -> list[Share]:
    return []
