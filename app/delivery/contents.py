"""The contents of claimed jobs: loaded with the claim when they are small, right before the conversation when they are large.

One message's recipients share what was loaded for it, as long as there is room. A content that is to be made at delivery comes as a
filling (delivery.filling), with its mould out of memory where it is known.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from app import store
from app.delivery.lanes import Filling, Job
from app.delivery.outgoing import cut_content
from app.mail.tracking import CutBody
from app.store.messages import StoredContent
from app.store.moulds import Mould
from app.store.queue import Claimed

# Contents above this are loaded when their conversation begins, few of them at once.
_LARGE_BYTES = 256 * 1024
_LARGE_LOADS = 4
# Contents kept for other recipients of the same message, and moulds for other messages.
_SHARED_BYTES = 16 * 1024 * 1024
_MOULD_BYTES = 32 * 1024 * 1024


class Loaded(NamedTuple):
    """What a job is given: a whole content, or a filling; nothing of either when it is not loaded, or no longer kept."""

    head: bytes | None = None
    body: bytes | None = None
    cut: CutBody | None = None
    filling: Filling | None = None


_NOTHING = Loaded()


class Contents:
    """What one worker has loaded."""

    def __init__(self, database: store.db.Database) -> None:
        self._database = database
        self._large = asyncio.Semaphore(_LARGE_LOADS)
        self._shared: OrderedDict[UUID, tuple[Loaded, int]] = OrderedDict()
        self._shared_bytes = 0
        self._moulds: OrderedDict[tuple[int, UUID], Mould] = OrderedDict()
        self._mould_bytes = 0

    def of(self, message_id: UUID) -> Loaded:
        """What `load_small` has found."""
        return self._shared[message_id][0] if message_id in self._shared else _NOTHING

    async def load_small(self, connection: store.db.HotConnection, rows: Sequence[Claimed], purge_days: dict[UUID, date]) -> None:
        """Contents of the small ones, each message once, into the shared store; the least recent leave it. Days by recipient."""
        wanted: dict[date, dict[UUID, Claimed]] = {}
        for row in rows:
            message_id = store.ids.message_of(row.recipient_id)
            if message_id in self._shared:
                self._shared.move_to_end(message_id)
            elif row.bytes <= _LARGE_BYTES and row.recipient_id in purge_days:
                wanted.setdefault(purge_days[row.recipient_id], {})[message_id] = row
        self._trim()
        for day, firsts in wanted.items():
            accounts = [row.account_id for row in firsts.values()]
            found = await store.messages.load_content(connection, accounts, list(firsts), day)
            for message_id, loaded in (await self._open(connection, found, day)).items():
                # A filling has the size that it will have: it becomes a whole content here.
                self._shared[message_id] = (loaded, firsts[message_id].bytes)
                self._shared_bytes += firsts[message_id].bytes

    async def load(self, job: Job) -> bool:
        """Load a content that was too large to be loaded with the claim; whether it is still kept."""
        message_id = store.ids.message_of(job.claimed.recipient_id)
        day = job.deliverable.purge_on
        async with self._large, self._database.hot() as connection:
            found = await store.messages.load_content(connection, [job.claimed.account_id], [message_id], day)
            loaded = (await self._open(connection, found, day)).get(message_id, _NOTHING)
        job.head, job.body, job.cut, job.filling = loaded
        return loaded is not _NOTHING

    async def _open(self, connection: store.db.HotConnection, found: Iterable[StoredContent], day: date) -> dict[UUID, Loaded]:
        """By message; a filling whose mould is gone is left out."""
        found = list(found)
        moulds = await self._find_moulds(connection, {(one.account_id, one.mould_id) for one in found if one.mould_id is not None}, day)
        opened: dict[UUID, Loaded] = {}
        for one in found:
            if one.mould_id is None:
                opened[one.message_id] = Loaded(one.head, one.body, cut_content(one.body, one.tracking))
            elif (mould := moulds.get((one.account_id, one.mould_id))) is not None:
                opened[one.message_id] = Loaded(filling=Filling(one.message_id, mould, one.body))
        return opened

    async def _find_moulds(
        self, connection: store.db.HotConnection, wanted: set[tuple[int, UUID]], day: date
    ) -> dict[tuple[int, UUID], Mould]:
        moulds = {key: self._moulds[key] for key in wanted if key in self._moulds}
        missing = [key for key in wanted if key not in moulds]
        if missing:
            accounts, ids = zip(*missing, strict=True)
            for mould in await store.moulds.load_moulds(connection, accounts, ids, day):
                key = (mould.account_id, mould.id)
                if key not in self._moulds:  # large contents are loaded side by side: another load may have brought it meanwhile
                    self._moulds[key] = mould
                    self._mould_bytes += mould.kept_bytes
                moulds[key] = self._moulds[key]
        for key in wanted & self._moulds.keys():
            self._moulds.move_to_end(key)
        while self._mould_bytes > _MOULD_BYTES:
            self._mould_bytes -= self._moulds.popitem(last=False)[1].kept_bytes
        return moulds

    def _trim(self) -> None:
        while self._shared_bytes > _SHARED_BYTES:
            _, (_loaded, size) = self._shared.popitem(last=False)
            self._shared_bytes -= size
