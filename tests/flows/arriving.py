"""The SMTP ports of the house, and another host that brings mail to port 25."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook
from app.feedback.arrivals import Arrivals
from app.jobs import Wakes
from app.smtpd.certificate import Certificate, development_certificate
from app.smtpd.server import Listeners, SmtpServer
from app.tally import Tally
from tests.flows.conftest import House


@asynccontextmanager
async def smtp_ports(house: House) -> AsyncIterator[Listeners]:
    """One port for mail programs, with STARTTLS, and one for other hosts."""
    directory = house.settings.keyring_path.parent
    wakes = Wakes(house.settings.redis_url)
    wakes.start()
    arrivals = Arrivals(house.database, wakes, house.keyring, house.settings)
    certificate = Certificate(development_certificate(directory, "localhost"), None)
    credentials = SmtpCredentialBook(house.database, house.keyring)
    guard, tally = Guard(house.database, credentials, wakes, first_allowance=1000), Tally(house.settings.redis_url)
    server = SmtpServer(house.settings, house.intake.submit_raw, credentials, certificate, arrivals, guard, tally)
    listeners = Listeners.open("127.0.0.1", (0,), (), (0,))
    await server.start(listeners)
    yield listeners
    await server.close(2.0)
    listeners.close()
    await tally.close()
    await wakes.close()


@asynccontextmanager
async def port_25(house: House) -> AsyncIterator[int]:
    async with smtp_ports(house) as listeners:
        yield listeners.returns[0].getsockname()[1]


async def bring(port: int, to: str, raw: bytes, sender: str = "") -> tuple[int, str]:
    """One transaction of another host; the reply that decided."""

    def talk() -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.ehlo("mx.provider.example")
            for reply in (client.mail(sender), client.rcpt(to)):
                if reply[0] != 250:
                    return reply[0], reply[1].decode()
            code, words = client.data(raw)
            return code, words.decode()

    return await asyncio.to_thread(talk)
