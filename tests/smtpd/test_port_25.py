"""Port 25: the course of a message from another host, and how it is refused. What becomes of such mail: tests/flows/test_coming_back.py."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Throttled, Unavailable
from app.feedback.reports import Taken
from app.mail.inbound_trace import Origin
from app.smtpd.door import ReturnDoor
from tests.smtpd.conftest import OpenDoor
from tests.smtpd.dialogue import Dialogue

AWAY = Unavailable("The database is not reachable.", retry_after_seconds=2)


class _Books:
    """Instead of feedback.arrivals: every address is somebody's, unless `error` is raised."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.fate = Taken.RECORDED
        self.taken: list[tuple[Origin, bytes]] = []

    async def find(self, address: str) -> Any:
        if self.error is not None and address.startswith("away"):
            raise self.error
        return address if address.endswith("@x.test") else None

    async def take(self, _destination: Any, origin: Origin, raw: bytes) -> Taken:
        if self.error is not None:
            raise self.error
        self.taken.append((origin, raw))
        return self.fate


@pytest.fixture
def books(door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> _Books:
    made = _Books()
    returns: ReturnDoor = door.server.return_door
    monkeypatch.setattr(returns, "find", made.find)
    monkeypatch.setattr(returns, "take", made.take)
    return made


async def test_the_course_of_a_message(door: OpenDoor, books: _Books) -> None:
    host = await Dialogue.open(door, port=door.returns)
    too_large = door.server.return_door.most_bytes + 1
    for command, reply in (
        ("MAIL FROM:<mx@x.test>", "503 5.5.1 Say EHLO first"),
        ("HELO mx.x.test", "250 2.0.0 localhost"),
        ("AUTH PLAIN", "502 5.5.1"),
        ("RCPT TO:<ada@x.test>", "503 5.5.1 Say MAIL FROM first"),
        ("DATA", "503 5.5.1 Say MAIL FROM first"),
        (f"MAIL FROM:<mx@x.test> SIZE={too_large}", f"552 5.3.4 The message has {too_large} octets"),
        ("MAIL FROM:<mx@x.test>", "250 2.1.0"),
        ("MAIL FROM:<mx@x.test>", "503 5.5.1 There is a message under way"),
        ("DATA", "503 5.5.1 There is no recipient yet"),
        ("RCPT TO:<ada@y.test>", "550 5.1.1"),
        ("RCPT TO:<ada@x.test>", "250 2.1.5"),
        ("RCPT TO:<bob@x.test>", "250 2.1.5"),
        ("DATA now", "501 5.5.4"),
        ("DATA", "354"),
        ("Subject: x\r\n\r\n..\r\n.", "250 2.0.0"),
        ("DATA", "503 5.5.1 Say MAIL FROM first"),
    ):
        assert (await host.ask(command)).startswith(reply), command
    assert [(origin.sender, origin.helo, raw) for origin, raw in books.taken] == [
        ("mx@x.test", "mx.x.test", b"Subject: x\r\n\r\n.\r\n")
    ] * 2
    await host.close()


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (AWAY, "451 4.3.0 The database is not reachable. Try again in 2 s."),
        (Throttled("Too fast.", retry_after_seconds=7), "451 4.7.1 Too fast. Try again in 7 s."),
        (ConnectionRefusedError(), "451 4.3.0 The database is not reachable. Try again in 2 s."),
        (RuntimeError("a secret"), "421 4.3.0 Something went wrong here: try again later"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_refusals_of_the_house(door: OpenDoor, books: _Books, error: Exception, reply: str) -> None:
    room = door.server.return_door.room.left
    host = await Dialogue.open(door, port=door.returns)
    await host.ask("EHLO mx.x.test")
    books.error = error
    for command in ("MAIL FROM:<>", "RCPT TO:<ada@x.test>", "DATA"):
        assert (await host.ask(command))[:3] in {"250", "354"}
    assert await host.ask("Subject: x\r\n\r\n.") == reply
    if not reply.startswith("421"):
        books.error = None
        for command in ("MAIL FROM:<>", "RCPT TO:<ada@x.test>", "DATA", "Subject: x\r\n\r\n."):
            assert (await host.ask(command))[:3] in {"250", "354"}
    assert door.server.return_door.room.left == room
    await host.close()


async def test_an_address_that_nobody_can_be_asked_for_comes_again(door: OpenDoor, books: _Books) -> None:
    host = await Dialogue.open(door, port=door.returns)
    await host.ask("EHLO mx.x.test")
    await host.ask("MAIL FROM:<>")
    books.error = AWAY
    assert await host.ask("RCPT TO:<away@x.test>") == "451 4.3.0 The database is not reachable. Try again in 2 s."
    assert await host.ask("RCPT TO:<ada@x.test>") == "250 2.1.5 OK"
    await host.close()


async def test_what_is_not_settled_yet_comes_again(door: OpenDoor, books: _Books) -> None:
    host = await Dialogue.open(door, port=door.returns)
    books.fate = Taken.LATER
    for command in ("EHLO mx.x.test", "MAIL FROM:<>", "RCPT TO:<ada@x.test>", "DATA"):
        await host.ask(command)
    assert (await host.ask("Subject: x\r\n\r\n.")).startswith("451 4.3.0 The mail that this is about is not settled yet")
    await host.close()
