"""The feed: nothing is lost between concurrent writers, nothing comes twice, tenants are apart."""

from __future__ import annotations

import asyncio
import random

from app import store
from app.events.record import Event, EventType, Suppressed, record, suppress
from app.store.db import Database
from app.store.events import BEGINNING, Cursor, FeedRow
from tests.builders import a_message, write


def an_event(account_id: int = 1, **facts: object) -> Event:
    return Event(EventType.DELIVERED, account_id, store.ids.recipient_id(store.ids.new_message_id(), 1), 1, dict(facts))


async def read_all(database: Database, after: Cursor | None, limit: int = 7, account_id: int = 1) -> tuple[list[FeedRow], Cursor | None]:
    rows: list[FeedRow] = []
    async with database.hot() as connection:
        while found := (await store.events.read_feed(connection, account_id, after, limit)).rows:
            rows += found
            after = found[-1].cursor
    return rows, after


async def test_a_reader_beside_eight_writers_sees_every_event_once(database: Database) -> None:
    """Transactions overlap and commit in another order than they began: the case in which a plain sequence loses rows."""
    written: list[object] = []
    chance = random.Random(1)

    async def writer() -> None:
        async with asyncio.timeout(30):
            connection = await database.open_hot()
            for _ in range(40):
                async with connection.transaction():
                    event = an_event(n=len(written))
                    await record(connection, [event])
                    await asyncio.sleep(chance.random() / 200)
                written.append(event.about)
            await connection.close()

    async def reader() -> list[FeedRow]:
        rows: list[FeedRow] = []
        after: Cursor | None = None
        while len(rows) < 320:
            fresh, after = await read_all(database, after)
            rows += fresh
            await asyncio.sleep(0.002)
        return rows

    async with asyncio.timeout(60):
        rows, *_ = await asyncio.gather(reader(), *[writer() for _ in range(8)])
    assert sorted(r.about for r in rows) == sorted(written)


async def test_an_uncommitted_event_holds_back_those_after_it(database: Database) -> None:
    async with database.hot() as slow, database.hot() as quick:
        transaction = slow.transaction()
        await transaction.start()
        await record(slow, [first := an_event()])
        async with quick.transaction():
            await record(quick, [second := an_event()])
        assert (await store.events.read_feed(quick, 1, None, 10)).rows == []
        await transaction.commit()
        assert [r.about for r in (await store.events.read_feed(quick, 1, None, 10)).rows] == [first.about, second.about]


async def test_a_row_tells_of_its_message_and_its_recipient(database: Database) -> None:
    message = a_message("one@x.test", tags='["order"]', metadata='{"order":"7"}')
    await write(database, message)
    async with database.hot() as connection, connection.transaction():
        events = [
            Event(EventType.ACCEPTED, 1, message.id, 0, {"recipients": 1}),
            Event(EventType.DELIVERED, 1, message.recipients[0].id, 1, {"code": 250}),
        ]
        await record(connection, events)
    rows, _ = await read_all(database, None)
    by_type = {row.type: row for row in rows}
    assert by_type["message.accepted"].address is None
    delivered = by_type["message.delivered"]
    assert (delivered.address, delivered.stream, delivered.tags, delivered.metadata) == (
        "one@x.test",
        "transactional",
        '["order"]',
        '{"order":"7"}',
    )
    assert delivered.facts == '{"code":250}'


async def test_a_slice_ends_by_octets_and_goes_on_from_there(database: Database) -> None:
    async with database.hot() as connection:
        async with connection.transaction():
            await record(connection, [an_event(text="語" * 1000) for _ in range(7)])  # 3 KB each
            await record(connection, [an_event(text="x" * 20_000), an_event(), an_event()])
        after, slices = BEGINNING, []
        for _ in range(20):
            found, has_more = await store.events.read_feed(connection, 1, after, 100, most_octets=10_000)
            slices.append((len(found), has_more))
            if not has_more:
                break
            after = found[-1].cursor
    assert slices == [(3, True), (3, True), (1, True), (1, True), (2, False)]
    assert len((await read_all(database, None))[0]) == 10


async def test_accounts_read_their_own(database: Database) -> None:
    async with database.hot() as connection, connection.transaction():
        await record(connection, [an_event(1), an_event(2), an_event(2)])
    assert len((await read_all(database, None, account_id=1))[0]) == 1
    assert len((await read_all(database, None, account_id=2))[0]) == 2
    assert len((await read_all(database, None, account_id=3))[0]) == 0


async def test_what_an_event_suppresses_is_written_with_it_once(database: Database) -> None:
    about = store.ids.recipient_id(store.ids.new_message_id(), 1)
    dead = Suppressed(1, "dead@x.test", "invalid_mailbox", about)
    async with database.hot() as connection, connection.transaction():
        await suppress(connection, [dead, Suppressed(2, "dead@x.test", "invalid_domain", about)])
        await suppress(connection, [dead])
        rows = await connection.fetch("SELECT account_id, address, stream, reason FROM suppressions ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, "dead@x.test", "*", "invalid_mailbox"), (2, "dead@x.test", "*", "invalid_domain")]
