"""What the accepting statement writes, and what it leaves out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app import store
from app.store.db import Database
from app.store.states import INITIAL, RecipientState
from app.store.suppressions import NewSuppression
from tests.builders import a_message, write

_TUPLES_READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname ~ '^(recipients|messages)_'
"""


async def test_every_table_gets_its_rows(database: Database) -> None:
    message = a_message("one@x.test", "two@y.test", body=b"word " * 4000)
    written = await write(database, message)
    assert [(r.id, r.state, r.site_id) for r in written] == [(r.id, RecipientState.READY, 0) for r in message.recipients]
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM queue WHERE ready AND owner IS NULL AND due_at <= now()") == 2
        assert await connection.fetchval("SELECT subject FROM messages WHERE account_id = 1 AND id = $1", message.id) == "Your order"
        content = await store.messages.load_content(connection, [1], [message.id], message.purge_on)
        assert content == [(1, message.id, message.head, message.body, None, None)]
        loaded = await store.deliverables.load_deliverables(connection, [1, 1], [r.id for r in message.recipients])
        assert {d.address for d in loaded} == {"one@x.test", "two@y.test"}


async def test_recipients_far_apart_are_loaded_without_reading_those_between(database: Database) -> None:
    recipients = await write(database, *[a_message() for _ in range(600)])
    wanted = [row.id for row in recipients[::30]]
    async with database.hot() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        read_before = await connection.fetchval(_TUPLES_READ)
        loaded = await store.deliverables.load_deliverables(connection, [1] * len(wanted), wanted)
        read = await connection.fetchval(_TUPLES_READ) - read_before
    assert {found.recipient_id for found in loaded} == set(wanted)
    assert read <= 4 * len(wanted)


async def test_a_taken_key_leaves_the_whole_submission_out(database: Database) -> None:
    first = a_message(idempotency_key="k", body_hash=b"1")
    again = a_message(idempotency_key="k", body_hash=b"2")
    other = a_message(account_id=2, idempotency_key="k", body_hash=b"3")
    assert len(await write(database, first)) == 1
    written = await write(database, again, other)
    assert [store.ids.message_of(r.id) for r in written] == [other.id]
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM content") == 2
        uses = await store.idempotency.find_key_uses(connection, [1], ["k"])
        assert [(u.message_id, u.body_hash) for u in uses] == [(first.id, b"1")]


async def test_the_same_key_twice_in_one_group_is_taken_once(database: Database) -> None:
    twins = [a_message(idempotency_key="k", body_hash=b"1") for _ in range(3)]
    assert len(await write(database, *twins)) == 1


async def test_suppressed_recipients_begin_and_end_there(database: Database) -> None:
    async with database.hot() as connection:
        await store.suppressions.add_suppressions(
            connection,
            [
                NewSuppression(1, "*", "gone@x.test", "invalid_mailbox", None),
                NewSuppression(1, "transactional", "gone@x.test", "asked", None),
                NewSuppression(1, "bulk", "one@x.test", "unsubscribed", None),
                NewSuppression(2, "*", "two@x.test", "another account's", None),
            ],
        )
    message = a_message("Gone@x.test", "one@x.test", "two@x.test")
    written = {r.id: r for r in await write(database, message)}
    states = [written[r.id].state for r in message.recipients]
    assert states == [RecipientState.SUPPRESSED, RecipientState.READY, RecipientState.READY]
    assert all(state in INITIAL for state in states)
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM queue") == 2
        assert await connection.fetchval("SELECT reason FROM recipients WHERE state = 'suppressed'") in {"invalid_mailbox", "asked"}


async def test_scheduled_mail_waits_for_its_time(database: Database) -> None:
    send_at = datetime.now(UTC) + timedelta(hours=3)
    written = await write(database, a_message(send_at=send_at))
    assert written[0].state is RecipientState.SCHEDULED
    async with database.hot() as connection:
        assert await connection.fetchrow("SELECT ready, due_at FROM queue") == (False, send_at)
        assert await store.queue.promote_due(connection, 10) == []
        await connection.execute("UPDATE queue SET due_at = now()")
        assert len(await store.queue.promote_due(connection, 10)) == 1


async def test_the_site_of_a_known_domain_goes_with_the_row(database: Database) -> None:
    async with database.hot() as connection:
        ids = await store.sites.keep_domain_sites(connection, {"x.test": "mx.x.test", "w.test": "mx.x.test"})
    assert ids["x.test"] == ids["w.test"]
    written = await write(database, a_message("one@x.test", '"odd@local"@w.test', "two@unknown.test"))
    assert [r.site_id for r in sorted(written, key=lambda r: r.id)] == [ids["x.test"], ids["x.test"], 0]


@pytest.mark.parametrize("field", ["subject", "rfc_message_id"])
async def test_what_postgresql_refuses_refuses_the_group(database: Database, field: str) -> None:
    with pytest.raises(Exception, match=r"0x00|null character"):
        await write(database, a_message(), a_message(**{field: "a\0b"}))
    async with database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM messages") == 0
