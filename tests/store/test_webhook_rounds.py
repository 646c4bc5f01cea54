"""The statements of a webhook round: what a look for work reads, and what a round's end costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import store
from app.store.db import Database
from app.store.events import Cursor
from app.store.webhook_rounds import DownRule, RoundResult
from tests.events.webhook_house import House, Told

# Of this transaction, and of earlier ones of the connection that were not reported yet.
_EVENTS_READ = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname LIKE 'events%'"


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


async def _read_to_the_end(house: House, told: Told) -> None:
    await house.row(
        "UPDATE webhook_endpoints SET (cursor_xid, cursor_id) = (SELECT xid, id FROM events ORDER BY xid DESC, id DESC LIMIT 1)"
        " WHERE id = $1 RETURNING id",
        told.endpoint_id,
    )


async def test_a_look_for_work_reads_no_events_that_were_told(house: House) -> None:
    told = await house.subscribe("http://127.0.0.1:1/")
    await house.happen(told, 2000)
    await _read_to_the_end(house, told)
    worker = await house.add_worker()
    async with house.database.hot() as connection:
        assert await store.webhook_owners.claim_endpoints(connection, worker) == [told.endpoint_id]
        await connection.execute("ANALYZE events")
        async with connection.transaction():
            before = await connection.fetchval(_EVENTS_READ)
            assert await store.webhook_rounds.find_due_endpoints(connection, worker, []) == []
            assert await connection.fetchval(_EVENTS_READ) - before < 10
    await house.happen(told, 1)
    async with house.database.hot() as connection:
        assert await store.webhook_rounds.find_due_endpoints(connection, worker, []) == [told.endpoint_id]
        assert await store.webhook_rounds.find_due_endpoints(connection, worker, [told.endpoint_id]) == []


async def test_a_round_does_not_wait_for_the_disk_and_the_connection_does_again(house: House) -> None:
    told = await house.subscribe("http://127.0.0.1:1/")
    worker = await house.add_worker()
    result = RoundResult(
        endpoint_id=told.endpoint_id, account_id=told.account_id, owner=worker, cursor=Cursor("1", told.endpoint_id), success=True,
        failures=0, rest_seconds=None, error=None, disabled_reason=None, given_up=0, taken=[], retries=[],
    )  # fmt: skip
    async with house.database.hot() as connection:
        assert not await store.webhook_owners.owns_any(connection, worker)
        await store.webhook_owners.claim_endpoints(connection, worker)
        assert await store.webhook_owners.owns_any(connection, worker)
        async with connection.transaction():
            assert await store.webhook_rounds.settle_round(connection, result, DownRule(20, 5.0, 300.0, 86400.0, 259200.0), 1.0)
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await store.webhook_rounds.settle_round(connection, result, DownRule(20, 5.0, 300.0, 86400.0, 259200.0), 1.0)
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
