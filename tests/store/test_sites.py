"""What nobody has placed yet is read in equal parts of the accounts."""

from __future__ import annotations

from collections import Counter

from app import store
from app.store.db import Database
from app.store.sites import FIRST_UNPLACED
from tests.builders import a_message, write


async def test_every_share_has_its_part_and_they_take_turns(database: Database) -> None:
    await write(database, *[a_message(f"u@d{number}.test") for number in range(700)])
    await write(database, a_message("ada@new.test", account_id=2), a_message("bob@new.test", account_id=3, lane_class=1))
    async with database.hot() as connection:
        found = await store.sites.read_unplaced(connection, 500)
    assert Counter(row.account_id for row in found) == {1: 166, 2: 1, 3: 1}
    assert {row.account_id for row in found[:3]} == {1, 2, 3}
    assert [row.domain for row in found if row.account_id == 1] == [f"d{number}.test" for number in range(166)], "oldest first"


async def test_more_shares_than_one_look_takes_have_their_turn_in_the_next(database: Database) -> None:
    await write(database, *[a_message("ada@new.test", account_id=account) for account in range(1, 8) for _ in range(2)])
    async with database.hot() as connection:
        first = await store.sites.read_unplaced(connection, 5)
        assert sorted(row.account_id for row in first) == [1, 2, 3, 4, 5]
        rest = await store.sites.read_unplaced(connection, 5, after=(0, 5))
        assert sorted(row.account_id for row in rest) == [6, 6, 7, 7]
        assert await store.sites.read_unplaced(connection, 5, after=(0, 7)) == []
        await connection.execute("DELETE FROM queue")
        assert await store.sites.read_unplaced(connection, 5, FIRST_UNPLACED) == []
