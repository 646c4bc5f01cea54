"""The load generator of submission: applications that hand in finished mail over SMTP, from a process of its own.

    python -m tests.house.smtp_load '{"port": 2587, "user": "smtp-…", "password": "…", "sender": "hello@shop.example.test", "count": 1000}'

Each connection does what an application does: STARTTLS (or TLS from the first octet), log-in where there is a user name, then one mail
after the other, each command sent when the one before is answered; with `pipelined` MAIL, RCPT and DATA leave in one write.
After `per_session` mails it says QUIT and begins anew. Closed loop, or open (`rate`): then mails are due by the clock, and a
latency counts from when its mail was due. It says "ready" when all are logged in, and one JSON line at its end (tests.house.load.Outcome).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.house.letters import Letters
from tests.house.load import Outcome

_NO = b"000 the connection is gone"


@dataclass(frozen=True, slots=True)
class SmtpPlan:
    """What to send. Ends after `seconds` or `count` mails."""

    port: int
    sender: str
    user: str = ""
    password: str = ""
    implicit_tls: bool = False
    connections: int = 16
    seconds: float | None = None
    count: int | None = None
    rate: float | None = None
    first: int = 0
    pipelined: bool = False
    per_session: int = 0  # mails of one connection; 0: all
    domain: str = "mail.example"
    attachment_bytes: int = 0
    marks: str | None = None  # a file for "number, sent, answered" of each mail


class _Dialogue(asyncio.Protocol):
    """One connection: octets out, whole replies back."""

    def __init__(self) -> None:
        self._line = b""
        self._replies: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._replies.append(_NO)
        self._wake()

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\r\n")
        self._replies += [line for line in lines if line[3:4] != b"-"]
        self._wake()

    def _wake(self) -> None:
        if self._replies and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def reply(self) -> bytes:
        """The last line of the next reply."""
        while not self._replies:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._replies.pop(0) if self._replies[0] is not _NO else _NO

    async def ask(self, octets: bytes) -> bytes:
        self.transport.write(octets)
        return await self.reply()


class SmtpLoad:
    """One run of a plan."""

    def __init__(self, plan: SmtpPlan) -> None:
        self._plan = plan
        self._letters = Letters(plan.sender, domain=plan.domain, attachment_bytes=plan.attachment_bytes)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._next = plan.first
        self._end = plan.first + plan.count if plan.count is not None else sys.maxsize
        self._latencies: list[float] = []
        self._answers: Counter[str] = Counter()
        self._broken = 0
        self._marks: list[str] = []
        self._began = self._latest = 0.0

    async def run(self) -> Outcome:
        sessions = [await self._open() for _ in range(self._plan.connections)]
        self._letters.make(0)
        print("ready", flush=True)
        cpu, self._began, began_at = time.process_time(), time.perf_counter(), time.time()
        self._latest = self._began + (self._plan.seconds if self._plan.seconds is not None else float("inf"))
        await asyncio.gather(*(self._serve(session) for session in sessions))
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        if self._plan.marks is not None:
            Path(self._plan.marks).write_text("".join(self._marks))
        latencies = sorted(self._latencies) or [0.0]
        accepted = self._answers["250"]
        return Outcome(
            accepted=accepted,
            in_time=accepted,
            answers=dict(self._answers),
            broken=self._broken,
            began_at=began_at,
            ended_at=time.time(),
            seconds=ended - self._began,
            p50_ms=latencies[len(latencies) // 2] * 1000,
            p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * 1000,
            most_ms=latencies[-1] * 1000,
            cpu_ms_each=cpu / max(1, self._next - self._plan.first) * 1000,
        )

    async def _open(self) -> _Dialogue:
        """Connected, encrypted, logged in."""
        plan, loop = self._plan, asyncio.get_running_loop()
        tls = self._tls if plan.implicit_tls else None
        _, session = await loop.create_connection(_Dialogue, "127.0.0.1", plan.port, ssl=tls)
        _expect(await session.reply(), b"220")
        _expect(await session.ask(b"EHLO application.example.test\r\n"), b"250")
        if tls is None:
            _expect(await session.ask(b"STARTTLS\r\n"), b"220")
            session.transport = await loop.start_tls(session.transport, session, self._tls)
            _expect(await session.ask(b"EHLO application.example.test\r\n"), b"250")
        if plan.user:
            secret = base64.b64encode(f"\0{plan.user}\0{plan.password}".encode())
            _expect(await session.ask(b"AUTH PLAIN " + secret + b"\r\n"), b"235")
        return session

    async def _serve(self, session: _Dialogue) -> None:
        sent = 0
        while (number := self._take()) is not None:
            due = await self._until_due(number)
            if due is None:
                break
            if self._plan.per_session and sent and sent % self._plan.per_session == 0:
                await self._leave(session)
                session = await self._open()
            answer = await self._send(session, number)
            sent += 1
            self._note(number, due, answer)
            if answer is _NO:
                return
        await self._leave(session)

    def _take(self) -> int | None:
        if self._next >= self._end or time.perf_counter() >= self._latest:
            return None
        self._next += 1
        return self._next - 1

    async def _until_due(self, number: int) -> float | None:
        """When the mail is due; None when that is after the end."""
        if self._plan.rate is None:
            return time.perf_counter()
        due = self._began + (number - self._plan.first) / self._plan.rate
        if due >= self._latest:
            self._next -= 1
            return None
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return due

    async def _send(self, session: _Dialogue, number: int) -> bytes:
        envelope = (b"MAIL FROM:<%b>\r\n" % self._plan.sender.encode(), b"RCPT TO:<%b>\r\n" % self._letters.recipient(number).encode())
        if self._plan.pipelined:
            session.transport.write(b"".join((*envelope, b"DATA\r\n")))
            answers = [await session.reply() for _ in range(3)]
        else:
            answers = [await session.ask(command) for command in (*envelope, b"DATA\r\n")]
        if not answers[-1].startswith(b"354"):
            return next(answer for answer in answers if not answer.startswith((b"250", b"354")))
        return await session.ask(self._letters.make(number))

    def _note(self, number: int, due: float, answer: bytes) -> None:
        now = time.perf_counter()
        self._answers[answer[:3].decode()] += 1
        if answer is _NO:
            self._broken += 1
        elif answer.startswith(b"250"):
            self._latencies.append(now - due)
            if self._plan.marks is not None:
                at = time.time()
                self._marks.append(f"{number}\t{at - (now - due):.6f}\t{at:.6f}\n")

    @staticmethod
    async def _leave(session: _Dialogue) -> None:
        with contextlib.suppress(OSError):
            await session.ask(b"QUIT\r\n")
        session.transport.close()


def _expect(reply: bytes, code: bytes) -> None:
    if not reply.startswith(code):
        raise RuntimeError(f"expected {code.decode()}, got {reply.decode(errors='replace')}")


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(SmtpLoad(SmtpPlan(**json.loads(sys.argv[1]))).run()))))
