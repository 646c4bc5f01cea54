"""submit(): the only way a message enters.

admit → make the content, whole or as a filling (intake.contents) → group commit (messages, content, recipients, queue, accepted event)
→ the caller's yes → wake. The receipt exists only after the commit. A submission with a known idempotency key gets the receipt of
the first one, rebuilt from what never changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Counter, Histogram

from app import log, store
from app.accounts.credentials import Sender
from app.accounts.domains import DomainBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook, TemplateUse
from app.config import Settings
from app.errors import Conflict, InvalidMessage, RelayError
from app.events.record import accepted_facts
from app.intake import admission
from app.intake.admission import Track
from app.intake.cancel import cancel
from app.intake.contents import Contents, Frame, Made
from app.intake.group_commit import LARGE_BYTES, GroupCommit, Verdict
from app.intake.raw import RawSubmission, Taken, digest_of, take
from app.jobs import Wakes
from app.mail.compose import Draft
from app.mail.finish import NULL_SENDER
from app.mail.trace import received_field
from app.store.partitions import content_days_ahead, make_content_day, purge_day
from app.store.queue import Share
from app.store.states import RecipientState
from app.store.submissions import NewMessage, NewRecipient

# How long an idempotency key in flight elsewhere is waited for before 409 is answered.
LOCK_TIMEOUT_MS = 300
# Composing is CPU work: a batch lets others have the loop now and then.
_COMPOSE_SLICE = 10
_BATCH_SLICE = 250
DEFAULT_STREAM = "transactional"
_AS_THE_STREAM = Track()

_accepted = Counter("staffetta_accepted_messages_total", "Messages committed by this process.")
_accept_seconds = Histogram(
    "staffetta_accept_seconds",
    "From the arrival of a submission (of batches none) to its durable yes.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5),
)


@dataclass(slots=True)
class Submission:
    """What a client hands us, structured. `body_hash` is of the request as sent: a key used with another body is refused.

    With a `template` the draft has no texts yet, and perhaps no subject: rendering gives them, now or at delivery.
    """

    draft: Draft
    stream: str = DEFAULT_STREAM
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    body_hash: bytes | None = None
    track: Track = _AS_THE_STREAM
    template: TemplateUse | None = None
    taken: Taken | None = None  # finished mail: the draft is only what its header says
    is_report: bool = False  # a delivery report of the house
    held_for: str | None = None


@dataclass(slots=True)
class ReceiptRecipient:
    id: UUID
    address: str
    kind: str
    state: RecipientState
    reason: str | None


@dataclass(slots=True)
class Receipt:
    """The durable yes. `rfc_message_id` is the Message-ID header with its angle brackets."""

    message_id: UUID
    rfc_message_id: str
    recipients: tuple[ReceiptRecipient, ...]
    replayed: bool = False


class Intake:
    """Owns the group commits of this process: a line for what is small, and one for large contents, which small ones need not wait for."""

    def __init__(
        self,
        database: store.db.Database,
        domains: DomainBook,
        streams: StreamBook,
        templates: TemplateBook,
        settings: Settings,
        wakes: Wakes,
    ) -> None:
        self._database = database
        self._domains = domains
        self._streams = streams
        self._contents = Contents(database, templates, settings)
        self._settings = settings
        self._wakes = wakes
        self._keys_under_way: set[tuple[int, str]] = set()
        self._content_days: set[date] = set()
        self._making_days = asyncio.Lock()  # or many who need new ones would take all connections
        self._writers: dict[str, Any] = {}  # connections, by line
        self._commits = self._line("small", settings.accept_group_bytes)
        self._large_commits = self._line("large", LARGE_BYTES)

    def _line(self, name: str, group_bytes: int) -> GroupCommit:
        settings = self._settings
        return GroupCommit(
            partial(self._write, name),
            group_rows=settings.accept_group_rows,
            group_bytes=group_bytes,
            waiting_rows=settings.accept_waiting_rows,
            waiting_bytes=settings.accept_waiting_bytes,
        )

    def start(self) -> None:
        for line in (self._commits, self._large_commits):
            line.start()

    async def close(self) -> None:
        for line in (self._commits, self._large_commits):
            await line.close()
        for connection in self._writers.values():
            connection.terminate()

    async def submit(self, sender: Sender, submission: Submission, *, began: float | None = None) -> Receipt:
        """Accept one submission durably. Raises RelayError with the reason when it is not accepted."""
        began = began or time.perf_counter()
        key = self._begin_key(sender, submission)
        try:
            message = await self._prepare(sender, submission)
            verdict = await self._join(message)
            if verdict is not None:
                _accept_seconds.observe(time.perf_counter() - began)
            return await self._receipt(message, verdict)
        finally:
            if key is not None:
                self._keys_under_way.discard(key)

    async def submit_raw(self, sender: Sender, raw: RawSubmission, *, idempotency_key: str | None = None) -> Receipt:
        """Accept finished mail durably. Raises RelayError with the reason when it is not accepted. The mail may bring the key itself."""
        began = time.perf_counter()
        taken = await take(self._domains, sender, raw)
        return await self.submit(sender, _submission_of(taken, raw, idempotency_key), began=began)

    async def submit_all(self, sender: Sender, submissions: Sequence[Submission]) -> list[Receipt | RelayError]:
        """Accept many, each on its own: the result of each stands at its place; one that is refused sinks no other."""
        results: list[Receipt | RelayError | None] = [None] * len(submissions)
        pending: list[tuple[int, NewMessage, asyncio.Future[Verdict]]] = []
        prepared: list[tuple[int, NewMessage]] = []
        keys: set[tuple[int, str]] = set()
        try:
            for place, submission in enumerate(submissions):
                try:
                    key = self._begin_key(sender, submission)
                    if key is not None:
                        keys.add(key)
                    prepared.append((place, await self._prepare(sender, submission, in_batch=True)))
                except RelayError as error:
                    results[place] = error
                if len(prepared) >= _BATCH_SLICE:
                    pending += self._join_line(prepared, results)
                    prepared = []
                if place % _COMPOSE_SLICE == _COMPOSE_SLICE - 1:
                    await asyncio.sleep(0)
            pending += self._join_line(prepared, results)
            for place, message, future in pending:
                try:
                    results[place] = await self._receipt(message, await future)
                except RelayError as error:
                    results[place] = error
        finally:
            self._keys_under_way -= keys
        return [result for result in results if result is not None]

    def _join_line(
        self, prepared: list[tuple[int, NewMessage]], results: list[Receipt | RelayError | None]
    ) -> list[tuple[int, NewMessage, asyncio.Future[Verdict]]]:
        """Join the line with a slice of a batch: fewer, larger groups than if each joined when it is ready."""
        joined = []
        for place, message in prepared:
            try:
                joined.append((place, message, self._join(message)))
            except RelayError as error:
                results[place] = error
        return joined

    async def cancel(self, sender: Sender, message_id: UUID) -> None:
        """Withdraw what nobody has claimed yet of a message; see `cancel`."""
        if await cancel(self._database, sender.account_id, message_id):
            self._wakes.tell_events({sender.account_id})

    # --- steps

    def _begin_key(self, sender: Sender, submission: Submission) -> tuple[int, str] | None:
        """Two requests with one key in this process: the second is told at once. Across processes the database decides."""
        if submission.idempotency_key is None:
            return None
        key = (sender.account_id, submission.idempotency_key)
        if key in self._keys_under_way:
            raise Conflict("A request with this Idempotency-Key is still under way.", retry_after_seconds=1)
        self._keys_under_way.add(key)
        return key

    async def _prepare(self, sender: Sender, submission: Submission, *, in_batch: bool = False) -> NewMessage:
        """Everything that can refuse a submission, then what is stored of it."""
        frame = await self._frame(sender, submission)
        taken = submission.taken
        named = taken.named if taken is not None else admission.named_in(submission.draft)
        recipients = admission.admit_recipients(frame.message_id, named, self._settings.max_recipients)
        if taken is None:
            made = await self._contents.make(frame, submission.draft, submission.template, in_batch=in_batch)
        else:
            trace = b"" if submission.is_report else self._trace(taken, frame)
            made = await self._contents.adopt(frame, submission.draft, taken.finished, submission.template, trace)
        return _new_message(submission, frame, recipients, made)

    async def _frame(self, sender: Sender, submission: Submission) -> Frame:
        """Who sends it, as what and when."""
        draft, now = submission.draft, datetime.now(UTC)
        domain = await admission.admit_sender(self._domains, sender, draft)
        stream = await admission.admit_stream(self._streams, sender, submission.stream)
        times = admission.admit_times(self._settings, stream, submission.send_at, submission.expires_at, now)
        if times.purge_on not in self._content_days:
            times = replace(times, purge_on=await self._make_content_day(times.purge_on, now.date()))
        message_id = store.ids.new_message_id(now.timestamp())
        return Frame(
            account_id=sender.account_id,
            message_id=message_id,
            rfc_id=f"{message_id.hex}@{domain.name}",
            accepted_at=now,
            times=times,
            stream=stream,
            domain=domain,
            campaign=submission.tags[0] if submission.tags else "",
            adds=NULL_SENDER if submission.is_report else admission.choose_adds(stream, draft, submission.track),
        )

    def _trace(self, taken: Taken, frame: Frame) -> bytes:
        return received_field(
            greeted_as=taken.greeted_as,
            by=self._settings.submission_name or self._settings.helo_name,
            protocol=taken.protocol,
            message_id=store.ids.public_id("msg", frame.message_id),
            date=frame.accepted_at,
        )

    def _join(self, message: NewMessage) -> asyncio.Future[Verdict]:
        line = self._large_commits if message.stored_bytes > LARGE_BYTES else self._commits
        return line.add(message)

    async def _write(self, line: str, group: Sequence[NewMessage]) -> list[Verdict]:
        """One transaction: the group and the beginning of its history. Called by the group commits alone, each one group at a time."""
        connection = await self._writer_of(line)
        await self._contents.moulds.write(connection, (message.mould for message in group if message.mould is not None))
        written = await store.submissions.write_submissions(connection, group)
        fates = {recipient.id: recipient for recipient in written}
        self._wakes.tell_ready(Share(r.site_id, r.lane_class, r.account_id) for r in written if r.state is RecipientState.READY)
        self._wakes.tell_events({message.account_id for message in group})
        verdicts: list[Verdict] = [[fates[r.id] for r in m.recipients] if m.recipients[0].id in fates else None for m in group]
        _accepted.inc(sum(verdict is not None for verdict in verdicts))
        return verdicts

    async def _writer_of(self, line: str) -> Any:
        connection = self._writers.get(line)
        if connection is None or connection.is_closed():
            connection = self._writers[line] = await self._database.open_hot(lock_timeout_ms=LOCK_TIMEOUT_MS)
            self._contents.moulds.forget_written()
            self._content_days.clear()
        return connection

    async def _make_content_day(self, day: date, today: date) -> date:
        """The day whose partition holds what goes on `day`, made where it is missing; nobody but who needs it waits for that."""
        day = purge_day(day, today, days_ahead=content_days_ahead(self._settings.content_retention_days))
        async with self._making_days:
            if day in self._content_days:
                return day
            try:
                async with self._database.transaction() as connection:
                    await make_content_day(connection, day)
            except store.db.AWAY as error:
                log.accept_failed(1, error)
                raise store.db.away("nothing was accepted") from error
            self._content_days.add(day)
            return day

    async def _receipt(self, message: NewMessage, verdict: Verdict) -> Receipt:
        if verdict is None:
            return await self._replay(message)
        told = zip(message.recipients, verdict, strict=True)
        return Receipt(
            message.id, message.rfc_message_id, tuple(ReceiptRecipient(r.id, r.address, r.kind, w.state, w.reason) for r, w in told)
        )

    async def _replay(self, message: NewMessage) -> Receipt:
        """The receipt of the submission that used this key first; a key used with another body is refused."""
        assert message.idempotency_key is not None
        async with store.db.refusing_while_away("send the request again"), self._database.hot() as connection:
            uses = await store.idempotency.find_key_uses(connection, [message.account_id], [message.idempotency_key])
            if not uses:
                raise Conflict("This Idempotency-Key has just been forgotten; send the request again.", retry_after_seconds=1)
            if uses[0].body_hash != message.body_hash:
                raise Conflict("This Idempotency-Key was used with another body.")
            first = await store.messages.read_accepted(connection, message.account_id, uses[0].message_id)
        if first is None:
            raise Conflict("The message of this Idempotency-Key is no longer kept.")
        recipients = tuple(ReceiptRecipient(r.id, r.address, r.kind, r.state, r.reason) for r in first.recipients)
        return Receipt(uses[0].message_id, first.rfc_message_id, recipients, replayed=True)


def _submission_of(taken: Taken, raw: RawSubmission, idempotency_key: str | None) -> Submission:
    """A finished mail and what its header asks for; the credential's stream unless the mail says another."""
    said = taken.controls
    if idempotency_key is not None and said.idempotency_key not in (None, idempotency_key):
        raise InvalidMessage("The request and the mail have two different idempotency keys.")
    key = idempotency_key or said.idempotency_key
    return Submission(
        taken.draft,
        said.stream or raw.stream or DEFAULT_STREAM,
        said.tags,
        said.metadata,
        said.send_at,
        said.expires_at,
        key,
        digest_of(raw) if key is not None else None,
        said.track or _AS_THE_STREAM,
        said.template,
        taken,
        raw.is_report,
        raw.held_for,
    )


def _new_message(submission: Submission, frame: Frame, recipients: list[NewRecipient], made: Made) -> NewMessage:
    """A submission as it is stored."""
    author = submission.draft.sender.mailbox
    return NewMessage(
        account_id=frame.account_id,
        id=frame.message_id,
        stream=frame.stream.name,
        lane_class=frame.stream.lane_class,
        domain_id=frame.domain.id,
        from_address=author,
        subject=made.subject,
        rfc_message_id=made.rfc_message_id or f"<{frame.rfc_id}>",
        tags=orjson.dumps(submission.tags).decode() if submission.tags else "[]",
        metadata=orjson.dumps(submission.metadata).decode() if submission.metadata else "{}",
        send_at=frame.times.send_at,
        expires_at=frame.times.expires_at,
        purge_on=frame.times.purge_on,
        head=made.head,
        body=made.body,
        recipients=recipients,
        idempotency_key=submission.idempotency_key,
        body_hash=submission.body_hash,
        accepted_facts=accepted_facts(author, made.subject, len(recipients)),
        adds=frame.adds,
        tracking=made.tracking,
        mould=made.mould,
        about_bytes=made.about_bytes,
        brings_mould=made.brings_mould,
        held_for=submission.held_for,
    )
