"""A client of a running inbox, and the key records that the inbox finds."""

from __future__ import annotations

import asyncio
import json
import smtplib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
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

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox

    async def send(self, raw: bytes, *, to: Sequence[str] = ("jane@example.net",), mail_from: str = "shop@shop.example.test") -> None:
        def converse() -> None:
            with smtplib.SMTP("127.0.0.1", self.inbox.smtp_port, timeout=10) as connection:
                connection.sendmail(mail_from, list(to), raw)

        await asyncio.to_thread(converse)

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.inbox.http_port}{path}", method=method, headers=named)

        def ask() -> Answer:
            try:
                answer = urllib.request.urlopen(request, timeout=20)
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())

        return await asyncio.to_thread(ask)

    async def newest(self) -> Any:
        """The newest message, opened."""
        messages = (await self.get("/api/messages?limit=1")).json["messages"]
        return (await self.get(f"/api/messages/{messages[0]['id']}")).json


async def find_key(selector: str, domain: str) -> str | None:
    return RECORDS.get((selector, domain))
