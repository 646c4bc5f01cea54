"""Who sends by SMTP learns of failure: a report to the envelope sender's mailbox, once, with the null reverse path."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from app import store, worker
from app.accounts.smtp_credentials import Wish, create_smtp_credential
from app.delivery import held
from app.feedback.reports import ReturnPaths
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.jobs import Wakes
from app.mail.report import ReportKind, read_report
from app.store.held import Wanted
from app.store.ids import new_id, parse_public_id, public_id
from app.store.incidents import mark_of
from app.store.suppressions import NewSuppression
from app.store.tries import MOST_TRIES
from app.watch.telling import Telling
from tests.doubles.sink_script import Script
from tests.flows.arriving import smtp_ports
from tests.flows.conftest import DOMAIN, House, until
from tests.mail.reports import status_report

SENDER = f"orders@{DOMAIN}"
LETTER = (
    f"From: Shop <{SENDER}>\r\nTo: Ada <ada@x.test>, Bob <bob@x.test>\r\nSubject: Your invoice\r\nMessage-ID: <inv-1@{DOMAIN}>\r\n"
    "Accept-Language: it-IT, en-US\r\n\r\nThank you.\r\n"
).encode()
REFUSED = {"rules": [{"fault": "rcpt_550", "recipient": "^dead"}]}
PUT_OFF = {"rules": [{"fault": "rcpt_450", "recipient": "^slow"}]}


@pytest.fixture
async def told(house: House) -> House:
    """The house with the DNS of its own domain, and a worker that tells at once."""
    house.dns.zones.update({DOMAIN: {"MX": [[10, "mx.x.test"]]}})
    for _, stop in house.workers:
        stop.set()
    house.start_worker(report_gather_seconds=0.3, report_delay_hours=0.0001, poll_seconds=0.02)
    return house


async def submit(house: House, *recipients: EnvelopeRecipient, tells: bool = True, sender: str = SENDER, **fields: Any) -> str:
    """As the SMTP door hands it in; the message's id."""
    raw = RawSubmission(LETTER, sender, recipients, tells_failures=tells, **fields)
    return public_id("msg", (await house.intake.submit_raw(house.sender, raw)).message_id)


def to(address: str, *notify: str) -> EnvelopeRecipient:
    return EnvelopeRecipient(address, frozenset(notify))


def reports(house: House) -> list[bytes]:
    """What has arrived in the sender's mailbox."""
    return [raw for dot, raw in zip(house.sink.dots, house.sink.messages, strict=True) if dot.recipient == SENDER]


async def owed(house: House) -> int:
    async with house.database.hot() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM owed_reports")
        return count


async def until_told(house: House, number: int = 1) -> list[bytes]:
    await until(lambda: len(reports(house)), lambda seen: seen >= number)
    await until(lambda: owed(house), lambda rows: rows == 0)
    await asyncio.sleep(0.5)
    found = reports(house)
    assert len(found) == number
    return found


async def until_nothing_is_told(house: House) -> None:
    await until(lambda: owed(house), lambda rows: rows == 0)
    await asyncio.sleep(0.8)
    assert reports(house) == []


async def test_a_refused_recipient_is_reported_once_in_the_senders_language(told: House) -> None:
    told.sink.script = Script.parse(REFUSED)
    dead = EnvelopeRecipient("dead1@x.test", frozenset({"FAILURE"}), "rfc822;Dead.One@x.test")
    message_id = await submit(told, to("bob@x.test"), dead, to("dead2@x.test"), ret="FULL", envelope_id="QQ314159")
    await told.until_states(message_id, "delivered", "bounced", "bounced")
    (raw,) = await until_told(told)
    assert b"MAIL FROM:<>" in b"".join(told.sink.lines)
    mail: Any = message_from_bytes(raw, policy=policy.default)
    assert mail.get_content_type() == "multipart/report"
    assert mail["subject"] == "Non consegnato: Your invoice"
    assert (mail["from"].addresses[0].addr_spec, mail["to"]) == (f"mailer-daemon@{DOMAIN}", SENDER)
    assert (mail["auto-submitted"], mail["in-reply-to"]) == ("auto-replied", f"<inv-1@{DOMAIN}>")
    assert f"d={DOMAIN}" in str(mail["dkim-signature"])
    assert mail["list-unsubscribe"] is None and not any(name.lower().startswith("x-staffetta") for name in mail)
    notice, status, returned = mail.iter_parts()
    assert "dead1@x.test" in notice.get_content() and "bob@x.test" not in notice.get_content()
    of_mail, first, second = status.get_payload()
    assert of_mail["original-envelope-id"] == "QQ314159"
    assert (first["original-recipient"], first["action"], first["remote-mta"]) == ("rfc822; Dead.One@x.test", "failed", "dns; mx.x.test")
    assert (first["status"], second["final-recipient"]) == ("5.1.1", "rfc822; dead2@x.test")
    assert returned.get_content().get_content().strip() == "Thank you."
    read = read_report(raw)
    assert (read.kind, [one.reply_class for one in read.recipients]) == (ReportKind.BOUNCE, ["invalid_mailbox"] * 2)
    # It shows among the account's messages, tied to the mail it is about.
    listed = (await told.api.get("/v1/messages")).json()["messages"]
    report = next(one for one in listed if "delivery-report" in one["tags"])
    assert (await told.message(report["id"]))["metadata"] == {"about": message_id}


async def test_only_the_header_comes_back_unless_the_whole_mail_is_asked_for(told: House) -> None:
    told.sink.script = Script.parse(REFUSED)
    await submit(told, to("dead@x.test"))
    (raw,) = await until_told(told)
    returned = list(message_from_bytes(raw, policy=policy.default).iter_parts())[2]  # type: ignore[attr-defined]
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Message-ID: <inv-1@" in returned.get_content() and "Thank you" not in returned.get_content()


@pytest.mark.parametrize(
    ("tells", "sender", "notify"),
    [
        (True, SENDER, ("NEVER",)),
        (True, SENDER, ("SUCCESS",)),
        (True, SENDER, ("DELAY",)),
        (False, SENDER, ()),
        (True, "", ()),
        (True, "", ("FAILURE",)),
    ],
    ids=["never", "success only", "delay only", "credential off", "null sender", "null sender that asks"],
)
async def test_who_wants_no_report_gets_none(told: House, tells: bool, sender: str, notify: tuple[str, ...]) -> None:
    told.sink.script = Script.parse(REFUSED)
    message_id = await submit(told, to("dead@x.test", *notify), tells=tells, sender=sender)
    await told.until_states(message_id, "bounced")
    await until_nothing_is_told(told)


async def test_who_asks_is_told_though_the_credential_is_silent(told: House) -> None:
    told.sink.script = Script.parse(REFUSED)
    await submit(told, to("dead@x.test", "FAILURE"), tells=False)
    await until_told(told)


async def test_a_success_is_told_where_it_is_asked_for(told: House) -> None:
    await submit(told, to("ada@x.test", "SUCCESS"), to("bob@x.test", "FAILURE"), to("eve@x.test"), ret="FULL")
    (raw,) = await until_told(told)
    report = read_report(raw)
    assert (report.kind, [(one.address, one.action) for one in report.recipients]) == (ReportKind.DELIVERED, [("ada@x.test", "relayed")])
    returned = list(message_from_bytes(raw, policy=policy.default).iter_parts())[2]  # type: ignore[attr-defined]
    assert returned.get_content_type() == "text/rfc822-headers"


async def test_a_delay_is_told_once_where_it_is_asked_for(told: House) -> None:
    told.sink.script = Script.parse(PUT_OFF)
    message_id = await submit(told, to("slow1@x.test", "DELAY"), to("slow2@x.test", "FAILURE"))
    (raw,) = await until_told(told)
    report = read_report(raw)
    assert (report.kind, [one.address for one in report.recipients]) == (ReportKind.DELAY, ["slow1@x.test"])
    assert b"Will-Retry-Until: " in raw
    tries = len((await told.message(message_id))["recipients"][0]["attempts"])
    await until(lambda: told.message(message_id), lambda now: len(now["recipients"][0]["attempts"]) > tries)
    assert await owed(told) == 0 and len(reports(told)) == 1


async def test_a_report_that_is_refused_makes_none(told: House) -> None:
    told.sink.script = Script.parse({"rules": [{"fault": "rcpt_550"}]})
    message_id = await submit(told, to("dead@x.test"))
    await told.until_states(message_id, "bounced")

    async def states() -> list[str]:
        listed = (await told.api.get("/v1/messages")).json()["messages"]
        return [state for one in listed if one["id"] != message_id for state in await told.states(one["id"])]

    await until(states, lambda seen: seen == ["bounced"])
    await until(lambda: owed(told), lambda rows: rows == 0)
    await asyncio.sleep(0.8)
    assert await states() == ["bounced"]


async def test_a_suppressed_recipient_is_reported_too(told: House) -> None:
    async with told.database.hot() as connection:
        await store.suppressions.add_suppressions(
            connection, [NewSuppression(told.account_id, "*", "gone@x.test", "invalid_mailbox", None)]
        )
    message_id = await submit(told, to("gone@x.test"), to("never@x.test", "NEVER"))
    (raw,) = await until_told(told)
    assert (await told.states(message_id))[0] == "suppressed"
    (one,) = read_report(raw).recipients
    assert (one.address, one.action, one.status) == ("gone@x.test", "failed", "5.1.1")


async def test_by_http_the_mail_itself_names_who_is_told(told: House) -> None:
    told.sink.script = Script.parse(REFUSED)
    letter = LETTER.replace(b"ada@x.test", b"dead@x.test").replace(b"Subject:", f"X-Staffetta-Report-To: {SENDER}\r\nSubject:".encode())
    headers = {"Content-Type": "message/rfc822"}
    answer = await told.api.post("/v1/messages/raw", content=letter, headers=headers)
    assert answer.status_code == 202, answer.text
    (raw,) = await until_told(told)
    assert [one.address for one in read_report(raw).recipients] == ["dead@x.test"]
    stranger = await told.api.post("/v1/messages/raw", content=letter.replace(SENDER.encode(), b"a@other.example"), headers=headers)
    assert stranger.status_code == 403
    one_line = letter.replace(f"Report-To: {SENDER}".encode(), b"Report-To: a@other.example")
    answer = await told.api.post("/v1/messages/raw", content=one_line, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (403, "#/headers/X-Staffetta-Report-To")


async def test_a_mail_that_is_withdrawn_is_not_reported(told: House) -> None:
    told.sink.script = Script.parse(PUT_OFF)
    message_id = await submit(told, to("slow@x.test"))
    await told.until_states(message_id, "deferred")
    assert (await told.api.post(f"/v1/messages/{message_id}/cancel")).status_code == 200
    await until_nothing_is_told(told)


async def test_a_bounce_that_comes_back_late_is_reported(told: House) -> None:
    message_id = await submit(told, to("ada@x.test"))
    await told.until_states(message_id, "delivered")
    path = next(line for line in told.sink.lines if b"FROM:<b-" in line).decode().partition("<")[2].partition(">")[0]
    wakes = Wakes(told.settings.redis_url)
    returns = ReturnPaths(told.database, wakes, told.keyring, told.settings.return_path_domain)
    address = returns.find(path)
    assert address is not None
    status = "Final-Recipient: rfc822; ada@x.test\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 mailbox full"
    await returns.take(address, status_report(status))
    (raw,) = await until_told(told)
    (one,) = read_report(raw).recipients
    assert (one.address, one.status, one.reply_class) == ("ada@x.test", "5.2.2", "mailbox_full")
    await wakes.close()


async def test_killed_between_submitting_and_forgetting_it_is_told_once(told: House) -> None:
    """Everything but the last step has happened: the next to take it finds it told."""
    for _, stop in told.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in told.workers))
    told.sink.script = Script.parse(REFUSED)
    settings = told.settings.model_copy(update={"report_gather_seconds": 0.0})
    stop = asyncio.Event()
    quiet = told.settings.model_copy(update={"report_gather_seconds": 3600.0})
    delivering = asyncio.create_task(worker.serve(quiet, stop))
    message_id = await submit(told, to("dead1@x.test"), to("dead2@x.test"))
    await told.until_states(message_id, "bounced", "bounced")
    telling = Telling(told.database, told.intake, settings)
    async with told.database.hot() as connection:
        report = await store.owed_reports.take_report(connection, telling._waits, new_id(), most=10, seconds=0.0)
        assert report is not None and len(report.recipient_ids) == 2
        written = await telling._write(connection, report)
    assert isinstance(written, RawSubmission)
    assert await telling._submit(report, written)
    assert await owed(told) == 2  # killed here
    # One that has come to be owed since is no part of it.
    late = await submit(told, to("dead3@x.test"))
    await told.until_states(late, "bounced")
    assert [await telling.tell_next() for _ in range(3)] == [True, True, False]
    assert await owed(told) == 0
    found = await until_told(told, 2)
    assert [len(read_report(raw).recipients) for raw in sorted(found, key=len, reverse=True)] == [2, 1]
    stop.set()
    await delivering


async def test_a_sender_gets_so_many_reports_in_an_hour_and_the_others_later(told: House) -> None:
    for _, stop in told.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in told.workers))
    async with told.database.hot() as connection:
        await store.suppressions.add_suppressions(connection, [NewSuppression(told.account_id, "*", "gone@x.test", "manual", None)])
    for _ in range(3):
        await submit(told, to("gone@x.test"))
    now = 1000.0
    settings = told.settings.model_copy(update={"report_gather_seconds": 0.0, "reports_per_hour": 2})
    telling = Telling(told.database, told.intake, settings, clock=lambda: now)
    while await telling.tell_next():
        pass
    async with told.database.hot() as connection:
        rows = await connection.fetch("SELECT extract(epoch FROM due_at - now())::int AS wait, report_id FROM owed_reports")
    assert [(1790 <= row["wait"] <= 1800, row["report_id"]) for row in rows] == [(True, None)]
    assert len([one for one in (await told.api.get("/v1/messages")).json()["messages"] if "delivery-report" in one["tags"]]) == 2


async def left_alone(told: House) -> None:
    """No worker: what tells is the test's own."""
    for _, stop in told.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in told.workers))


async def owes(told: House, number: int) -> list[str]:
    """So many mails to one who is suppressed; the messages' ids."""
    async with told.database.hot() as connection:
        await store.suppressions.add_suppressions(connection, [NewSuppression(told.account_id, "*", "gone@x.test", "manual", None)])
    return [await submit(told, to("gone@x.test")) for _ in range(number)]


async def make_due(told: House) -> None:
    async with told.database.hot() as connection:
        await connection.execute("UPDATE owed_reports SET due_at = now() WHERE due_at < 'infinity'")


async def test_one_that_cannot_be_written_holds_up_nobody_and_is_given_up(told: House) -> None:
    await left_alone(told)
    poison, *_ = await owes(told, 3)
    telling = Telling(told.database, told.intake, told.settings.model_copy(update={"report_gather_seconds": 0.0}))
    async with told.database.hot() as connection:
        # Nobody can make a report out of that.
        query = "UPDATE recipients SET dsn = '{\"from\": 7}' WHERE overlay(id::text placing '0000' from 33)::uuid = $1"
        await connection.execute(query, parse_public_id("msg", poison))
    assert [await telling.tell_next() for _ in range(4)] == [True, True, True, False]
    assert await owed(told) == 1
    waits = []
    for tries in range(1, MOST_TRIES):
        async with told.database.hot() as connection:
            row = await connection.fetchrow("SELECT tries, due_at - now() AS wait FROM owed_reports")
        assert row["tries"] == tries
        waits.append(round(row["wait"] / timedelta(minutes=1)))
        await make_due(told)
        assert [await telling.tell_next() for _ in range(2)] == [True, False]
    assert waits == [1, 4, 16, 64, 240, 240, 240]
    async with told.database.hot() as connection:
        (of_kind,) = await store.owed_reports.read_owed(connection)
        assert await store.tries.drop_given_up(connection, history_days=1) == 0
    assert (of_kind.waiting, of_kind.failed, of_kind.given_up, of_kind.oldest_seconds) == (0, 0, 1, 0.0)
    assert await telling.tell_next() is False


async def test_one_that_kills_who_writes_it_is_given_up(told: House) -> None:
    await left_alone(told)
    await owes(told, 1)
    telling = Telling(told.database, told.intake, told.settings.model_copy(update={"report_gather_seconds": 0.0}))
    for tries in range(1, MOST_TRIES + 1):
        async with told.database.hot() as connection:
            report = await store.owed_reports.take_report(connection, telling._waits, new_id(), most=10, seconds=60.0)
        assert report is not None and report.tries == tries  # killed here
        await make_due(told)
    assert [await telling.tell_next() for _ in range(2)] == [True, False]
    async with told.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM owed_reports WHERE due_at = 'infinity'") == 1


@pytest.mark.parametrize(
    ("reason", "is_told"),
    [
        ("claimed 5 times by workers that died with it", True),
        (held.RESTORED, False),
        (f"{mark_of(new_id())}, credential smtp-x: 300 recipients", False),
    ],
    ids=["poison", "restored: it may have arrived before", "a thief's"],
)
async def test_of_what_the_operator_drops_the_sender_is_told_unless_it_is_a_thiefs(told: House, reason: str, is_told: bool) -> None:
    await left_alone(told)
    await submit(told, to("ada@x.test"))
    silent = await submit(told, to("bob@x.test", "NEVER"))
    async with told.database.hot() as connection:
        await connection.execute("UPDATE queue SET due_at = 'infinity', ready = false")
        await connection.execute("UPDATE recipients SET state = 'held', reason = $1", reason)
    assert await held.drop(told.database, Wanted(told.account_id)) == 2
    assert await owed(told) == is_told
    assert (await told.message(silent))["recipients"][0]["state"] == "cancelled"
    telling = Telling(told.database, told.intake, told.settings.model_copy(update={"report_gather_seconds": 0.0}))
    if is_told:
        async with told.database.hot() as connection:
            report = await store.owed_reports.take_report(connection, telling._waits, new_id(), most=10, seconds=0.0)
            assert report is not None
            written = await telling._write(connection, report)
        assert isinstance(written, RawSubmission)
        (one,) = read_report(written.raw).recipients
        assert (one.address, one.action, one.status) == ("ada@x.test", "failed", "5.3.0")
    assert [await telling.tell_next() for _ in range(2)] == [is_told, False]
    listed = (await told.api.get("/v1/messages")).json()["messages"]
    assert len([one for one in listed if "delivery-report" in one["tags"]]) == is_told


# --- the whole way, from 587


@asynccontextmanager
async def submission_port(house: House, **wish: Any) -> AsyncIterator[tuple[int, str, str]]:
    async with house.database.transaction() as connection:
        row, password = await create_smtp_credential(connection, house.keyring, house.account_id, Wish("Outlook", **wish))
    async with smtp_ports(house) as listeners:
        yield listeners.starttls[0].getsockname()[1], row.id, password


@pytest.mark.parametrize("tells", [True, False])
async def test_a_mail_program_gets_its_report(told: House, tells: bool) -> None:
    told.sink.script = Script.parse(REFUSED)
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = SENDER, "dead@x.test", "Grüße"
    letter.set_content("Plain words.")
    async with submission_port(told, tells_failures=tells) as (port, user, password):

        def send() -> str:
            with smtplib.SMTP("localhost", port, timeout=20) as client:
                client.starttls()
                client.login(user, password)
                client.mail(SENDER, ["RET=HDRS", "ENVID=QQ+2B1"])
                client.rcpt("ada@x.test")
                client.rcpt("dead@x.test", ["ORCPT=rfc822;Dead@x.test"])
                return client.data(letter.as_bytes())[1].decode()

        said = await asyncio.to_thread(send)
        await told.until_states(said.rpartition(" ")[2], "delivered", "bounced")
        if not tells:
            await until_nothing_is_told(told)
            return
        (raw,) = await until_told(told)
    mail: Any = message_from_bytes(raw, policy=policy.default)
    assert mail["subject"] == "Not delivered: Grüße"
    of_mail, of_dead = list(mail.iter_parts())[1].get_payload()
    assert (of_mail["original-envelope-id"], of_dead["original-recipient"]) == ("QQ+1", "rfc822; Dead@x.test")
