"""What is kept of credentials' habits: hours add up, busiest is the past, old things go."""

from __future__ import annotations

from app import store
from app.store.credential_habits import Sent
from app.store.db import Database


async def test_the_last_hour_slides_and_is_no_measure_for_itself(database: Database) -> None:
    async with database.hot() as connection:
        await connection.execute(
            "INSERT INTO smtp_credential_hours (credential, hour, recipients, elsewhere, strangers)"
            " SELECT 'smtp-a', date_trunc('hour', now(), 'UTC') - make_interval(hours => n), 100 * n, 0, n FROM generate_series(1, 3) n"
        )
        await store.credential_habits.add_sent(connection, [Sent("smtp-b", 7, 7, 7), Sent("smtp-a", 10, 4, 2)])
        await store.credential_habits.add_sent(connection, [Sent("smtp-a", 5, 1, 1)])
        kept = await store.credential_habits.read_habits(connection, "smtp-a")
    assert (kept.busiest_recipients, kept.busiest_strangers) == (300, 3)
    assert 15 <= kept.last_recipients <= 115
    assert kept.last_elsewhere == 5
    assert 3 <= kept.last_strangers <= 4


async def test_circles_of_processes_become_one(database: Database) -> None:
    one, two = bytes(8191) + b"\x01", b"\x80" + bytes(8191)
    async with database.hot() as connection:
        assert await store.credential_habits.read_circle(connection, "smtp-a") is None
        for bits in (one, two):
            await store.credential_habits.widen_circles(connection, [("smtp-a", bits)])
        assert await store.credential_habits.read_circle(connection, "smtp-a") == b"\x80" + bytes(8190) + b"\x01"


async def test_old_habits_go_but_a_silent_credential_is_not_new(database: Database) -> None:
    async with database.hot() as connection:
        await connection.execute(
            "INSERT INTO smtp_credential_networks (credential, network, first_seen_at, last_seen_at) VALUES"
            " ('smtp-a', 'old', now() - interval '99 days', now() - interval '90 days'),"
            " ('smtp-a', 'newer', now() - interval '99 days', now() - interval '80 days')"
        )
        await connection.execute(
            "INSERT INTO smtp_credential_hours (credential, hour, recipients, elsewhere, strangers)"
            " VALUES ('smtp-a', now() - interval '15 days', 1, 0, 0)"
        )
    async with database.transaction() as connection:
        assert await store.credential_habits.drop_old_habits(connection) == 2
    async with database.hot() as connection:
        kept = await store.credential_habits.read_habits(connection, "smtp-a")
    assert [each.network for each in kept.networks] == ["newer"]


async def test_a_credential_has_one_open_incident(database: Database) -> None:
    async with database.hot() as connection:
        first, is_new = await store.incidents.open_incident(connection, 1, "smtp-a", "volume", None)
        again, is_new_again = await store.incidents.open_incident(connection, 1, "smtp-a", "another", "192.0.2.0/24")
        assert (is_new, is_new_again) == (True, False)
        assert again == first
        assert await store.incidents.decide_incident(connection, 2, "smtp-a", "release", "key") is None, "another account's"
        assert await store.incidents.decide_incident(connection, 1, "smtp-a", "release", "key") is not None
        (taken,) = await store.incidents.take_decided(connection)
        assert taken.id == first.id
        await store.incidents.finish_incidents(connection, [first.id], 0)
        assert await store.incidents.take_decided(connection) == []
        _, is_new = await store.incidents.open_incident(connection, 1, "smtp-a", "volume", None)
        assert is_new
