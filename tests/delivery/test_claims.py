"""Which rows a worker claims: many small lanes and a few large ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from app import store
from app.config import Settings
from app.delivery.claims import Claims
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
        claims.stopped = True
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
        claims.stopped = True
        claims.tell([])
        await claiming
        await wakes.close()
