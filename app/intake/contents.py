"""What is stored of a message: its content whole, or what its content is made of when it is delivered.

Whole: the texts are rendered if a template is named, composed, and the tracking is planned. For all mail but this:

Late: mail of a batch or of a bulk stream that names a template. The version is fixed, the variables are checked against it (so that what
could not be rendered is refused now, with the place of what is wrong), and the header block is written, because everything in it has
been told by then: Message-ID, Date, Subject. Kept are head and variables in a mould (store.moulds); html, text and MIME are made by
delivery.filling, the same on every attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import orjson

from app import store
from app.accounts.domains import SendingDomain
from app.accounts.streams import Stream
from app.accounts.templates import TemplateBook, TemplateUse
from app.config import Settings
from app.errors import InvalidMessage
from app.intake import admission
from app.intake.admission import Times
from app.intake.moulds import Moulds, digest_of
from app.mail.adopt import Adopted, Finished, adopt
from app.mail.compose import Content, Draft, compose, compose_body, compose_head
from app.mail.fields import Unfit
from app.mail.files import read_files, without_content_fields
from app.mail.finish import CLICKS, OPENS
from app.mail.tracking import TrackingPlan, plan_as_json, plan_composed, plan_tracking
from app.mail.unsubscribe import standing_fields
from app.store.moulds import Mould

# What encodings add to texts, about, and base64 with its line ends to files.
_TEXT_GROWTH, _FILE_GROWTH = 1.05, 1.37
_LARGE_BYTES = 64 * 1024


@dataclass(slots=True)
class Frame:
    """What is settled of a message before its content is made."""

    account_id: int
    message_id: UUID
    rfc_id: str
    accepted_at: datetime
    times: Times
    stream: Stream
    domain: SendingDomain
    campaign: str
    adds: int

    @property
    def tracks(self) -> bool:
        return bool(self.adds & (OPENS | CLICKS))


@dataclass(slots=True)
class Made:
    """The fields of a NewMessage that this is about; `subject` is the one that the mail has. The Message-ID: where it brought one."""

    subject: str
    head: bytes
    body: bytes
    tracking: str | None = None
    mould: Mould | None = None
    about_bytes: int | None = None
    brings_mould: bool = False
    rfc_message_id: str | None = None


class Contents:
    """Makes the contents of one process's messages."""

    def __init__(self, database: store.db.Database, templates: TemplateBook, settings: Settings) -> None:
        self._templates = templates
        self._settings = settings
        self._own_urls = (f"{settings.public_url.rstrip('/')}/",)
        self.moulds = Moulds(database)
        self._large = asyncio.Semaphore(1)

    async def make(self, frame: Frame, draft: Draft, use: TemplateUse | None, *, in_batch: bool) -> Made:
        """InvalidMessage or MessageTooLarge when there can be none."""
        if use is None:
            return await self._write_whole(frame, draft)
        if in_batch or frame.stream.lane_class != 0:
            files = digest_of(draft.attachments)
            if self.moulds.has_met(frame.account_id, files) and await self.moulds.are_read():
                return await self._late(frame, draft, use, files)
        return await self._write_whole(frame, await self._fill(frame.account_id, draft, use))

    async def _write_whole(self, frame: Frame, draft: Draft) -> Made:
        size = len(draft.html or "") + len(draft.text or "") + sum(len(one.content) for one in draft.attachments)
        return await self._beside(size, lambda: self._whole(frame, draft))

    async def _beside(self, size: int, write: Callable[[], Made]) -> Made:
        """What is large is written in a thread, one at a time: it takes tens of milliseconds, which all others would wait."""
        if size <= _LARGE_BYTES:
            return write()
        async with self._large:
            return await asyncio.to_thread(write)

    def _whole(self, frame: Frame, draft: Draft) -> Made:
        seed, dated = frame.message_id.bytes, frame.times.dated
        try:
            content = compose(draft, message_id=frame.rfc_id, date=dated, boundary_seed=seed, link_spans=frame.tracks)
        except ValueError as error:
            raise InvalidMessage(str(error)) from error
        return self._kept(frame, draft, content, lambda: self._plan(content))

    async def adopt(self, frame: Frame, draft: Draft, finished: Finished, use: TemplateUse | None, trace: bytes) -> Made:
        """The content of a finished mail, `trace` on top; with a template its texts take the place of the mail's own, whose files stay."""
        size = len(finished.body)
        if use is None:
            made = await self._beside(size, lambda: self._whole_adopted(frame, draft, _adopted(frame, finished, trace)))
        else:
            adopted = _adopted(frame, finished, trace)
            draft = await self._fill(frame.account_id, draft, use)
            made = await self._beside(size, lambda: self._refilled(frame, draft, adopted))
        made.rfc_message_id = finished.message_id
        return made

    def _whole_adopted(self, frame: Frame, draft: Draft, adopted: Adopted) -> Made:
        return self._kept(frame, draft, adopted.content, lambda: self._plan_adopted(frame, adopted))

    def _kept(self, frame: Frame, draft: Draft, content: Content, plan: Callable[[], str | None]) -> Made:
        """A content as it is stored, with the fields that stand in all mail of its stream."""
        head = content.head + _standing_fields(frame, draft)
        admission.admit_size(len(head) + len(content.body), self._settings.max_message_bytes)
        return Made(draft.subject, head, content.body, plan())

    async def _late(self, frame: Frame, draft: Draft, use: TemplateUse, files_digest: bytes) -> Made:
        version = await self._templates.resolve(frame.account_id, use)
        checked = await self._templates.check_version(frame.account_id, version, use)
        subject = _subject_of(draft, checked.subject)
        if not version.has_texts:
            raise _no_texts()
        draft = replace(draft, subject=subject)
        variables = orjson.dumps(use.variables)
        try:
            head = compose_head(draft, message_id=frame.rfc_id, date=frame.times.dated) + _standing_fields(frame, draft)
            mould, is_new = self.moulds.choose(
                frame.account_id, version, use.locale, draft.attachments, files_digest, frame.times.purge_on, head=head, variables=variables
            )
        except ValueError as error:
            raise InvalidMessage(str(error)) from error
        files_bytes = sum(len(one.content) for one in draft.attachments)
        about_bytes = len(head) + int(checked.about_bytes * _TEXT_GROWTH + files_bytes * _FILE_GROWTH)
        admission.admit_size(about_bytes, self._settings.max_message_bytes)
        return Made(subject, b"", mould.pack(head, variables), mould=mould, about_bytes=about_bytes, brings_mould=is_new)

    async def _fill(self, account_id: int, draft: Draft, use: TemplateUse) -> Draft:
        """The draft with the texts of its template; its own subject, if it has one, goes before the template's."""
        made = await self._templates.render(account_id, use)
        subject = _subject_of(draft, made.subject)
        if made.html is None and made.text is None:
            raise _no_texts()
        return replace(draft, subject=subject, html=made.html, text=made.text)

    def _refilled(self, frame: Frame, draft: Draft, adopted: Adopted) -> Made:
        """The header block of a finished mail around the texts of a template and the mail's files."""
        try:
            files = read_files(adopted)
            content = compose_body(draft.html, draft.text, files, boundary_seed=frame.message_id.bytes, link_spans=frame.tracks)
        except ValueError as error:
            raise InvalidMessage(str(error)) from error
        content.head = without_content_fields(adopted.content.head, draft.subject) + content.head
        return self._kept(frame, draft, content, lambda: self._plan(content))

    def _plan(self, content: Content) -> str | None:
        """Where links and pixel go, as it is stored; None when there is no place for either."""
        if not content.links and content.pixel is None:
            return None
        return _as_stored(plan_composed(content.body, content.links, content.pixel, own=self._own_urls))

    def _plan_adopted(self, frame: Frame, adopted: Adopted) -> str | None:
        if not frame.tracks:
            return None
        content = adopted.content
        return _as_stored(plan_tracking(content.body, content.parts, sealed=adopted.sealed, own=self._own_urls))


def _adopted(frame: Frame, finished: Finished, trace: bytes) -> Adopted:
    try:
        return adopt(finished, message_id=frame.rfc_id, date=frame.times.dated, trace=trace)
    except Unfit as unfit:
        raise InvalidMessage(str(unfit)) from unfit


def _as_stored(plan: TrackingPlan) -> str | None:
    return orjson.dumps(plan_as_json(plan)).decode() if plan.slots else None


def _subject_of(draft: Draft, rendered: str | None) -> str:
    subject = draft.subject or rendered
    if not subject:
        raise InvalidMessage.of_field("#/subject", "missing", "Neither the message nor the template has a subject.")
    return subject


def _no_texts() -> InvalidMessage:
    return InvalidMessage.of_field("#/template", "missing", "The template has neither html nor text.")


def _standing_fields(frame: Frame, draft: Draft) -> bytes:
    return standing_fields(
        stream=frame.stream.name,
        title=frame.stream.title,
        list_id=frame.stream.list_id,
        is_bulk=frame.stream.lane_class != 0,
        domain=frame.domain.name,
        account_id=frame.domain.account_id,
        campaign=frame.campaign,
        own=draft.headers,
    )
