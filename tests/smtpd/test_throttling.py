"""Guessing and rates across SMTP processes: two sets of log-ins, one Valkey; and what is left when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from app.accounts.smtp_credentials import SmtpCredential
from app.smtpd.login import FAILURES_PER_NAME, FAILURES_PER_NETWORK, FAILURES_PER_PLACE, Logins
from app.smtpd.rates import Rates
from app.smtpd.replies import Refusal
from app.tally import Tally
from tests.smtpd.conftest import OpenDoor

HERE, THERE = "192.0.2.1", "198.51.100.9"


@pytest.fixture
async def tallies(redis_url: str) -> AsyncIterator[tuple[Tally, Tally]]:
    """Of two processes."""
    two = Tally(redis_url), Tally(redis_url)
    yield two
    for each in two:
        await each.close()


def _logins(door: OpenDoor, tallies: tuple[Tally, Tally]) -> tuple[Logins, Logins]:
    first, second = (Logins(door.credentials, each, refusal_seconds=0) for each in tallies)
    return first, second


async def _guess(logins: Logins, user: str, address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Refusal, match="535"):
            await logins.verify(user, "wrong", address, address)


async def test_guesses_from_an_address_count_in_all_processes(door: OpenDoor, tallies: tuple[Tally, Tally]) -> None:
    first, second = _logins(door, tallies)
    await _guess(first, "smtp-nobody000000", HERE, FAILURES_PER_PLACE // 2)
    await _guess(second, door.user, HERE, FAILURES_PER_PLACE // 2)
    for logins in (first, second):
        # The same word whether the user name is there or not, and the right password is not looked at.
        for user in (door.user, "smtp-nobody000000"):
            with pytest.raises(Refusal, match=r"454 4\.7\.0 Too many wrong passwords from your address"):
                await logins.verify(user, door.password, HERE, HERE)
    assert await second.verify(door.user, door.password, THERE, THERE)


async def test_the_owner_gets_in_at_another_process_while_others_hammer_the_name(door: OpenDoor, tallies: tuple[Tally, Tally]) -> None:
    user, password = await door.new_credential()
    first, second = _logins(door, tallies)
    assert await first.verify(user, password, HERE, HERE)
    for number in range(FAILURES_PER_NAME):
        await _guess((first, second)[number % 2], user, f"10.{number}.0.1", 1)
    with pytest.raises(Refusal, match=r"454 .* for this user name"):
        await first.verify(user, password, "10.99.0.1", "10.99.0.1")
    assert await second.verify(user, password, HERE, HERE), "it logged in at the other process, hours ago"


async def test_the_owner_gets_in_from_a_network_that_only_postgresql_remembers(door: OpenDoor, tallies: tuple[Tally, Tally]) -> None:
    user, password = await door.new_credential()
    async with door.database.hot() as connection:
        await connection.execute(
            "INSERT INTO smtp_credential_networks (credential, network, first_seen_at)"
            " VALUES ($1, '203.0.113.0/24', now() - interval '3 days')",
            user,
        )
    first, second = _logins(door, tallies)
    for number in range(FAILURES_PER_NAME):
        await _guess(first, user, f"10.{number}.0.1", 1)
    with pytest.raises(Refusal, match="454"):
        await second.verify(user, password, "10.99.0.1", "10.99.0.1")
    assert await second.verify(user, password, "203.0.113.7", "203.0.113.7")


async def test_a_network_that_guesses_from_many_addresses_is_not_heard(door: OpenDoor, tallies: tuple[Tally, Tally]) -> None:
    first, second = _logins(door, tallies)
    for number in range(FAILURES_PER_NETWORK):
        await _guess(first, f"smtp-{number:012}", f"172.16.7.{number}", 1)
    with pytest.raises(Refusal, match=r"454 .* your address"):
        await second.verify(door.user, door.password, "172.16.7.200", "172.16.7.200")
    assert await second.verify(door.user, door.password, "172.16.8.1", "172.16.8.1")


async def test_each_no_is_slower_and_names_make_no_difference(door: OpenDoor) -> None:
    seconds: dict[str, list[float]] = {}
    for user, address in ((door.user, "10.1.1.1"), ("smtp-nobody000000", "10.2.2.2")):
        logins = Logins(door.credentials, door.tally, refusal_seconds=0.02)
        for _ in range(6):
            began = time.monotonic()
            await _guess(logins, user, address, 1)
            seconds.setdefault(user, []).append(time.monotonic() - began)
    for measured in seconds.values():
        for slept, least in zip(measured, (0.02, 0.04, 0.08, 0.16, 0.32, 0.32), strict=True):
            assert least <= slept < least + 0.1


async def test_a_rate_is_one_for_all_processes(door: OpenDoor, tallies: tuple[Tally, Tally]) -> None:
    user, _ = await door.new_credential(recipients_per_minute=40)
    credential = await door.credentials.find(user)
    assert credential is not None
    first, second = Rates(tallies[0]), Rates(tallies[1])
    taken = await _take_all(first, credential) + await _take_all(second, credential)
    assert 40 <= taken <= 42


async def _take_all(rates: Rates, credential: SmtpCredential) -> int:
    taken = 0
    while taken < 1000:
        try:
            await rates.take(credential)
        except Refusal:
            break
        taken += 1
    return taken


async def test_valkey_away_costs_a_second_once_and_nothing_else(door: OpenDoor) -> None:
    # A port that takes connections and says nothing is worse than one that is closed.
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    tally = Tally(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0")
    logins = Logins(door.credentials, tally, refusal_seconds=0)
    began = time.monotonic()
    assert await logins.verify(door.user, door.password, HERE, HERE)
    assert time.monotonic() - began < 2.0
    began = time.monotonic()
    await _guess(logins, "smtp-nobody000000", "10.3.3.3", FAILURES_PER_PLACE)
    with pytest.raises(Refusal, match="454"):
        await logins.verify(door.user, door.password, "10.3.3.3", "10.3.3.3")
    assert time.monotonic() - began < 1.0
    await tally.close()
    silent.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()
