"""A client that says what a test wants it to say, octet by octet."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Self

from tests.smtpd.conftest import OpenDoor

_LAST_LINE = re.compile(rb"\d{3} ")


class Dialogue:
    """One connection; replies are read whole, as text without CRLF."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: OpenDoor) -> None:
        self.reader = reader
        self.writer = writer
        self._door = door
        self._raw = writer.transport  # a change to TLS that fails leaves it open

    @classmethod
    async def open(cls, door: OpenDoor, *, implicit: bool = False, port: int | None = None) -> Self:
        """Connected and greeted; under TLS already when `implicit`."""
        context = door.trusting if implicit else None
        reader, writer = await asyncio.open_connection("localhost", port or (door.tls if implicit else door.starttls), ssl=context)
        opened = cls(reader, writer, door)
        assert (await opened.reply()).startswith("220 ")
        return opened

    @classmethod
    async def log_in(cls, door: OpenDoor, *, implicit: bool = False, user: str = "", password: str = "") -> Self:
        opened = await cls.open(door, implicit=implicit)
        if not implicit:
            await opened.begin_tls()
        assert "AUTH PLAIN LOGIN" in await opened.ask("EHLO client")
        assert (await opened.ask(f"AUTH PLAIN {plain(user or door.user, password or door.password)}")).startswith("235 ")
        return opened

    async def begin_tls(self) -> None:
        await self.ask("EHLO client")
        assert (await self.ask("STARTTLS")).startswith("220 ")
        await self.shake_hands()

    async def shake_hands(self) -> None:
        # A transport knows its streams by their protocol: a StreamReader keeps reading through the change.
        await self.writer.start_tls(self._door.trusting, server_hostname="localhost")

    def write(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def reply(self, seconds: float = 5.0) -> str:
        """The next reply; "" when the server closed the connection."""
        lines = []
        async with asyncio.timeout(seconds):
            while True:
                try:
                    line = await self.reader.readline()
                except ConnectionError:
                    line = b""
                lines.append(line.rstrip(b"\r\n").decode())
                if not line or _LAST_LINE.match(line):
                    return "\n".join(lines)

    async def ask(self, command: str) -> str:
        self.write(command.encode() + b"\r\n")
        return await self.reply()

    async def rest(self, seconds: float = 5.0) -> list[str]:
        """All replies until the server closes."""
        replies = []
        while reply := await self.reply(seconds):
            replies.append(reply)
        return replies

    async def close(self) -> None:
        self.writer.transport.abort()
        self._raw.abort()


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
