"""What senders are owed is written with the fate, by what they asked for; and taken so that no two tell it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from app import store
from app.store.db import Database
from app.store.ids import new_id
from app.store.owed_reports import OwedKind, TakenReport
from app.store.states import RecipientState
from app.store.suppressions import NewSuppression
from tests.builders import a_message, a_settlement, a_worker, claim_all, write

AT_ONCE = dict.fromkeys(OwedKind, 0.0)
FROM = {"from": "shop@sender.test"}
TELLS = FROM | {"tells_failures": True}


async def owed(database: Database) -> list[tuple[str, str]]:
    async with database.hot() as connection:
        rows = await connection.fetch(
            "SELECT r.address, o.kind FROM owed_reports o JOIN recipients r ON r.id = o.recipient_id ORDER BY r.id, o.kind"
        )
    return [tuple(row) for row in rows]


async def settled(database: Database, asked: dict[str, object] | None, *states: str, recipients: int = 1) -> None:
    """A message whose recipients all get these states, one after the other."""
    message = a_message(*(f"r{n}@x.test" for n in range(recipients)))
    for recipient in message.recipients:
        recipient.dsn = orjson.dumps(asked).decode() if asked is not None else None
    worker = await a_worker(database)
    await write(database, message)
    for state in states:
        claimed = await claim_all(database, worker)
        now = datetime.now(UTC)
        due_at = now if state == "deferred" else None
        async with database.hot() as connection:
            await store.settlement.settle(connection, [a_settlement(worker, c, RecipientState(state), due_at=due_at) for c in claimed])
            await store.queue.promote_due(connection, 100)


async def take(database: Database, *, seconds: float = 60.0, waits: dict[OwedKind, float] = AT_ONCE, most: int = 100) -> TakenReport | None:
    async with database.hot() as connection:
        return await store.owed_reports.take_report(connection, waits, new_id(), most=most, seconds=seconds)


@pytest.mark.parametrize(
    ("asked", "states", "kinds"),
    [
        (TELLS, ["bounced"], ["failure"]),
        (TELLS, ["expired"], ["failure"]),
        (TELLS, ["failed"], ["failure"]),
        (TELLS, ["suppressed"], ["failure"]),
        (TELLS, ["delivered"], []),
        (TELLS, ["deferred"], []),
        (TELLS, ["held"], []),
        (None, ["bounced"], []),
        (FROM | {"ret": "FULL"}, ["bounced"], []),
        (TELLS | {"from": ""}, ["bounced"], []),
        (TELLS | {"notify": ["NEVER"]}, ["bounced"], []),
        (TELLS | {"notify": ["SUCCESS"]}, ["bounced"], []),
        (FROM | {"notify": ["FAILURE"]}, ["bounced"], ["failure"]),
        (FROM | {"notify": ["DELAY", "FAILURE", "SUCCESS"]}, ["bounced"], ["failure"]),
        (FROM | {"notify": ["SUCCESS"]}, ["delivered"], ["success"]),
        (FROM | {"notify": ["DELAY"]}, ["deferred"], ["delay"]),
        (FROM | {"notify": ["DELAY"]}, ["deferred", "deferred"], ["delay"]),
        (FROM | {"notify": ["DELAY", "SUCCESS"]}, ["deferred", "delivered"], ["delay", "success"]),
        (FROM | {"notify": ["FAILURE", "SUCCESS"]}, ["deferred"], []),
    ],
)
async def test_what_is_owed(database: Database, asked: dict[str, object] | None, states: list[str], kinds: list[str]) -> None:
    await settled(database, asked, *states)
    assert [kind for _, kind in await owed(database)] == kinds


async def test_a_delay_that_was_told_is_not_owed_again(database: Database) -> None:
    asked = FROM | {"notify": ["DELAY"]}
    await settled(database, asked, "deferred")
    report = await take(database)
    assert report is not None
    async with database.hot() as connection:
        await store.owed_reports.delete_report(connection, report)
    worker = await a_worker(database)
    (claimed,) = await claim_all(database, worker)
    async with database.hot() as connection:
        await store.settlement.settle(connection, [a_settlement(worker, claimed, RecipientState.DEFERRED, due_at=datetime.now(UTC))])
    assert await owed(database) == []


async def test_a_zombies_word_owes_nothing(database: Database) -> None:
    message = a_message()
    message.recipients[0].dsn = orjson.dumps(TELLS).decode()
    zombie = await a_worker(database)
    await write(database, message)
    (claimed,) = await claim_all(database, zombie)
    async with database.hot() as connection:
        await store.queue.free_rows_of(connection, [zombie])
        await store.settlement.settle(connection, [a_settlement(zombie, claimed, RecipientState.BOUNCED)])
    assert await owed(database) == []


async def test_suppressed_at_the_door(database: Database) -> None:
    message = a_message("gone@x.test", "here@x.test", "quiet@x.test")
    for recipient, asked in zip(message.recipients, (TELLS, TELLS, TELLS | {"notify": ["NEVER"]}), strict=True):
        recipient.dsn = orjson.dumps(asked).decode()
    async with database.hot() as connection:
        rows = [NewSuppression(1, "*", address, "manual", None) for address in ("gone@x.test", "quiet@x.test")]
        await store.suppressions.add_suppressions(connection, rows)
    await write(database, message)
    assert await owed(database) == [("gone@x.test", "failure")]


async def test_a_late_bounce_owes_a_failure_beside_the_success(database: Database) -> None:
    await settled(database, FROM | {"notify": ["FAILURE", "SUCCESS"]}, "delivered")
    async with database.hot() as connection:
        recipient_id = await connection.fetchval("SELECT id FROM recipients")
        assert await store.settlement.bounce_late(connection, 1, recipient_id, "reported after delivery", None) is not None
        assert await store.settlement.bounce_late(connection, 1, recipient_id, "reported after delivery", None) is None
    assert [kind for _, kind in await owed(database)] == ["failure", "success"]


async def test_one_report_takes_all_of_its_message(database: Database) -> None:
    await settled(database, TELLS, "bounced", recipients=5)
    await settled(database, TELLS, "bounced", recipients=2)
    first, second = await take(database), await take(database)
    assert first is not None and second is not None
    assert sorted((len(first.recipient_ids), len(second.recipient_ids))) == [2, 5]
    assert first.message_id != second.message_id
    assert await take(database) is None


async def test_what_was_taken_is_taken_again_as_the_same_report(database: Database) -> None:
    await settled(database, TELLS, "bounced", recipients=3)
    first = await take(database, seconds=0.0, most=2)
    rest = await take(database)  # what is owed for longer goes before
    again = await take(database)
    assert first is not None and again == replace(first, tries=2)
    assert rest is not None and rest.id != first.id
    assert not set(rest.recipient_ids) & set(first.recipient_ids)


async def test_nobody_takes_what_another_takes(database: Database) -> None:
    for _ in range(10):
        await settled(database, TELLS, "bounced", recipients=3)
    found = [report for report in await asyncio.gather(*(take(database) for _ in range(8))) if report is not None]
    while (report := await take(database)) is not None:
        found.append(report)
    told = [recipient for report in found for recipient in report.recipient_ids]
    assert len(told) == len(set(told)) == 30


async def test_each_kind_waits_for_its_own_time(database: Database) -> None:
    waits = {OwedKind.FAILURE: 0.0, OwedKind.DELAY: 3600.0, OwedKind.SUCCESS: 0.0}
    await settled(database, FROM | {"notify": ["DELAY"]}, "deferred")
    assert await take(database, waits=waits) is None
    async with database.hot() as connection:
        await connection.execute("UPDATE owed_reports SET due_at = $1", datetime.now(UTC) - timedelta(hours=1))
    report = await take(database, waits=waits)
    assert report is not None and report.kind is OwedKind.DELAY
    assert await take(database, waits=waits) is None


async def test_what_is_given_back_is_gathered_anew(database: Database) -> None:
    await settled(database, TELLS, "bounced")
    report = await take(database)
    assert report is not None
    async with database.hot() as connection:
        await store.owed_reports.give_back(connection, report, 0.0)
    again = await take(database)
    assert again is not None and again.id != report.id
    async with database.hot() as connection:
        await store.owed_reports.give_back(connection, again, 60.0)
    assert await take(database) is None


async def test_a_restored_backup_tells_nothing_twice(database: Database) -> None:
    await settled(database, FROM | {"notify": ["DELAY", "SUCCESS"]}, "deferred", "delivered")
    async with database.hot() as connection:
        await store.owed_reports.forget_due(connection)
    assert [kind for _, kind in await owed(database)] == ["delay"]
