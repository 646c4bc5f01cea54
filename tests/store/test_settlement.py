"""Settling: the owner's word counts, once; a zombie's is kept and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app import store
from app.store.db import Database
from app.store.states import FINAL, TRANSITIONS, RecipientState, may_become
from tests.builders import a_message, a_settlement, a_worker, an_attempt, claim_all, write


async def test_a_final_outcome_leaves_the_queue(database: Database) -> None:
    worker = await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, worker)
    assert (claimed.claims, claimed.attempts) == (1, 0)
    async with database.hot() as connection:
        (settled,) = await store.settlement.settle(connection, [a_settlement(worker, claimed)])
        assert (settled.events, settled.attempts, settled.maybe_sent) == (1, 1, False)
        assert await connection.fetchval("SELECT count(*) FROM queue") == 0
        row = await connection.fetchrow("SELECT state, last_reply, settled_at IS NOT NULL FROM recipients")
        assert tuple(row) == ("delivered", "250 queued", True)
        assert await connection.fetchval("SELECT stale FROM attempts") is False


async def test_deferred_goes_back_with_its_time(database: Database) -> None:
    worker = await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, worker)
    due_at = datetime.now(UTC) + timedelta(minutes=5)
    async with database.hot() as connection:
        await store.settlement.settle(connection, [a_settlement(worker, claimed, RecipientState.DEFERRED, due_at=due_at)])
        row = await connection.fetchrow("SELECT owner, ready, due_at, claims, attempts FROM queue")
        assert tuple(row) == (None, False, due_at, 0, 1)
    assert await claim_all(database, worker) == []


async def test_held_is_never_due(database: Database) -> None:
    worker = await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, worker)
    async with database.hot() as connection:
        await store.settlement.settle(connection, [a_settlement(worker, claimed, RecipientState.HELD, reason="quota")])
        assert await connection.fetchval("SELECT due_at = 'infinity' AND NOT ready FROM queue")
        assert await store.queue.promote_due(connection, 10) == []


async def test_a_zombie_changes_no_state(database: Database) -> None:
    zombie, heir = await a_worker(database), await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, zombie)
    async with database.hot() as connection:
        freed = await store.queue.free_rows_of(connection, [zombie])
        assert [row.maybe_sent for row in freed] == [True]
    (again,) = await claim_all(database, heir)
    async with database.hot() as connection:
        assert await store.settlement.settle(connection, [a_settlement(zombie, claimed)]) == []
        assert await connection.fetchval("SELECT stale FROM attempts") is True
        assert await connection.fetchval("SELECT state FROM recipients") == "ready"
        (settled,) = await store.settlement.settle(connection, [a_settlement(heir, again)])
        assert settled.maybe_sent
        assert await store.settlement.settle(connection, [a_settlement(heir, again)]) == [], "a second settle of one claim"


@pytest.mark.parametrize("zombie_first", [True, False])
async def test_of_two_words_on_one_recipient_in_a_batch_the_owners_counts(database: Database, zombie_first: bool) -> None:
    """A worker that was given up goes on under a new id, and may claim anew what a job of its old one is still about."""
    zombie, heir = await a_worker(database), await a_worker(database)
    await write(database, a_message())
    (late,) = await claim_all(database, zombie)
    async with database.hot() as connection:
        await store.queue.free_rows_of(connection, [zombie])
    (again,) = await claim_all(database, heir)
    deferred = a_settlement(zombie, late, RecipientState.DEFERRED, due_at=datetime.now(UTC) + timedelta(hours=1), facts='{"of":"zombie"}')
    delivered = a_settlement(heir, again, facts='{"of":"heir"}')
    batch = [deferred, delivered] if zombie_first else [delivered, deferred]
    async with database.hot() as connection:
        (settled,) = await store.settlement.settle(connection, batch)
        assert batch[settled.place] is delivered
        assert await connection.fetchval("SELECT count(*) FROM queue") == 0
        row = await connection.fetchrow("SELECT state, events, attempts, next_attempt_at FROM recipients")
        assert tuple(row) == ("delivered", 1, 1, None)
        told = await connection.fetch("SELECT type, number, facts->>'of' FROM events WHERE number > 0")
        assert [tuple(one) for one in told] == [("message.delivered", 1, "heir")]
        tried = await connection.fetch("SELECT worker, outcome, stale FROM attempts ORDER BY worker")
        assert [tuple(one) for one in tried] == [(zombie, "deferred", True), (heir, "delivered", False)]


async def test_a_zombie_brings_no_words_about_who_was_erased(database: Database) -> None:
    zombie, heir = await a_worker(database), await a_worker(database)
    await write(database, a_message("ada@x.test", "bob@x.test"))
    late = await claim_all(database, zombie)
    async with database.hot() as connection:
        await store.queue.free_rows_of(connection, [zombie])
    again = await claim_all(database, heir)
    ada, bob = sorted(one.recipient_id for one in again)
    async with database.hot() as connection:
        await store.settlement.settle(connection, [a_settlement(heir, one, reply="550 no ada@x.test here") for one in again])
        await store.erasure.empty_history(connection, 1, "ada@x.test", [ada])
        words = an_attempt(reply="550 no such person here", mx="ada.example", ip="192.0.2.1")
        late_ones = [a_settlement(zombie, one, attempt=replace(words, id=store.ids.new_id())) for one in late]
        assert await store.settlement.settle(connection, late_ones) == []
        query = "SELECT stale, reply, mx, ip, code FROM attempts WHERE recipient_id = $1 AND stale"
        assert tuple(await connection.fetchrow(query, ada)) == (True, None, None, None, words.code)
        assert tuple(await connection.fetchrow(query, bob)) == (True, words.reply, words.mx, words.ip, words.code)


async def test_a_batch_of_all_kinds(database: Database) -> None:
    worker = await a_worker(database)
    await write(database, *[a_message() for _ in range(6)])
    claimed = await claim_all(database, worker)
    states = [RecipientState(s) for s in ("delivered", "bounced", "deferred", "expired", "failed", "held")]
    batch = [
        a_settlement(worker, c, s, due_at=datetime.now(UTC), **({"attempt": None} if s in {"expired", "failed"} else {}))
        for c, s in zip(claimed, states, strict=True)
    ]
    async with database.hot() as connection:
        assert len(await store.settlement.settle(connection, batch)) == 6
        written = {row[0] for row in await connection.fetch("SELECT state FROM recipients")}
        assert written == {s.value for s in states}
        assert await connection.fetchval("SELECT count(*) FROM attempts") == 4
        assert await connection.fetchval("SELECT count(*) FROM queue") == 2
    assert all(may_become(RecipientState.CLAIMED, state) for state in states)


def test_final_states_are_left_once_at_most() -> None:
    assert {s for s in FINAL if TRANSITIONS[s]} == {RecipientState.DELIVERED}
    assert TRANSITIONS[RecipientState.DELIVERED] == {RecipientState.BOUNCED_LATE}
    assert set(TRANSITIONS) == set(RecipientState)


async def test_a_settlement_whose_answer_was_lost_may_be_written_again(database: Database) -> None:
    worker = await a_worker(database)
    await write(database, a_message())
    (claimed,) = await claim_all(database, worker)
    settlement = a_settlement(worker, claimed)
    async with database.hot() as connection:
        assert len(await store.settlement.settle(connection, [settlement])) == 1
        assert await store.settlement.settle(connection, [settlement]) == []
        assert [row[0] for row in await connection.fetch("SELECT stale FROM attempts")] == [False]
