"""Clients that are slow on purpose: they cost good ones nothing, and have an end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from app.store.db import Database
from tests.smtpd.conftest import OpenDoor, open_door
from tests.smtpd.dialogue import Dialogue

_MAIL = b"MAIL FROM:<orders@shop.example.test>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n"


async def _seconds_for_messages(door: OpenDoor, count: int) -> float:
    """Sessions with one message each, one after the other: the middle one of their times."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        client = await Dialogue.log_in(door)
        client.write(_MAIL)
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        client.write(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        await client.close()
        times.append(time.perf_counter() - began)
    return sorted(times)[count // 2]


async def test_good_clients_beside_a_thousand_slow_ones(door: OpenDoor) -> None:
    """Each slow client says an octet now and then, on a connection of its own, from the same address as the good ones."""
    alone = await _seconds_for_messages(door, 15)
    slow = [await asyncio.open_connection("127.0.0.1", door.starttls) for _ in range(1000)]

    async def drip() -> None:
        while True:
            for _, writer in slow:
                if not writer.is_closing():
                    writer.write(b"E")
                await asyncio.sleep(0.01)  # each of them once in ten seconds

    dripping = asyncio.create_task(drip())
    beside = await _seconds_for_messages(door, 15)
    dripping.cancel()
    for _, writer in slow:
        writer.transport.abort()
    await asyncio.sleep(0.05)
    # The bar is twice as long; on a machine that does other things too a pause of its own must not be blamed on them.
    assert beside < 2 * alone + 0.05, (alone, beside)
    assert len(door.server.door.crowd.guests) <= 1


async def test_a_client_that_sends_an_octet_at_a_time_is_heard(door: OpenDoor) -> None:
    client = await Dialogue.log_in(door)
    for octet in _MAIL + b"Subject: slow\r\n\r\n.\x2e dots\r\n.\r\n":
        client.write(bytes([octet]))
        await asyncio.sleep(0)
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    assert door.taken[0][1].raw == b"Subject: slow\r\n\r\n. dots\r\n"
    await client.close()


async def test_silence_and_sessions_without_log_in_have_an_end(database: Database, tmp_path: Path) -> None:
    limits = {"submission_login_seconds": 0.5, "submission_idle_seconds": 0.3, "submission_session_seconds": 1.0}
    async with open_door(database, tmp_path, **limits) as door:
        silent = await Dialogue.open(door)
        assert (await silent.reply(2.0)).startswith("421 4.4.2")
        chatty = await Dialogue.open(door)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while (await chatty.ask("NOOP")).startswith("250"):
                await asyncio.sleep(0.05)
        assert 0.4 < time.monotonic() - began < 1.5
        # In the middle of DATA, octet by octet: who sends so slowly says nothing.
        dripping = await Dialogue.log_in(door)
        dripping.write(_MAIL)
        assert [(await dripping.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        began = time.monotonic()
        while not dripping.writer.transport.is_closing() and time.monotonic() - began < 3:
            dripping.write(b"x")
            await asyncio.sleep(0.05)
        assert (await dripping.reply()).startswith("421 4.4.2")
        assert 0.2 < time.monotonic() - began < 2.0
        assert door.taken == []
        for client in (silent, chatty, dripping):
            await client.close()


async def test_stopping_lets_messages_under_way_be_answered(database: Database, tmp_path: Path) -> None:
    async with open_door(database, tmp_path) as door:
        idle, sending = await Dialogue.log_in(door), await Dialogue.log_in(door)
        sending.write(_MAIL)
        assert [(await sending.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        closing = asyncio.create_task(door.server.close(5.0))
        assert (await idle.reply()).startswith("421 4.3.2")
        await asyncio.sleep(0.05)
        sending.write(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert [(await sending.reply())[:9] for _ in range(2)] == ["250 2.0.0", "421 4.3.2"]
        await closing
        assert len(door.taken) == 1
        assert not door.server.door.crowd.guests
        await idle.close()
        await sending.close()
