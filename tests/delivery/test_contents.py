"""What one worker has loaded: the books of its memory."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from app import store
from app.delivery.contents import Contents
from app.delivery.lanes import Job
from app.store.db import Database
from app.store.deliverables import Deliverable
from app.store.moulds import Mould, sample_of
from app.store.queue import Claimed
from tests.builders import a_message, write

HEAD = b"From: a@x.test\r\n"
VARIABLES = b'{"name":"Ada"}'


async def test_a_mould_that_several_loads_bring_at_once_is_counted_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    purge_on = a_message().purge_on
    mould = Mould(1, uuid4(), purge_on, uuid4(), 1, None, sample_of(HEAD, VARIABLES), files=b"f" * 300_000)
    messages = [a_message(head=b"", body=mould.pack(HEAD, VARIABLES), mould=mould) for _ in range(4)]
    async with database.hot() as connection:
        await store.moulds.write_moulds(connection, [mould])
    recipients = await write(database, *messages)
    load_moulds, all_asked = store.moulds.load_moulds, asyncio.Barrier(4)

    async def load_together(*given: Any) -> list[Mould]:
        found = await load_moulds(*given)
        await all_asked.wait()
        return found

    monkeypatch.setattr(store.moulds, "load_moulds", load_together)
    contents = Contents(database)
    jobs = [a_job(message.recipients[0].id, message) for message in messages]
    assert len(recipients) == len(jobs)
    async with asyncio.timeout(20):
        assert all(await asyncio.gather(*map(contents.load, jobs)))
    assert {job.filling.mould.id for job in jobs if job.filling is not None} == {mould.id}
    assert contents._mould_bytes == mould.kept_bytes


def a_job(recipient_id: Any, message: Any) -> Job:
    claimed = Claimed(recipient_id, 1, 1, 0, 400_000, datetime.now(UTC), 0, 0, False)
    return Job(
        1, claimed, Deliverable(recipient_id, "one@x.test", 1, "bulk", "<1@x.test>", message.expires_at, message.purge_on), None, None
    )
