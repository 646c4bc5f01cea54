"""The SMTP door over real sockets, with a real database for credentials and a double behind it that keeps what is handed in.

door     a started server, one per module: its ports, a credential, and `taken`, what reached the intake
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app import store
from app.accounts.credentials import Sender
from app.accounts.first import ensure_first_account
from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook, Wish, check_wish, create_smtp_credential
from app.config import Settings
from app.embedded import EmbeddedServers
from app.feedback.arrivals import Arrivals
from app.intake.raw import RawSubmission
from app.intake.submit import Receipt
from app.jobs import Wakes
from app.keyring import Keyring
from app.smtpd.certificate import Certificate, development_certificate
from app.smtpd.login import Logins
from app.smtpd.server import Listeners, SmtpServer
from app.store.db import Database
from app.tally import Tally

_numbers = itertools.count(1)


@dataclass
class OpenDoor:
    server: SmtpServer
    tally: Tally
    database: Database
    keyring: Keyring
    credentials: SmtpCredentialBook
    account_id: int
    starttls: int
    tls: int
    returns: int
    user: str
    password: str
    certificate: Path
    taken: list[tuple[Sender, RawSubmission]] = field(default_factory=list)
    # What the double does instead of taking a message.
    answer: Callable[[], Awaitable[None]] | None = None

    async def submit(self, sender: Sender, raw: RawSubmission) -> Receipt:
        if self.answer is not None:
            await self.answer()
        self.taken.append((sender, raw))
        return Receipt(store.ids.new_message_id(), "<id@shop.example.test>", ())

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    async def new_credential(self, **wish: Any) -> tuple[str, str]:
        async with self.database.transaction() as connection:
            row, password = await create_smtp_credential(connection, self.keyring, self.account_id, check_wish(Wish("test", **wish)))
        return row.id, password


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """A blocking client, beside the server's loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


@contextlib.asynccontextmanager
async def open_door(database: Database, directory: Path, **overrides: Any) -> AsyncIterator[OpenDoor]:
    keyring = Keyring.load_or_create(directory / "keyring.json")
    first = await ensure_first_account(database, keyring, domain="shop.example.test")
    # No Valkey: what one test counts is nothing to the next.
    settings = Settings(
        redis_url="unix:///nowhere/valkey", helo_name="localhost", max_message_bytes=1024 * 1024, max_recipients=50
    ).model_copy(update=overrides)
    certificate = development_certificate(directory, "localhost")
    credentials = SmtpCredentialBook(database, keyring)

    async def submit(sender: Sender, raw: RawSubmission) -> Receipt:
        return await opened.submit(sender, raw)

    wakes = Wakes(settings.redis_url)
    arrivals = Arrivals(database, wakes, keyring, settings)
    guard = Guard(database, credentials, wakes, first_allowance=settings.submission_first_allowance)
    tally = Tally(settings.redis_url)
    server = SmtpServer(settings, submit, credentials, Certificate(certificate, None), arrivals, guard, tally, refusal_seconds=0.01)
    listeners = Listeners.open("127.0.0.1", (0,), (0,), (0,))
    ports = [each.getsockname()[1] for each in (*listeners.starttls, *listeners.tls, *listeners.returns)]
    opened = OpenDoor(server, tally, database, keyring, credentials, first.account_id, ports[0], ports[1], ports[2], "", "", certificate)
    opened.user, opened.password = await opened.new_credential()
    await server.start(listeners)
    yield opened
    await server.close(2.0)
    listeners.close()


@pytest.fixture(scope="module")
async def shared_door(servers: EmbeddedServers, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenDoor]:
    name = f"smtp_{next(_numbers)}"
    database = Database(servers.create_database(name, template))
    async with open_door(database, tmp_path_factory.mktemp("door")) as opened:
        yield opened
    await database.close()
    servers.drop_database(name)


@pytest.fixture
async def door(shared_door: OpenDoor) -> OpenDoor:
    """The module's door, with nothing left of the test before."""
    shared_door.taken.clear()
    shared_door.answer = None
    shared_door.server.door.logins = Logins(shared_door.credentials, shared_door.tally, refusal_seconds=0.01)
    return shared_door
