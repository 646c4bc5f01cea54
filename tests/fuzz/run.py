"""A server with a double behind it, many sessions at once, and a verdict."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from app import log, store
from app.accounts.credentials import Sender
from app.accounts.guard import Guard, Passage
from app.accounts.smtp_credentials import SmtpCredential, SmtpCredentialBook
from app.config import Settings
from app.feedback.arrivals import Arrivals
from app.intake.raw import RawSubmission
from app.intake.submit import Receipt
from app.smtpd.certificate import Certificate, development_certificate
from app.smtpd.login import Standing
from app.smtpd.server import Listeners, SmtpServer
from app.tally import Tally
from tests.fuzz.sessions import Plan, Seen, hold_session, make_plan

USER, PASSWORD = "smtp-fuzzfuzzfuzz", "the right one"
_AT_ONCE = 20


class _NoArrivals:
    """In the place of the return paths: no mail comes back here."""

    def find(self, _address: str) -> None:
        return None

    async def take(self, _address: object, _raw: bytes) -> None:
        raise AssertionError("nothing was found")


class _OneCredential:
    """In the place of the book: no database."""

    async def find(self, user_name: str) -> SmtpCredential | None:
        if user_name != USER:
            return None
        return SmtpCredential(USER, Sender(1, USER, frozenset({"messages:send"})), (), (), None, True, None, 1, b"")

    async def verify(self, user_name: str, password: str) -> SmtpCredential | None:
        return await self.find(user_name) if password == PASSWORD else None

    async def was_used_from(self, _user_name: str, _network: str) -> bool:
        return True

    def disguise(self, _user_name: str) -> str:
        return ""


class _NoGuard:
    """In the place of the guard: nothing is unusual here."""

    async def admit(self, credential: SmtpCredential, _address: str, _recipients: list[str]) -> Passage:
        return Passage(credential.user_name)

    def give_back(self, _passage: Passage) -> None:
        pass

    def note(self, _passage: Passage, _recipient_ids: list[Any]) -> None:
        pass


class _NoTally:
    """In the place of the counts: Valkey is away."""

    async def read(self, _names: list[str]) -> None:
        return None

    async def count(self, _names: list[str], _seconds: int) -> None:
        return None

    async def remember(self, _seconds_by_name: dict[str, int]) -> None:
        return None


@dataclass(slots=True)
class Verdict:
    sessions: int = 0
    accepted: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


async def fuzz(sessions: int, seed: int, *, first: int = 0) -> Verdict:
    """Hold so many sessions of a seed; what was wrong stands in the verdict."""
    verdict, failures = Verdict(sessions), list[BaseException]()
    untold, unheard = set[bytes](), 0  # messages; ends of data in sessions of which not all replies were heard
    began = time.monotonic()

    async def submit(_sender: Sender, raw: RawSubmission) -> Receipt:
        await asyncio.sleep(0)
        if b"\0" in raw.raw or raw.raw.count(b"\n") != raw.raw.count(b"\r\n") or raw.raw.count(b"\r") != raw.raw.count(b"\r\n"):
            verdict.wrong.append(f"line ends: {raw.raw[:200]!r}")
        message_id = store.ids.new_message_id()
        untold.add(store.ids.public_id("msg", message_id).encode())
        return Receipt(message_id, "<x@shop.test>", ())

    kept = log.smtp_session_failed
    log.smtp_session_failed = lambda _peer, error: failures.append(error)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: failures.append(context.get("exception") or RuntimeError(context["message"])))
    try:
        with tempfile.TemporaryDirectory() as directory:
            certificate = development_certificate(Path(directory), "localhost")
            settings = Settings(helo_name="localhost", max_message_bytes=256 * 1024)
            book, arrivals = cast(SmtpCredentialBook, _OneCredential()), cast(Arrivals, _NoArrivals())
            guard, tally = cast(Guard, _NoGuard()), cast(Tally, _NoTally())
            server = SmtpServer(settings, submit, book, Certificate(certificate, None), arrivals, guard, tally, refusal_seconds=0)

            # Everybody comes from one address here, and guesses.
            async def refuse_nobody(*_guest: object) -> Standing:
                return Standing(0, is_known=True)

            cast(Any, server.door.logins)._refuse_guessers = refuse_nobody
            listeners = Listeners.open("127.0.0.1", (0,), (0,))
            await server.start(listeners)
            ports = [each.getsockname()[1] for each in (*listeners.starttls, *listeners.tls)]
            trusting = ssl.create_default_context(cafile=str(certificate))
            numbers = iter(range(first, first + sessions))

            async def hold_many() -> None:
                nonlocal unheard
                for number in numbers:
                    plan = make_plan(number, seed, USER, PASSWORD)
                    seen = await hold_session(plan, *ports, trusting)
                    verdict.wrong += [f"session {number}: {fault}" for fault in _faults(plan, seen, untold)]
                    verdict.accepted += len(seen.accepted)
                    untold.difference_update(seen.accepted)
                    unheard += 0 if seen.heard_all else plan.ends_of_data + 1

            await asyncio.gather(*(hold_many() for _ in range(_AT_ONCE)))
            await asyncio.sleep(0.1)
            await server.close(2.0)
            await asyncio.sleep(0.1)
            listeners.close()
            if len(untold) > unheard:
                verdict.wrong.append(f"{len(untold)} messages taken that nobody was told of, with {unheard} ends of data unheard")
            if server.door.crowd.guests:
                kept_open = [(vars(guest)["is_private"], guest.transport) for guest in cast(set[Any], server.door.crowd.guests)]
                verdict.wrong.append(f"sessions that never ended: {kept_open}")
            if server.door.room.left != settings.submission_bytes:
                verdict.wrong.append("memory of content was not given back")
    finally:
        log.smtp_session_failed = kept
        loop.set_exception_handler(None)
    verdict.wrong += [f"failed: {failure!r}" for failure in failures]
    verdict.seconds = time.monotonic() - began
    return verdict


def _faults(plan: Plan, seen: Seen, untold: set[bytes]) -> list[str]:
    faults = []
    if seen.hung:
        faults.append("hung")
    if seen.failed:
        faults.append("the server said that something went wrong")
    if len(set(seen.accepted)) != len(seen.accepted) or not untold.issuperset(seen.accepted):
        faults.append("told of a message that was not taken")
    if len(seen.accepted) > plan.ends_of_data + 1:  # and the one that ends the session
        faults.append(f"{len(seen.accepted)} messages taken, {plan.ends_of_data} ends of data sent")
    if seen.accepted and not plan.logs_in:
        faults.append("taken without the right password")
    return faults
