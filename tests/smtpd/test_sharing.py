"""Nobody takes an SMTP door for himself: neither its room for content nor its places, from however many addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import store
from app.config import Settings
from app.smtpd.content import Incoming
from app.smtpd.crowd import Crowd
from app.smtpd.door import Room
from app.smtpd.replies import Refusal
from app.store.db import Database
from tests.smtpd.conftest import open_door
from tests.smtpd.dialogue import Dialogue, plain

PIECE = b"x" * 65536
SETTINGS = Settings()


class _Guest:
    def __init__(self, place: str) -> None:
        self.place = place

    def leave_for_another(self) -> None: ...

    def close_soon(self) -> None: ...

    def abort(self) -> None: ...


def _fill(incoming: Incoming, most_bytes: int) -> None:
    for _ in range(most_bytes // len(PIECE)):
        incoming.take(PIECE)


def test_what_one_host_does_not_finish_leaves_room_for_all_others() -> None:
    room, most = Room(SETTINGS.return_bytes), SETTINGS.inbound_most_bytes
    held = [Incoming(room, "192.0.2.1", most) for _ in range(SETTINGS.return_connections_per_address)]
    for one in held:
        _fill(one, most)
    assert room.left >= SETTINGS.return_bytes // 2
    with pytest.raises(Refusal, match="452"):
        held[-1].whole()
    other = Incoming(room, "198.51.100.1", most)
    _fill(other, most)
    assert len(other.whole()) == most // len(PIECE) * len(PIECE)
    for one in [*held, other]:
        one.give_back()
        one.give_back()
    assert room.left == SETTINGS.return_bytes
    assert not room._held


def test_many_hosts_leave_room_too() -> None:
    room, most = Room(SETTINGS.return_bytes), SETTINGS.inbound_most_bytes
    for number in range(8):
        for _ in range(SETTINGS.return_connections_per_address):
            _fill(Incoming(room, f"192.0.2.{number}", most), most)
    bounce = Incoming(room, "198.51.100.1", SETTINGS.return_most_bytes)
    bounce.take(PIECE)
    assert bounce.whole() == PIECE


def test_who_is_slow_goes_when_there_is_little_room() -> None:
    now, most = 0.0, 16 * len(PIECE)
    room = Room(most)
    slow = Incoming(room, "slow", most, lambda: now)
    slow.take(PIECE)
    now = 300.0
    for _ in range(2):
        slow.take(PIECE)  # nobody needs the room
    quick, last = Incoming(room, "quick", most, lambda: now), Incoming(room, "last", most, lambda: now)
    for _ in range(6):
        quick.take(PIECE)
    assert room.is_scarce
    with pytest.raises(Refusal, match=r"421 4\.4\.2"):
        slow.take(PIECE)
    now = 329.0
    last.take(PIECE[:1000])
    now = 340.0
    quick.take(PIECE[:1000])
    with pytest.raises(Refusal, match=r"421 4\.4\.2"):
        last.take(PIECE[:1000])


def test_one_account_from_many_addresses_leaves_half_of_the_places() -> None:
    most = SETTINGS.submission_connections
    crowd = Crowd(most, SETTINGS.submission_connections_per_address)
    first = [_Guest(f"192.0.2.{number % 20}") for number in range(most // 2 + 1)]
    for guest in first:
        crowd.enter(guest)
    for guest in first[:-1]:
        crowd.introduce(guest, "account 1")
        crowd.introduce(guest, "account 1")
    with pytest.raises(Refusal, match=r"421 4\.3\.2"):
        crowd.introduce(first[-1], "account 1")
    crowd.leave(first[-1])
    for number in range(most // 4):
        guest = _Guest(f"198.51.100.{number % 20}")
        crowd.enter(guest)
        crowd.introduce(guest, "account 2")
    for one in list(crowd.guests):
        crowd.leave(one)
    assert not crowd._held


async def test_a_log_in_that_is_one_too_many_is_told_so_and_another_account_gets_in(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path, submission_connections=4) as door:
        first = [await Dialogue.log_in(door) for _ in range(2)]
        third = await Dialogue.open(door, implicit=True)
        await third.ask("EHLO client")
        assert (await third.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("421 4.3.2 You have 2 connections")
        assert await third.rest() == []
        async with database.transaction() as connection:
            door.account_id = await store.accounts.insert_account(connection, "other")
        user, password = await door.new_credential()
        first.append(await Dialogue.log_in(door, user=user, password=password))
        for client in [*first, third]:
            await client.close()
