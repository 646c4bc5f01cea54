"""Loading what was claimed: with the reason of a suppression that came since, found by the primary key however large the list is."""

from __future__ import annotations

import pytest

from app import store
from app.store.db import Database
from app.store.suppressions import NewSuppression
from tests.builders import a_message, write


async def load(database: Database, *messages: store.submissions.NewMessage) -> dict[str, str | None]:
    recipients = await write(database, *messages)
    async with database.hot() as connection:
        await store.suppressions.add_suppressions(
            connection,
            [
                NewSuppression(1, "*", "everywhere@x.test", "invalid_mailbox", None),
                NewSuppression(1, "bulk", "news@x.test", "unsubscribe", None),
                NewSuppression(1, "bulk", "b\u00fccher@x.test", "unsubscribe", None),
                NewSuppression(2, "*", "other@x.test", "manual", None),
            ],
        )
        found = await store.deliverables.load_deliverables(connection, [r.account_id for r in recipients], [r.id for r in recipients])
    return {one.address: one.suppressed_for for one in found}


async def test_the_reason_is_of_the_account_and_the_stream(database: Database) -> None:
    addresses = ("everywhere@x.test", "News@x.test", "B\u00dcCHER@x.test", "other@x.test", "\u00e9@x.test")
    assert await load(database, a_message(*addresses, stream="bulk")) == {
        "everywhere@x.test": "invalid_mailbox",
        "News@x.test": "unsubscribe",
        "B\u00dcCHER@x.test": "unsubscribe",
        "other@x.test": None,
        "\u00e9@x.test": None,
    }


async def test_another_stream_is_not_asked(database: Database) -> None:
    assert await load(database, a_message("everywhere@x.test", "News@x.test")) == {
        "everywhere@x.test": "invalid_mailbox",
        "News@x.test": None,
    }


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", [store.deliverables._LOAD, store.suppressions._REASONS])
async def test_a_long_list_is_looked_up_by_its_key(database: Database, statement: str, mode: str, analyzed: bool) -> None:
    (row,) = await write(database, a_message())
    message_id = store.ids.message_of(row.id)
    loading = statement == store.deliverables._LOAD
    values = ([1], [row.id], [message_id], message_id, row.id) if loading else ([1], ["one@x.test"], ["bulk"])
    async with database.hot() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        if analyzed:
            await connection.execute(
                "INSERT INTO suppressions (account_id, stream, address, reason)"
                " SELECT 1, 'bulk', 'r' || n || '@x.test', 'import' FROM generate_series(1, 5000) n"
            )
            await connection.execute("ANALYZE suppressions")
        plan = "\n".join(line[0] for line in await connection.fetch(f"EXPLAIN {statement}", *values))
    scan = plan[plan.index("pk_suppressions") :].splitlines()
    assert "Index Cond" in scan[1]
    assert "address = " in scan[1]
    assert "stream = " in scan[1]
