"""A mail program's newsletter and invoice, over 587 with STARTTLS, to the receiving server: signed, tracked, octets kept."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from app.accounts.domains import DomainBook
from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook, Wish, create_smtp_credential
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.feedback.arrivals import Arrivals
from app.intake.submit import Intake
from app.jobs import Wakes
from app.rendering import Renderer
from app.smtpd.certificate import Certificate, development_certificate
from app.smtpd.server import Listeners, SmtpServer
from app.tally import Tally
from app.watch.metrics import tell_figures
from tests.flows.conftest import DOMAIN, House, until


@pytest.fixture
async def ports(house: House, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The SMTP server in front of the house, wired as `staffetta smtp` does it."""
    wakes, renderer = Wakes(house.settings.redis_url), Renderer(1)
    database = house.database
    intake = Intake(
        database, DomainBook(database, house.keyring), StreamBook(database), TemplateBook(database, renderer), house.settings, wakes
    )
    wakes.start()
    intake.start()
    certificate = development_certificate(tmp_path, "localhost")
    arrivals = Arrivals(database, wakes, house.keyring, house.settings)
    credentials = SmtpCredentialBook(database, house.keyring)
    guard, tally = Guard(database, credentials, wakes, first_allowance=1000), Tally(house.settings.redis_url)
    server = SmtpServer(house.settings, intake.submit_raw, credentials, Certificate(certificate, None), arrivals, guard, tally)
    listeners = Listeners.open("127.0.0.1", (0,), (0,))
    await server.start(listeners)
    async with database.transaction() as connection:
        row, password = await create_smtp_credential(connection, house.keyring, house.account_id, Wish("Outlook"))
    yield {
        "starttls": listeners.starttls[0].getsockname()[1],
        "trusting": ssl.create_default_context(cafile=str(certificate)),
        "login": (row.id, password),
    }
    await server.close(1.0)
    listeners.close()
    await intake.close()
    await renderer.close()
    await tally.close()
    await wakes.close()


async def _send(ports: dict[str, Any], letter: EmailMessage, sender: str, *recipients: str) -> str:
    """Send as a mail program does; the id that the server says, or its refusal."""

    def work() -> str:
        with smtplib.SMTP("localhost", ports["starttls"], timeout=20) as client:
            client.starttls(context=ports["trusting"])
            client.login(*ports["login"])
            client.mail(sender)
            for recipient in recipients:
                client.rcpt(recipient)
            code, words = client.data(letter.as_bytes())
            return f"{code} {words.decode()}"

    return await asyncio.get_running_loop().run_in_executor(None, work)


def _letter(**fields: str) -> EmailMessage:
    letter = EmailMessage()
    head = {"From": f"Shop <orders@{DOMAIN}>", "To": "Ada <ada@x.test>", "Subject": "News and an invoice"}
    for name, value in (head | fields).items():
        letter[name] = value
    letter.set_content("Plain words.")
    letter.add_alternative('<p>News: <a href="https://shop.example.test/sale">sale</a></p>', subtype="html")
    letter.add_attachment(b"%PDF-1.7 invoice", maintype="application", subtype="pdf", filename="invoice.pdf")
    return letter


async def test_a_newsletter_with_an_invoice_arrives_signed_and_with_its_attachment(house: House, ports: dict[str, Any]) -> None:
    said = await _send(ports, _letter(), f"orders@{DOMAIN}", "ada@x.test", "bob@x.test")
    assert said.startswith("250 2.0.0 Accepted as msg_")
    await house.until_states(said.rpartition(" ")[2], "delivered", "delivered")
    assert sorted(dot.recipient for dot in house.sink.dots) == ["ada@x.test", "bob@x.test"]
    for arrived in house.sink.messages:
        assert b"DKIM-Signature:" in arrived
        received = arrived.partition(b"\r\nReceived: ")[2].partition(b"\r\nFrom:")[0]
        assert received.startswith(b"from ") and b"(Staffetta) with ESMTPSA\r\n id msg_" in received
        assert b"127.0.0.1" not in received
        assert b'filename="invoice.pdf"' in arrived


async def test_from_must_be_the_account_s_and_bad_mail_is_told_why(house: House, ports: dict[str, Any]) -> None:
    said = await _send(ports, _letter(From="Boss <boss@other.example>"), f"orders@{DOMAIN}", "ada@x.test")
    assert said.startswith("550 5.7.1 ") and "other.example" in said
    said = await _send(ports, _letter(), "orders@other.example", "ada@x.test")
    assert said.startswith("550 5.7.1 ")
    assert house.sink.messages == []


def _counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_what_the_door_counts_is_shown_by_the_api(house: House, ports: dict[str, Any]) -> None:
    names: dict[str, dict[str, str]] = {
        "staffetta_accepted_messages_total": {},
        "staffetta_accept_seconds_count": {},
        "staffetta_smtp_accepted_total": {"door": "submission"},
        "staffetta_smtp_logins_refused_total": {},
    }
    refused: dict[str, dict[str, str]] = {}
    for code, enhanced in (("535", "5.7.8"), ("550", "5.7.1")):
        refused[code] = {"door": "submission", "code": code, "enhanced": enhanced}
    before = {name: _counted(name, **labels) for name, labels in names.items()}
    refused_before = {code: _counted("staffetta_smtp_refusals_total", **labels) for code, labels in refused.items()}
    assert (await _send(ports, _letter(), f"orders@{DOMAIN}", "ada@x.test")).startswith("250")
    assert (await _send(ports, _letter(From="eve@elsewhere.test"), f"orders@{DOMAIN}", "ada@x.test")).startswith("550")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await _send(ports | {"login": (ports["login"][0], "wrong")}, _letter(), f"orders@{DOMAIN}", "ada@x.test")
    assert {name: _counted(name, **labels) - before[name] for name, labels in names.items()} == {
        "staffetta_accepted_messages_total": 1.0,
        "staffetta_accept_seconds_count": 1.0,
        "staffetta_smtp_accepted_total": 1.0,
        "staffetta_smtp_logins_refused_total": 2.0,  # smtplib tries PLAIN, then LOGIN
    }
    counted = {code: _counted("staffetta_smtp_refusals_total", **labels) - refused_before[code] for code, labels in refused.items()}
    assert counted == {"535": 2.0, "550": 1.0}

    await tell_figures(house.database, "smtp")

    async def told() -> dict[str, float]:
        families = text_string_to_metric_families((await house.api.get("/metrics")).text)
        samples = [sample for family in families for sample in family.samples if sample.labels.get("process", "").startswith("smtp ")]
        return {sample.name: sample.value for sample in samples if "returns" not in sample.labels.values()}

    shown = await until(told, lambda found: "staffetta_smtp_sessions" in found)
    for name, labels in names.items():
        assert shown[name] == _counted(name, **labels), name
