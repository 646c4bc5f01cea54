"""Implicit TLS: who connects and never ends the handshake is counted, has to go for others, and is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from app.smtpd import handshake
from app.store.db import Database
from tests.smtpd.conftest import OpenDoor, open_door
from tests.smtpd.dialogue import Dialogue

_HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01"


async def _silent(door: OpenDoor, octets: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("localhost", door.tls)
    writer.write(octets)
    return reader, writer


async def _until_guests(door: OpenDoor, count: int) -> None:
    async with asyncio.timeout(5):
        while len(door.server.door.crowd.guests) != count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("octets", [b"", _HALF_A_HELLO], ids=["nothing", "half a hello"])
async def test_a_handshake_that_is_never_ended_is_given_up(door: OpenDoor, monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_SECONDS", 0.3)
    began = time.monotonic()
    reader, writer = await _silent(door, octets)
    await _until_guests(door, 1)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert time.monotonic() - began >= 0.25
    await _until_guests(door, 0)
    writer.close()


async def test_what_is_no_handshake_ends_it(door: OpenDoor) -> None:
    reader, writer = await _silent(door, b"EHLO client\r\n")
    async with asyncio.timeout(5):
        await reader.read()
    await _until_guests(door, 0)
    writer.close()


async def test_a_client_that_goes_before_its_handshake_is_over_leaves_nothing(door: OpenDoor) -> None:
    _, writer = await _silent(door, _HALF_A_HELLO)
    await _until_guests(door, 1)
    writer.transport.abort()
    await _until_guests(door, 0)


async def test_silent_connections_drive_out_each_other_and_not_who_logs_in(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path, submission_connections=3) as door:
        known = await Dialogue.log_in(door, implicit=True)
        silent = [await _silent(door) for _ in range(20)]
        # The last two are left; the others were closed for them, without a word.
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in silent[:18]] == [b""] * 18
        assert len(door.server.door.crowd.guests) == 3
        good = await Dialogue.log_in(door, implicit=True)
        assert (await good.ask("NOOP")).startswith("250 ")
        assert (await known.ask("NOOP")).startswith("250 ")
        for client in (known, good):
            await client.close()
        for _, writer in silent:
            writer.close()


async def test_one_address_has_so_many_handshakes_and_no_more(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path, submission_connections_per_address=2) as door:
        silent = [await _silent(door) for _ in range(10)]
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in silent[:8]] == [b""] * 8
        assert len(door.server.door.crowd.guests) == 2
        for _, writer in silent:
            writer.close()


async def test_a_stop_does_not_wait_for_handshakes(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path) as door:
        reader, writer = await _silent(door, _HALF_A_HELLO)
        await _until_guests(door, 1)
        began = time.monotonic()
    assert time.monotonic() - began < 1.5
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):  # half a hello was never read
            assert await reader.read() == b""
    writer.close()
