"""Senders of SMTP mail are told what became of it: a worker's loop writes the delivery reports that are owed (store.owed_reports).

    take     what is owed of one message and kind, gathered for some seconds, so that thirty dead addresses make one report
    write    mail.report_writing, out of what is kept of the recipients and of the mail
    submit   by the intake like everybody, from mailer-daemon at the sender's own domain (so that DKIM aligns), with the null reverse path
    delete   what was owed

Each may be killed: what was taken is taken again when its time is over, as the same report, and enters once by its idempotency key.
One that cannot be written, by a fault of ours, is tried again later and later, given up in the end, and holds up no other (store.tries).

There is no report of a report: its recipient asks for none. A sender gets so many in an hour from one worker, the rest later; what could
not be told for days is let go, with a line in the log. Status, events and webhooks tell everything all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app import log, store
from app.accounts.credentials import Sender
from app.config import Settings
from app.errors import Conflict, RelayError, Unavailable
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.intake.submit import DEFAULT_STREAM, Intake
from app.mail.address import domain_of, suppression_key
from app.mail.report_writing import LONGEST_RETURNED, Cover, Fate, Returned, reader_language, write_report
from app.store.db import CONNECTION_ERRORS, Database, HotConnection
from app.store.ids import new_id, public_id, time_of
from app.store.owed_reports import FateRow, OwedKind, ReportedMail, TakenReport
from app.store.tries import MOST_TRIES
from app.tally import Buckets
from app.watch.fates import asked_of, fate_of

TAG = "delivery-report"
_SENDER_NAME = "delivery-reports"
_MOST_RECIPIENTS = 200
_TAKEN_SECONDS = 60.0
_LET_GO_AFTER = timedelta(days=3)
_REMEMBERED = 10_000
_HOUR = 3600.0


class Telling:
    """Steps of one worker's loop."""

    def __init__(self, database: Database, intake: Intake, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._intake = intake
        self._settings = settings
        self._rates = Buckets(_REMEMBERED, clock)
        self._waits = {
            OwedKind.FAILURE: settings.report_gather_seconds,
            OwedKind.SUCCESS: settings.report_gather_seconds,
            OwedKind.DELAY: settings.report_delay_hours * _HOUR,
        }

    async def tell_next(self) -> bool:
        """One report; whether there was one to think of."""
        async with self._database.hot() as connection:
            report = await store.owed_reports.take_report(connection, self._waits, new_id(), most=_MOST_RECIPIENTS, seconds=_TAKEN_SECONDS)
        if report is None:
            return False
        try:
            if report.tries > MOST_TRIES:
                raise RuntimeError("it was taken so often, and nobody came to an end with it")
            await self._tell(report)
        except CONNECTION_ERRORS:  # no fault of the report's
            raise
        except Exception as error:
            await self._put_off(report, error)
        return True

    async def _tell(self, report: TakenReport) -> None:
        async with self._database.hot() as connection:
            written = await self._write(connection, report)
        if isinstance(written, float):
            async with self._database.hot() as connection:
                await store.owed_reports.give_back(connection, report, written - self._waits[report.kind])
        elif written is None or await self._submit(report, written):
            async with self._database.hot() as connection:
                await store.owed_reports.delete_report(connection, report)

    async def _put_off(self, report: TakenReport, error: Exception) -> None:
        """It waits already, for as long as its tries say."""
        given_up = report.tries >= MOST_TRIES
        if given_up:
            async with self._database.hot() as connection:
                await store.owed_reports.give_up(connection, report)
        log.put_off("owed_report", public_id("msg", report.message_id), report.tries, error, given_up=given_up)

    async def _write(self, connection: HotConnection, report: TakenReport) -> RawSubmission | float | None:
        """The report as mail; the seconds until it may be sent, or None when there is nothing to tell (any more)."""
        mail = await store.owed_reports.read_reported(connection, report.account_id, report.message_id)
        rows = await store.owed_reports.read_fates(connection, report)
        told = [(row, fate) for row in rows if mail is not None and (fate := fate_of(row, report.kind, mail)) is not None]
        if mail is None or not told:
            return None
        rows, fates = [row for row, _ in told], [fate for _, fate in told]
        asked = asked_of(rows[0])
        to = asked["from"]
        if domain_of(to) == self._settings.return_path_domain:
            return None  # our own address for what comes back: nobody reads there
        if _is_too_old(rows):
            log.report_let_go(public_id("msg", report.message_id), len(rows), "it could not be told for days")
            return None
        if wait := self._rates.take((report.account_id, suppression_key(to)), self._settings.reports_per_hour, _HOUR):
            return wait
        head, body = await self._content(connection, report, mail, asked.get("ret"))
        returned = Returned(mail.subject, mail.rfc_message_id, time_of(report.message_id), asked.get("envelope_id"), head, body)
        return self._as_mail(report, to, fates, returned)

    async def _content(
        self, connection: HotConnection, report: TakenReport, mail: ReportedMail, ret: str | None
    ) -> tuple[bytes, bytes | None]:
        """What comes back of the mail: RFC 3461 §4.3, the whole of it for failures alone, and only where it is asked for."""
        found = await store.messages.load_content(connection, [report.account_id], [report.message_id], mail.purge_on)
        if not found or found[0].mould_id is not None:
            return b"", None
        head, body = found[0].head, found[0].body
        is_whole = ret == "FULL" and report.kind is OwedKind.FAILURE and len(head) + len(body) <= LONGEST_RETURNED
        return head, body if is_whole else None

    def _as_mail(self, report: TakenReport, to: str, fates: list[Fate], returned: Returned) -> RawSubmission:
        settings, domain = self._settings, domain_of(to)
        cover = Cover(
            domain=domain,
            to=to,
            message_id=f"{report.id.hex}@{domain}",
            written_at=time_of(report.id),
            reporting_mta=settings.submission_name or settings.helo_name,
            language=reader_language(returned.head, settings.report_language),
            controls=(
                ("X-Staffetta-Stream", DEFAULT_STREAM),
                ("X-Staffetta-Tag", TAG),
                ("X-Staffetta-Metadata", f"about={public_id('msg', report.message_id)}"),
            ),
        )
        return RawSubmission(write_report(cover, fates, returned), "", (EnvelopeRecipient(to),), is_report=True)

    async def _submit(self, report: TakenReport, mail: RawSubmission) -> bool:
        """Whether there is nothing left to do: it was accepted, now or before, or never will be."""
        sender = Sender(report.account_id, _SENDER_NAME, frozenset({"messages:send"}))
        try:
            await self._intake.submit_raw(sender, mail, idempotency_key=f"{TAG}:{report.id}")
        except Unavailable:  # put off, like a fault of ours
            raise
        except Conflict as conflict:
            # With another body under this key: it is in already, and what was kept of the mail has changed since (it was erased).
            return conflict.retry_after_seconds is None
        except RelayError as error:
            log.report_let_go(public_id("msg", report.message_id), len(report.recipient_ids), error.message)
        else:
            log.report_sent(public_id("msg", report.message_id), report.kind.value, len(report.recipient_ids))
        return True


def _is_too_old(rows: list[FateRow]) -> bool:
    settled = [row.settled_at for row in rows if row.settled_at is not None]
    return bool(settled) and max(settled) < datetime.now(UTC) - _LET_GO_AFTER
