"""What is stored of a message: its content whole, or what its content is made of when it is delivered.

Whole: the texts are rendered if a template is named, composed, and the tracking is planned. For all mail but this:

Late: mail of a batch or of a bulk stream that names a template. The version is fixed, the variables are checked against it (so that what
could not be rendered is refused now, with the place of what is wrong), and the header block is written, because everything in it has
been told by then: Message-ID, Date, Subject. Kept are head and variables in a mould (store.moulds); html, text and MIME are made by
delivery.filling, the same on every attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

import orjson

from app import store
from app.accounts.domains import SendingDomain
from app.accounts.streams import Stream
from app.accounts.templates import TemplateBook, TemplateUse
from app.config import Settings
from app.errors import FieldError, InvalidMessage
from app.intake import admission
from app.intake.moulds import Moulds, digest_of
from app.mail.compose import Content, Draft, compose, compose_head
from app.mail.finish import CLICKS, OPENS
from app.mail.tracking import plan_as_json, plan_composed
from app.mail.unsubscribe import standing_fields
from app.store.moulds import Mould

# What encodings add to texts, about, and base64 with its line ends to files.
_TEXT_GROWTH, _FILE_GROWTH = 1.05, 1.37


@dataclass(slots=True)
class Frame:
    """What is settled of a message before its content is made. `dated` is what its Date field says."""

    account_id: int
    message_id: UUID
    rfc_id: str
    dated: datetime
    purge_on: date
    stream: Stream
    domain: SendingDomain
    campaign: str
    adds: int


@dataclass(slots=True)
class Made:
    """The fields of a NewMessage that this is about; `subject` is the one that the mail has."""

    subject: str
    head: bytes
    body: bytes
    part_map: str = "[]"
    tracking: str | None = None
    mould: Mould | None = None
    about_bytes: int | None = None
    brings_mould: bool = False


class Contents:
    """Makes the contents of one process's messages."""

    def __init__(self, database: store.db.Database, templates: TemplateBook, settings: Settings) -> None:
        self._templates = templates
        self._settings = settings
        self._own_urls = (f"{settings.public_url.rstrip('/')}/",)
        self.moulds = Moulds(database)

    async def make(self, frame: Frame, draft: Draft, use: TemplateUse | None, *, in_batch: bool) -> Made:
        """InvalidMessage or MessageTooLarge when there can be none."""
        if use is None:
            return self._whole(frame, draft)
        if in_batch or frame.stream.lane_class != 0:
            files = digest_of(draft.attachments)
            if self.moulds.has_met(frame.account_id, files) and await self.moulds.are_read():
                return await self._late(frame, draft, use, files)
        return self._whole(frame, await self._fill(frame.account_id, draft, use))

    def _whole(self, frame: Frame, draft: Draft) -> Made:
        tracks = bool(frame.adds & (OPENS | CLICKS))
        try:
            content = compose(draft, message_id=frame.rfc_id, date=frame.dated, boundary_seed=frame.message_id.bytes, link_spans=tracks)
        except ValueError as error:
            raise InvalidMessage(str(error)) from error
        head = content.head + _standing_fields(frame, draft)
        admission.admit_size(len(head) + len(content.body), self._settings.max_message_bytes)
        part_map = orjson.dumps([(p.path, p.content_type, p.charset, p.encoding, p.start, p.end) for p in content.parts]).decode()
        return Made(draft.subject, head, content.body, part_map, self._plan(content))

    async def _late(self, frame: Frame, draft: Draft, use: TemplateUse, files_digest: bytes) -> Made:
        version = await self._templates.resolve(frame.account_id, use)
        checked = await self._templates.check_version(frame.account_id, version, use)
        subject = _subject_of(draft, checked.subject)
        if not version.has_texts:
            raise _no_texts()
        draft = replace(draft, subject=subject)
        variables = orjson.dumps(use.variables)
        try:
            head = compose_head(draft, message_id=frame.rfc_id, date=frame.dated) + _standing_fields(frame, draft)
            mould, is_new = self.moulds.choose(
                frame.account_id, version, use.locale, draft.attachments, files_digest, frame.purge_on, head=head, variables=variables
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

    def _plan(self, content: Content) -> str | None:
        """Where links and pixel go, as it is stored; None when there is no place for either."""
        if not content.links and content.pixel is None:
            return None
        plan = plan_composed(content.body, content.links, content.pixel, own=self._own_urls)
        return orjson.dumps(plan_as_json(plan)).decode() if plan.slots else None


def _subject_of(draft: Draft, rendered: str | None) -> str:
    subject = draft.subject or rendered
    if not subject:
        detail = "Neither the message nor the template has a subject."
        raise InvalidMessage(detail, errors=[FieldError("#/subject", "missing", detail)])
    return subject


def _no_texts() -> InvalidMessage:
    detail = "The template has neither html nor text."
    return InvalidMessage(detail, errors=[FieldError("#/template", "missing", detail)])


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
