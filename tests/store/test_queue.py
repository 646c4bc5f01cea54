"""Claims, leases, take-over, poison: who has a row, and who gets it next."""

from __future__ import annotations

import asyncio

from app import store
from app.store.db import Database
from app.store.queue import ALONE_SITE, FIRST_SHARE, HELD_FROM_CLAIMS, SUSPECT_SITE, Ask, Share
from tests.builders import EPOCH, a_message, a_worker, claim_all, write


async def test_two_workers_never_get_the_same_row(database: Database) -> None:
    await write(database, *[a_message() for _ in range(200)])
    workers = [await a_worker(database) for _ in range(4)]

    async def take_all(worker: int) -> list[object]:
        taken: list[object] = []
        while rows := await claim_all(database, worker, take=7):
            taken += [row.recipient_id for row in rows]
        return taken

    taken = await asyncio.gather(*map(take_all, workers))
    everything = [r for part in taken for r in part]
    assert len(everything) == len(set(everything)) == 200


async def test_several_shares_in_one_statement_oldest_first(database: Database) -> None:
    await write(database, *[a_message(account_id=a) for a in (1, 1, 1, 2, 3)])
    worker = await a_worker(database)
    async with database.hot() as connection:
        rows = await store.queue.claim(connection, worker, [Ask(Share(0, 0, a), EPOCH, 2) for a in (1, 2, 3, 4)])
        assert sorted(r.account_id for r in rows) == [1, 1, 2, 3]
        assert await store.queue.survey_shares(connection, FIRST_SHARE, 10) == [Share(0, 0, 1)]


async def test_a_claim_ends_at_its_limit_and_meets_the_asks_in_their_order(database: Database) -> None:
    await write(database, *[a_message(account_id=a) for a in (1, 1, 1, 2, 2, 3)])
    worker = await a_worker(database)
    asks = [Ask(Share(0, 0, a), EPOCH, 10) for a in (2, 1, 3)]
    async with database.hot() as connection:
        first = await store.queue.claim(connection, worker, asks, 4)
        assert sorted(r.account_id for r in first) == [1, 1, 2, 2]
        rest = await store.queue.claim(connection, worker, asks, 4)
        assert sorted(r.account_id for r in rest) == [1, 3]


async def test_a_survey_can_go_on_where_it_ended(database: Database) -> None:
    await write(database, *[a_message(account_id=a) for a in range(1, 8) for _ in range(3)])
    async with database.hot() as connection:
        first = await store.queue.survey_shares(connection, FIRST_SHARE, 4)
        rest = await store.queue.survey_shares(connection, first[-1], 4)
    assert [s.account_id for s in first + rest] == list(range(1, 8))


async def test_released_rows_count_as_never_claimed(database: Database) -> None:
    await write(database, a_message())
    worker = await a_worker(database)
    (claimed,) = await claim_all(database, worker)
    async with database.hot() as connection:
        await store.queue.release(connection, worker + 1, [claimed.recipient_id])
    assert await claim_all(database, worker) == [], "another's release does nothing"
    async with database.hot() as connection:
        await store.queue.release(connection, worker, [claimed.recipient_id])
    (again,) = await claim_all(database, worker)
    assert (again.claims, again.maybe_sent) == (1, False)


async def test_a_worker_that_was_given_up_cannot_claim(database: Database) -> None:
    await write(database, a_message())
    worker = await a_worker(database)
    async with database.hot() as connection:
        await store.workers.delete_worker(connection, worker)
        assert not await store.workers.renew_lease(connection, worker, 10, False, "{}")
    assert await claim_all(database, worker) == []


async def test_only_a_lease_that_is_over_is_given_up(database: Database) -> None:
    alive, late = await a_worker(database, 60), await a_worker(database, -1)
    async with database.hot() as connection:
        assert [w.id for w in await store.workers.list_live_workers(connection)] == [alive]
        assert await store.workers.delete_dead_workers(connection, 3600) == [], "PostgreSQL has just started: one lease of grace"
        assert await store.workers.delete_dead_workers(connection, -3600) == [late]


async def test_a_row_that_kills_workers_is_suspected_then_held(database: Database) -> None:
    await write(database, a_message())
    sites = []
    site = 0
    for _ in range(HELD_FROM_CLAIMS):
        worker = await a_worker(database)
        (claimed,) = await claim_all(database, worker, site_id=site)
        async with database.hot() as connection:
            await store.workers.delete_worker(connection, worker)
            (freed,) = await store.queue.free_rows_of(connection, [worker])
        site = freed.site_id
        sites.append(site)
        assert freed.claims == claimed.claims
    assert sites == [0, SUSPECT_SITE, SUSPECT_SITE, ALONE_SITE, ALONE_SITE, ALONE_SITE]
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT due_at = 'infinity' AND NOT ready FROM queue")
        told = await store.messages.hold_recipients(connection, [1], [freed.recipient_id], "poison")
        assert [t.events for t in told] == [1]
        assert await connection.fetchval("SELECT state FROM recipients") == "held"


async def test_a_claim_under_way_is_seen_by_the_take_over(database: Database) -> None:
    """The worker's row is locked by its claim: whoever gives it up waits, and then frees what was just claimed."""
    await write(database, a_message())
    worker = await a_worker(database, -1)
    async with database.hot() as claiming, database.hot() as freeing:
        transaction = claiming.transaction()
        await transaction.start()
        assert len(await store.queue.claim(claiming, worker, [Ask(Share(0, 0, 1), EPOCH, 5)])) == 1

        async def take_over() -> list[object]:
            async with freeing.transaction():
                await store.workers.delete_worker(freeing, worker)
                return list(await store.queue.free_rows_of(freeing, [worker]))

        taking = asyncio.create_task(take_over())
        await asyncio.sleep(0.05)
        assert not taking.done()
        await transaction.commit()
        assert len(await taking) == 1


async def test_what_is_in_a_workers_name_but_not_in_its_hands_is_given_back(database: Database) -> None:
    await write(database, a_message("held@x.test"), a_message("stray@x.test"))
    worker, other = await a_worker(database), await a_worker(database)
    held, stray = await claim_all(database, worker)
    async with database.hot() as connection:
        assert await store.queue.release_strays(connection, other, []) == []
        assert await store.queue.release_strays(connection, worker, [held.recipient_id]) == [stray.share]
    (again,) = await claim_all(database, other)
    assert (again.recipient_id, again.claims) == (stray.recipient_id, 1)


async def test_what_is_ready_again_is_ready_since_now(database: Database) -> None:
    """Claims go on from where they were: what came back with its old time would lie behind them."""
    await write(database, a_message())
    worker = await a_worker(database)
    (claimed,) = await claim_all(database, worker)
    async with database.hot() as connection:
        await store.queue.release(connection, worker, [claimed.recipient_id])
        (released,) = await store.queue.claim(connection, worker, [Ask(claimed.share, claimed.due_at, 1)])
        assert released.due_at > claimed.due_at
        await store.workers.delete_worker(connection, worker)
        (freed,) = await store.queue.free_rows_of(connection, [worker])
        assert freed.due_at > released.due_at
