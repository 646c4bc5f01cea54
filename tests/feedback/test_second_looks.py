"""Second looks on a real database: a crowd, what a kill leaves, a run again, and who is not looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from prometheus_client import REGISTRY

from app import store
from app.feedback import second_looks
from app.feedback.hits import Hit, Hits
from app.feedback.second_looks import look_again, look_at_span
from app.jobs import Wakes
from app.mail.tokens import TokenKind
from app.store.db import CONNECTION_ERRORS, Database
from app.store.tries import MOST_TRIES
from tests.builders import a_message, a_settlement, a_worker, an_attempt, claim_all, write

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36"
SCANNER, HOME = "198.51.100.7", "203.0.113.7"


@pytest.fixture
def wakes(redis_url: str) -> Wakes:
    return Wakes(redis_url)


async def delivered(database: Database, count: int, at: datetime, account_id: int = 1) -> list[UUID]:
    """Recipients, each of a message of its own, all delivered then."""
    worker = await a_worker(database)
    await write(database, *[a_message(account_id=account_id) for _ in range(count)])
    claimed = await claim_all(database, worker, account_id=account_id)
    async with database.hot() as connection:
        settled = [
            a_settlement(worker, one, attempt=an_attempt(id=store.ids.new_id(at.timestamp() + n / 1e6), total_ms=0))
            for n, one in enumerate(claimed)
        ]
        await store.settlement.settle(connection, settled)
    return sorted(one.recipient_id for one in claimed)


def a_click(recipient_id: UUID, at: datetime, link: str = "a", **fields: Any) -> Hit:
    values: dict[str, Any] = {"account_id": 1, "url": f"https://shop.example/{link}", "machine": None, "agent": BROWSER, "ip": SCANNER}
    return Hit(kind=TokenKind.CLICK, recipient_id=recipient_id, at=at, **(values | fields))


async def hit(database: Database, wakes: Wakes, hits: Sequence[Hit]) -> None:
    """As at the door; due at once."""
    line, before = Hits(database, wakes, 0.0), dropped()
    for one in hits:
        line.note(one)
    await line.close()
    assert dropped() == before


def dropped() -> float:
    return REGISTRY.get_sample_value("staffetta_hits_dropped_total") or 0.0


async def test_what_finds_no_room_in_the_line_is_counted(database: Database, wakes: Wakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.feedback.hits._MOST_WAITING", 2)
    line, before = Hits(database, wakes, 0.0), dropped()
    for _ in range(5):
        line.note(a_click(store.ids.new_id(), datetime.now(UTC)))
    assert dropped() == before + 3


async def said(database: Database, account_id: int = 1) -> list[dict[str, Any]]:
    """The corrections, in order."""
    async with database.hot() as connection:
        rows = await connection.fetch(
            "SELECT about, number, facts::text FROM events WHERE type = 'message.reclassed' AND account_id = $1 ORDER BY about, number",
            account_id,
        )
    return [{"about": row[0], "number": row[1], **orjson.loads(row[2])} for row in rows]


async def marks(database: Database, recipient_id: UUID) -> tuple[datetime | None, datetime | None, int]:
    async with database.hot() as connection:
        row = await connection.fetchrow("SELECT opened_at, clicked_at, events FROM recipients WHERE id = $1", recipient_id)
    return row[0], row[1], row[2]


async def make_due(database: Database) -> None:
    async with database.hot() as connection:
        await connection.execute("UPDATE second_looks SET due_at = now() WHERE NOT seen")


async def test_a_crowd_is_seen_whole_and_accounts_are_apart(database: Database, wakes: Wakes, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC) - timedelta(minutes=5)
    recipients = await delivered(database, 6, now)
    (elsewhere,) = await delivered(database, 1, now, account_id=2)
    at = now + timedelta(seconds=20)
    hits = [a_click(one, at + timedelta(seconds=0.3 * n)) for n, one in enumerate(recipients)]
    person = a_click(recipients[0], at + timedelta(seconds=40), ip=HOME)
    await hit(database, wakes, [*hits, person, a_click(elsewhere, at, account_id=2)])
    # One at a time: those that were seen are still company.
    monkeypatch.setattr(second_looks, "AT_ONCE", 1)
    while await look_again(database, wakes):
        pass
    found = await said(database)
    assert await said(database, 2) == []
    machines = [one for one in found if one["by"] == "machine"]
    assert [one["about"] for one in machines] == recipients
    assert {one["machine_reason"] for one in machines} == {"crowd"}
    (first,) = [one for one in found if one["by"] == "person"]
    assert (first["about"], first["first"], first["was_first"]) == (recipients[0], True, False)
    assert (await marks(database, recipients[0]))[1] == person.at
    assert (await marks(database, recipients[1]))[1] is None

    # The same rules on the same hits say nothing new, and what is not of the span is company still.
    begin = datetime.now(UTC) - timedelta(hours=1)
    assert await look_at_span(database, 1, begin, datetime.now(UTC)) == 7
    assert await look_again(database, wakes) == 0  # in half a minute
    await make_due(database)
    while await look_again(database, wakes):
        pass
    assert await said(database) == found


async def test_who_is_killed_leaves_it_to_the_next_one(database: Database, wakes: Wakes, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipient,) = await delivered(database, 1, datetime.now(UTC) - timedelta(minutes=5))
    at = datetime.now(UTC) - timedelta(minutes=3)
    await hit(database, wakes, [a_click(recipient, at + timedelta(seconds=0.2 * n), str(n)) for n in range(3)])
    before = await marks(database, recipient)
    assert before[1] == at

    async def die(connection: Any, _taken: Any) -> None:
        """All is written but the end, and the connection is gone, as when a worker is killed."""
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patch:
        patch.setattr(store.second_looks, "end_looks", die)
        with pytest.raises(CONNECTION_ERRORS):
            await look_again(database, wakes)
    assert (await said(database), await marks(database, recipient)) == ([], before)
    assert await look_again(database, wakes) == 3
    assert await look_again(database, wakes) == 0
    found = await said(database)
    assert [(one["event_number"], one["by"], one["first"]) for one in found] == [(n, "machine", False) for n in (2, 3, 4)]
    assert await marks(database, recipient) == (None, None, before[2] + 3)
    assert [one["number"] for one in found] == [before[2] + 1, before[2] + 2, before[2] + 3]


async def test_several_workers_say_it_once(database: Database, wakes: Wakes, monkeypatch: pytest.MonkeyPatch) -> None:
    recipients = await delivered(database, 20, datetime.now(UTC) - timedelta(minutes=5))
    at = datetime.now(UTC) - timedelta(minutes=3)
    # Of each recipient in several hands at a time.
    hits = [a_click(one, at + timedelta(seconds=0.1 * n), str(n)) for n in range(4) for one in recipients]
    await hit(database, wakes, hits)
    monkeypatch.setattr(second_looks, "AT_ONCE", 7)

    async def look() -> int:
        return sum([taken async for taken in _until_nothing(database, wakes)])

    assert sum(await asyncio.gather(*(look() for _ in range(4)))) == len(hits)
    found = await said(database)
    assert len({(one["about"], one["event_number"]) for one in found if one["by"] == "machine"}) == len(hits)
    assert sum(one["first"] - one["was_first"] for one in found) == -len(recipients)
    assert len({(one["about"], one["number"]) for one in found}) == len(found)
    assert {(await marks(database, one))[1] for one in recipients} == {None}


async def spoil(database: Database, recipient_id: UUID) -> None:
    """No judge can read what was told of its click."""
    async with database.hot() as connection:
        await connection.execute("UPDATE events SET facts = '{}' WHERE about = $1 AND type = 'message.clicked'", recipient_id)


async def looks_of(database: Database, recipient_id: UUID) -> Any:
    query = "SELECT seen, tries, due_at, now() AS now FROM second_looks WHERE recipient_id = $1"
    async with database.hot() as connection:
        return await connection.fetchrow(query, recipient_id)


async def test_one_that_cannot_be_judged_holds_up_nobody(database: Database, wakes: Wakes) -> None:
    now = datetime.now(UTC) - timedelta(minutes=5)
    recipients = await delivered(database, 6, now)
    at = now + timedelta(seconds=20)
    await hit(database, wakes, [a_click(one, at + timedelta(seconds=0.3 * n)) for n, one in enumerate(recipients)])
    poison, innocent = recipients[0], recipients[1:]
    await spoil(database, poison)
    assert await look_again(database, wakes) == 6
    assert [one["about"] for one in await said(database)] == innocent  # a crowd
    assert await look_again(database, wakes) == 0
    waits = []
    for tries in range(1, MOST_TRIES):
        row = await looks_of(database, poison)
        assert (row["seen"], row["tries"]) == (False, tries)
        waits.append(round((row["due_at"] - row["now"]) / timedelta(minutes=1)))
        await make_due(database)
        assert await look_again(database, wakes) == 1
    assert waits == [1, 4, 16, 64, 240, 240, 240]
    async with database.hot() as connection:
        due = await store.second_looks.read_due(connection)
        # What is company of another is not due, and what nobody came back for goes with its history.
        assert await store.tries.drop_given_up(connection, history_days=1) == 0
    assert (due.rows, due.given_up) == (0, 1)
    assert (await looks_of(database, poison))["due_at"].year == 9999
    assert await look_again(database, wakes) == 0
    async with database.hot() as connection:
        await store.second_looks.drop_seen(connection)

    # Who has mended the fault has it looked at anew.
    async with database.hot() as connection:
        told = {"by": "person", "first": True, "at": at.isoformat(), "ip": SCANNER, "user_agent": BROWSER}
        query = "UPDATE events SET facts = $2::text::json WHERE about = $1 AND type = 'message.clicked'"
        await connection.execute(query, poison, orjson.dumps(told).decode())
    assert await look_at_span(database, 1, datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)) == 6
    await make_due(database)
    assert await look_again(database, wakes) == 6
    assert {one["about"] for one in await said(database)} == set(recipients)


async def test_what_was_given_up_is_dropped_with_its_history(database: Database, wakes: Wakes) -> None:
    (recipient,) = await delivered(database, 1, datetime.now(UTC) - timedelta(minutes=5))
    await hit(database, wakes, [a_click(recipient, datetime.now(UTC) - timedelta(minutes=3))])
    async with database.hot() as connection:
        await connection.execute("UPDATE second_looks SET due_at = 'infinity'")
        assert await store.tries.drop_given_up(connection, history_days=1) == 0
        assert await store.tries.drop_given_up(connection, history_days=0) == 1


async def _until_nothing(database: Database, wakes: Wakes) -> AsyncIterator[int]:
    while taken := await look_again(database, wakes):
        yield taken


async def test_a_head_is_told_to_nobody_and_gives_its_asker_away(database: Database, wakes: Wakes) -> None:
    (recipient,) = await delivered(database, 1, datetime.now(UTC) - timedelta(minutes=5))
    at = datetime.now(UTC) - timedelta(minutes=3)
    await hit(database, wakes, [a_click(recipient, at, machine="method", head=True), a_click(recipient, at + timedelta(seconds=1))])
    assert await look_again(database, wakes) == 2
    assert [one["machine_reason"] for one in await said(database)] == ["head first"]
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE type = 'message.clicked'") == 1
        # Nothing is kept for longer than it is company.
        assert await connection.fetchval("SELECT count(*) FROM second_looks WHERE seen") == 2
        await connection.execute("UPDATE second_looks SET due_at = now()")
        await store.second_looks.drop_seen(connection)
        assert await connection.fetchval("SELECT count(*) FROM second_looks") == 0
    # Who looks again has no HEAD any more, and takes nothing back.
    assert await look_at_span(database, 1, at - timedelta(hours=1), datetime.now(UTC)) == 1
    await make_due(database)
    assert await look_again(database, wakes) == 1
    assert len(await said(database)) == 1


async def test_who_is_hit_without_end_is_not_looked_at(database: Database, wakes: Wakes) -> None:
    (recipient,) = await delivered(database, 1, datetime.now(UTC) - timedelta(minutes=5))
    at = datetime.now(UTC) - timedelta(minutes=3)
    await hit(database, wakes, [a_click(recipient, at + timedelta(milliseconds=n), str(n)) for n in range(store.second_looks.MOST_EVENTS)])
    while await look_again(database, wakes):
        pass
    assert await said(database) == []


async def test_a_hit_that_is_gone_holds_up_no_other(database: Database, wakes: Wakes) -> None:
    """Its correction may be there still: history is dropped by the day that it was written."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    gone, there = await delivered(database, 2, now)
    await hit(database, wakes, [a_click(one, now + timedelta(seconds=1)) for one in (gone, there)])
    assert await look_again(database, wakes) == 2
    told = await said(database)
    assert [(one["about"], one["by"]) for one in told] == [(gone, "machine"), (there, "machine")]
    async with database.hot() as connection:
        await connection.execute("DELETE FROM events WHERE type = 'message.clicked' AND about = $1", gone)
        await connection.execute("UPDATE second_looks SET seen = false, due_at = now()")
    assert await look_again(database, wakes) == 2
    assert await said(database) == told
