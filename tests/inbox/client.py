"""A client of a running inbox, and the key records that the inbox finds."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.inbox import Inbox

RECORDS: dict[tuple[str, str], str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def text(self) -> str:
        return self.content.decode()


class Client:
    """Talks to an inbox from a thread, as any program would."""

    def __init__(self, smtp_port: int, http_port: int) -> None:
        self.smtp_port = smtp_port
        self.http_port = http_port

    async def send(self, raw: bytes, *, to: Sequence[str] = ("jane@example.net",), mail_from: str = "shop@shop.example.test") -> None:
        def converse() -> None:
            with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as connection:
                connection.sendmail(mail_from, list(to), raw)

        await asyncio.to_thread(converse)

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method=method, headers=named)

        def ask() -> Answer:
            try:
                answer = urllib.request.urlopen(request, timeout=20)
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())

        return await asyncio.to_thread(ask)

    async def is_up(self) -> bool:
        try:
            return (await self.get("/healthz")).status == 200
        except OSError:
            return False

    async def newest(self) -> Any:
        """The newest message, opened."""
        messages = (await self.get("/api/messages?limit=1")).json["messages"]
        return (await self.get(f"/api/messages/{messages[0]['id']}")).json


async def find_key(selector: str, domain: str) -> str | None:
    return RECORDS.get((selector, domain))


def client_of(inbox: Inbox) -> Client:
    return Client(inbox.smtp_port, inbox.http_port)


def start_process(directory: Path, *, smtp_port: int, http_port: int, **settings: str) -> subprocess.Popen[bytes]:
    """`run(Settings())` in a process of its own."""
    settings |= {"inbox_directory": str(directory), "inbox_smtp_port": str(smtp_port), "inbox_http_port": str(http_port)}
    environment = os.environ | {f"STAFFETTA_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-c", "from app.config import Settings; from app.inbox import run; run(Settings())"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@asynccontextmanager
async def running_process(directory: Path, **settings: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], Client]]:
    """The same once it answers, on free ports; killed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        client = Client(one.getsockname()[1], two.getsockname()[1])
    process = start_process(directory, smtp_port=client.smtp_port, http_port=client.http_port, **settings)
    try:
        deadline = time.monotonic() + 30
        while not await client.is_up():
            assert time.monotonic() < deadline
            assert process.poll() is None
            await asyncio.sleep(0.05)
        yield process, client
    finally:
        process.kill()
        process.communicate()
