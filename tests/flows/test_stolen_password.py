"""A stolen password: what its credential never did is accepted and held, its account is told once, everybody else goes on."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import store
from app.accounts.domains import DomainBook
from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook, Wish, create_smtp_credential
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.config import Settings
from app.feedback.reports import ReturnPaths
from app.intake.submit import Intake
from app.jobs import Wakes
from app.rendering import Renderer
from app.smtpd.certificate import Certificate, development_certificate
from app.smtpd.server import Listeners, SmtpServer
from app.tally import Tally
from tests.flows.conftest import DOMAIN, House, until

LETTER = f"From: orders@{DOMAIN}\r\nTo: somebody@x.test\r\nSubject: hello\r\n\r\nhello\r\n"


@dataclass
class SmtpDoor:
    house: House
    server: SmtpServer
    credentials: SmtpCredentialBook
    guard: Guard
    port: int
    trusting: ssl.SSLContext

    async def new_credential(self, **wish: Any) -> tuple[str, str]:
        async with self.house.database.transaction() as connection:
            row, password = await create_smtp_credential(connection, self.house.keyring, self.house.account_id, Wish("test", **wish))
        return row.id, password

    async def send(self, login: tuple[str, str], recipients: list[list[str]]) -> list[str]:
        """One message for each list, over one connection; the ids that were given."""

        def work() -> list[str]:
            ids = []
            with smtplib.SMTP("localhost", self.port, timeout=30) as client:
                client.starttls(context=self.trusting)
                client.login(*login)
                for each in recipients:
                    client.mail(f"orders@{DOMAIN}")
                    for recipient in each:
                        client.rcpt(recipient)
                    code, words = client.data(LETTER.encode())
                    assert code == 250, words
                    ids.append(words.decode().rpartition(" ")[2])
            return ids

        return await asyncio.get_running_loop().run_in_executor(None, work)


@pytest.fixture
async def door(house: House, tmp_path: Path) -> AsyncIterator[SmtpDoor]:
    async with _open(house, house.settings, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def _open(house: House, settings: Settings, directory: Path) -> AsyncIterator[SmtpDoor]:
    wakes, renderer, tally = Wakes(settings.redis_url), Renderer(1), Tally(settings.redis_url)
    database = house.database
    intake = Intake(database, DomainBook(database, house.keyring), StreamBook(database), TemplateBook(database, renderer), settings, wakes)
    wakes.start()
    intake.start()
    credentials = SmtpCredentialBook(database, house.keyring)
    guard = Guard(database, credentials, wakes, first_allowance=1000)
    guard.start()
    certificate = development_certificate(directory, "localhost")
    returns = ReturnPaths(database, wakes, house.keyring, settings.return_path_domain)
    server = SmtpServer(
        settings, intake.submit_raw, credentials, Certificate(certificate, None), returns, guard, tally, refusal_seconds=0.01
    )
    listeners = Listeners.open("127.0.0.1", (0,), ())
    await server.start(listeners)
    port = listeners.starttls[0].getsockname()[1]
    try:
        yield SmtpDoor(house, server, credentials, guard, port, ssl.create_default_context(cafile=str(certificate)))
    finally:
        await server.close(1.0)
        listeners.close()
        await guard.close()
        await intake.close()
        await renderer.close()
        await tally.close()
        await wakes.close()


async def _lead_a_calm_life(house: House, user: str) -> None:
    """Two weeks of a few mails a day, from one network that is not ours."""
    async with house.database.hot() as connection:
        await connection.execute(
            "INSERT INTO smtp_credential_hours (credential, hour, recipients, elsewhere, strangers)"
            " SELECT $1, date_trunc('hour', now(), 'UTC') - make_interval(hours => 12 * n), 4, 0, 1 FROM generate_series(1, 25) n",
            user,
        )
        await connection.execute(
            "INSERT INTO smtp_credential_networks (credential, network, first_seen_at)"
            " VALUES ($1, '203.0.113.0/24', now() - interval '13 days')",
            user,
        )


async def _states(house: House) -> dict[str, int]:
    async with house.database.hot() as connection:
        rows = await connection.fetch("SELECT r.state, count(*) FROM recipients r GROUP BY 1")
    return {row[0]: row[1] for row in rows}


async def _events(house: House, kind: str) -> list[dict[str, Any]]:
    answer = await house.api.get("/v1/events", params={"types": kind, "limit": 1000})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def _pour(door: SmtpDoor, login: tuple[str, str]) -> list[str]:
    """200 mails to five each, on four connections."""
    parts = [[[f"victim{part}-{n}-{k}@x.test" for k in range(5)] for n in range(50)] for part in range(4)]
    return [each for ids in await asyncio.gather(*(door.send(login, part) for part in parts)) for each in ids]


async def test_what_a_thief_pours_is_held_and_goes_out_once_its_owner_says_so(house: House, door: SmtpDoor) -> None:
    stolen, other = await door.new_credential(), await door.new_credential()
    await _lead_a_calm_life(house, stolen[0])
    ids = await _pour(door, stolen)
    assert len(ids) == 200, "every mail got its 250"

    # The first few went, the others wait; nothing is lost.
    states = await until(lambda: _states(house), lambda now: now.get("delivered", 0) == 50)
    assert states == {"delivered": 50, "held": 950}
    (event,) = await _events(house, "credential.held")
    assert event["facts"] | {"reason": ""} == {
        "incident_id": event["facts"]["incident_id"],
        "user_name": stolen[0],
        "kind": "new_network",
        "reason": "",
        "network": "127.0.0.0/24",
    }
    assert (event["message_id"], event["recipient_id"]) == (None, None)
    held = next(each for each in (await house.api.get("/v1/smtp-credentials")).json()["smtp_credentials"] if each["user_name"] == stolen[0])
    assert held["held"]["incident_id"] == event["facts"]["incident_id"]
    shown = await house.message(ids[-1])
    assert shown["recipients"][0]["reason"].startswith(event["facts"]["incident_id"])

    # Others go on.
    (mail,) = await door.send(other, [["ada@x.test"]])
    await house.until_states(mail, "delivered")
    await house.until_states((await house.send("bob@x.test"))["id"], "delivered")

    answer = await house.api.post(f"/v1/smtp-credentials/{stolen[0]}/release")
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"incident_id": event["facts"]["incident_id"], "decision": "release", "recipients": 950}
    await until(lambda: _states(house), lambda now: now == {"delivered": 1002}, 30.0)
    seen = [dot.recipient for dot in house.sink.dots]
    assert len(seen) == len(set(seen)) == 1002, "each exactly once"

    # Its owner's word counts from now on: as many from there are nothing unusual.
    door.credentials.forget(stolen[0])
    (mail,) = await door.send(stolen, [[f"again{n}@x.test" for n in range(300)]])
    await house.until_states(mail, *["delivered"] * 300)
    assert len(await _events(house, "credential.held")) == 1
    assert (await house.api.post(f"/v1/smtp-credentials/{stolen[0]}/release")).status_code == 409


async def test_what_is_discarded_is_cancelled_and_a_new_password_ends_it(house: House, door: SmtpDoor) -> None:
    stolen = await door.new_credential()
    await _lead_a_calm_life(house, stolen[0])
    await _pour(door, stolen)
    await until(lambda: _states(house), lambda now: now.get("delivered", 0) == 50)
    renewed = await house.api.post(f"/v1/smtp-credentials/{stolen[0]}/password")
    assert renewed.status_code == 200
    answer = await house.api.post(f"/v1/smtp-credentials/{stolen[0]}/discard")
    assert (answer.status_code, answer.json()["recipients"]) == (202, 950)
    await until(lambda: _states(house), lambda now: now == {"delivered": 50, "cancelled": 950})
    assert len(house.sink.dots) == 50
    assert len(await _events(house, "message.cancelled")) == 950
    door.credentials.forget(stolen[0])
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await door.send(stolen, [["ada@x.test"]])
    # Its owner's few mails are not held for what the other one did.
    (mail,) = await door.send((stolen[0], renewed.json()["password"]), [["ada@x.test"]])
    await house.until_states(mail, "delivered")


async def test_a_door_that_learns_late_strands_nothing(house: House, door: SmtpDoor) -> None:
    """The decision is carried out also on what is held after it, by a process that still remembers the incident."""
    stolen = await door.new_credential()
    await _lead_a_calm_life(house, stolen[0])
    await door.send(stolen, [[f"victim{n}@x.test" for n in range(60)]])
    assert await door.credentials.find(stolen[0]) is not None
    await house.api.post(f"/v1/smtp-credentials/{stolen[0]}/release")
    await until(lambda: _states(house), lambda now: now == {"delivered": 60})
    found = await door.credentials.find(stolen[0])
    assert found is not None and found.held_for is not None, "the door remembers"
    (late,) = await door.send(stolen, [["late@x.test"]])
    await house.until_states(late, "delivered")


async def test_an_old_list_is_recognised_by_what_becomes_of_it(house: House, door: SmtpDoor) -> None:
    user = await door.new_credential(trusted_per_hour=10_000)
    async with house.database.hot() as connection:
        dead = [store.suppressions.NewSuppression(house.account_id, "*", f"old{n}@x.test", "invalid_mailbox", None) for n in range(20)]
        await store.suppressions.add_suppressions(connection, dead)
    ids = await door.send(user, [[f"old{n}@x.test"] for n in range(60)])
    await house.until_states(ids[-1], "delivered")
    await door.guard.look()
    (event,) = await _events(house, "credential.held")
    assert event["facts"]["kind"] == "dead_addresses"
    (mail,) = await door.send(user, [["next@x.test"]])
    assert (await house.states(mail)) == ["held"]


async def test_processes_know_of_each_other_s_mail(house: House, door: SmtpDoor, tmp_path: Path) -> None:
    user = await door.new_credential()
    await _lead_a_calm_life(house, user[0])
    async with _open(house, house.settings, tmp_path) as second:
        await door.send(user, [[f"one{n}@x.test" for n in range(40)]])
        await door.guard.flush()
        (mail,) = await second.send(user, [[f"two{n}@x.test" for n in range(20)]])
        assert set(await house.states(mail)) == {"held"}


async def test_guesses_at_one_process_count_at_the_other_and_the_owner_gets_in(house: House, door: SmtpDoor, tmp_path: Path) -> None:
    user, password = await door.new_credential()

    def log_in(port: int, secret: str, address: str) -> int:
        # Closed without QUIT: after a 454 the server has said goodbye already.
        with closing(smtplib.SMTP("localhost", port, timeout=30, source_address=(address, 0))) as client:
            client.starttls(context=door.trusting)
            client.ehlo()
            # Not login(): that tries a wrong password by each mechanism.
            return client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{user}\0{secret}".encode()).decode())[0]

    async def try_at(at: SmtpDoor, secret: str, address: str) -> int:
        return await asyncio.get_running_loop().run_in_executor(None, log_in, at.port, secret, address)

    async with _open(house, house.settings, tmp_path) as second:
        assert await try_at(door, password, "127.0.0.1") == 235
        guesses = [await try_at((door, second)[number % 2], "wrong", "127.0.0.2") for number in range(10)]
        assert set(guesses) == {535}
        for each in (door, second):
            assert await try_at(each, password, "127.0.0.2") == 454, "ten guesses, five at each"
            assert await try_at(each, password, "127.0.0.1") == 235


async def test_what_is_scheduled_keeps_its_time_when_it_is_released(house: House, door: SmtpDoor) -> None:
    user = await door.new_credential()
    await _lead_a_calm_life(house, user[0])
    (mail,) = await door.send(user, [[f"later{n}@x.test" for n in range(60)]])
    async with house.database.hot() as connection:
        await connection.execute("UPDATE recipients SET next_attempt_at = now() + interval '1 hour'")
    await house.api.post(f"/v1/smtp-credentials/{user[0]}/release")
    await house.until_states(mail, *["scheduled"] * 60)


async def test_without_valkey_it_is_the_same(house: House, tmp_path: Path) -> None:
    settings = house.settings.model_copy(update={"redis_url": "unix:///nowhere/valkey"})
    async with _open(house, settings, tmp_path) as door:
        user = await door.new_credential(recipients_per_minute=100)
        await _lead_a_calm_life(house, user[0])
        (mail,) = await door.send(user, [["ada@x.test"]])
        await house.until_states(mail, "delivered")
        (mail,) = await door.send(user, [[f"victim{n}@x.test" for n in range(60)]])
        assert set(await house.states(mail)) == {"held"}
