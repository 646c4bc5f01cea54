"""Filling where something must be waited for: one render for all recipients of a message, and no account holds others' connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import store
from app.accounts.templates import Version
from app.config import Settings
from app.delivery.filling import Filler, NotNow
from app.delivery.lanes import Filling, Job
from app.errors import InvalidMessage
from app.mail.compose import Attachment
from app.mail.finish import CLICKS, OPENS
from app.mail.template import FrozenSet, Rendered
from app.store.deliverables import Deliverable
from app.store.moulds import Mould, pack_files, sample_of, unpack_files
from app.store.queue import Claimed

HEAD = b"From: a@x.test\r\nSubject: s\r\n"
VERSION = Version(uuid4(), 1, {}, FrozenSet("t", {"t": ""}, {}, derived=False, proven=False))
MOULD = Mould(1, uuid4(), date(2030, 1, 1), VERSION.template_id, 1, "it_IT", sample_of(HEAD, b'{"name":"Ada"}'))


class Slow:
    """A book whose templates go to a limited process that takes its time, one after the other for each account."""

    def __init__(self, seconds: float, html: str = '<a href="https://x.test/">x</a>') -> None:
        self._seconds = seconds
        self._html = html
        self._turns: dict[int, asyncio.Lock] = {}
        self.rendered: list[tuple[int, dict[str, Any], str | None]] = []

    async def fixed(self, *_: Any) -> Version:
        return VERSION

    def kept(self, *_: Any) -> Version:
        return VERSION

    def render_at_once(self, *_: Any) -> None:
        return None

    async def render_version(self, account_id: int, _version: Version, use: Any) -> Rendered:
        async with self._turns.setdefault(account_id, asyncio.Lock()):
            await asyncio.sleep(self._seconds)
        self.rendered.append((account_id, use.variables, use.locale))
        return Rendered(None, self._html, None)


def filler(book: Any, **settings: Any) -> Filler:
    return Filler(book, Settings(**settings))


def a_filling(account_id: int = 1, variables: bytes = b'{"name":"Bob"}') -> Filling:
    mould = Mould(account_id, MOULD.id, MOULD.purge_on, MOULD.template_id, 1, MOULD.locale, MOULD.sample)
    return Filling(store.ids.new_message_id(), mould, mould.pack(HEAD, variables))


def a_job(filling: Filling, ordinal: int = 1, adds: int = 0) -> Job:
    recipient_id: UUID = store.ids.recipient_id(filling.message_id, ordinal)
    now = datetime.now(UTC)
    claimed = Claimed(recipient_id, filling.mould.account_id, 1, 0, 1000, now, 0, 0, False)
    deliverable = Deliverable(recipient_id, "a@x.test", 1, "bulk", "<1@x.test>", now, now.date(), adds)
    return Job(1, claimed, deliverable, None, None, filling=filling)


async def test_recipients_of_a_message_share_one_render() -> None:
    book, filling = Slow(0.01), a_filling()
    jobs = [a_job(filling, n, OPENS | CLICKS) for n in range(1, 6)]
    makes = filler(book)
    await asyncio.gather(*(makes.fill(job) for job in jobs))
    assert book.rendered == [(1, {"name": "Bob"}, "it_IT")]
    assert {job.body for job in jobs} == {jobs[0].body}
    assert jobs[0].head is not None and jobs[0].head.startswith(HEAD + b"MIME-Version: 1.0\r\n")
    assert jobs[0].cut is not None and len(jobs[0].cut.slots) == 2
    assert makes.fill_at_once(a_job(filling, 9))  # made already


async def test_an_account_with_slow_templates_does_not_fill_the_worker() -> None:
    makes = filler(Slow(0.4))
    await makes.fill(a_job(a_filling()))  # nothing is known before
    await makes.fill(a_job(a_filling()))
    waiting = [asyncio.create_task(makes.fill(a_job(a_filling()))) for _ in range(20)]
    await asyncio.sleep(0.05)
    put_off = [task.exception() for task in waiting if task.done()]
    assert len(put_off) >= 15
    assert all(isinstance(error, NotNow) and error.seconds > 1 for error in put_off)
    began = asyncio.get_running_loop().time()
    await makes.fill(a_job(a_filling(account_id=2)))
    assert asyncio.get_running_loop().time() - began < 0.6
    await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(task.exception() is None for task in waiting) == 20 - len(put_off)


async def test_a_mail_that_became_too_large_is_no_mail() -> None:
    with pytest.raises(InvalidMessage, match="at most 5000"):
        await filler(Slow(0.0, "x" * 6000), max_message_bytes=5000).fill(a_job(a_filling()))


def test_a_filling_is_small_beside_its_sample_and_comes_back_as_it_was() -> None:
    variables = b'{"name":"Bob","items":[1,2,3]}'
    stored = MOULD.pack(HEAD, variables)
    assert MOULD.unpack(stored) == (HEAD, variables)
    named = b'{"a_long_name_of_a_variable":"Ada","another_that_is_long":[{"and_a_third":1.5}]}'
    mould = Mould(1, uuid4(), date(2030, 1, 1), VERSION.template_id, 1, "it_IT", sample_of(HEAD, named))
    assert len(mould.pack(HEAD, named)) < len(MOULD.pack(HEAD, named)) - 40, "names are in the sample"


def test_a_sample_has_nothing_that_a_message_says() -> None:
    head = b"To: Ada <ada@x.test>\r\nSubject: =?utf-8?q?Cara?=\r\n Ada\r\n"
    sample = sample_of(head, b'{"name":"Ada","items":[{"title":"Cup","price":12.5,"new":true,"note":null}]}')
    assert sample == b'To: \r\nSubject: \r\n{"name":"","items":[{"title":"","price":0,"new":0,"note":null}]}'


def test_files_come_back_as_they_were() -> None:
    files = (
        Attachment("è\n.txt", "text/plain", b"\n\nx"),
        Attachment("b", "image/png", b"", "logo"),
        Attachment("c", "a/b", bytes(300)),
    )
    packed = pack_files(files)
    assert packed is not None
    assert unpack_files(packed) == files
    assert pack_files(()) is None
