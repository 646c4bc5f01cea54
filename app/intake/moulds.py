"""Which mould a message is cast in, and that its row is there before the message is.

A mould is chosen in memory: messages of one account with the same version, locale, files and purge day share one, and the first of them is
its sample. Every process has moulds of its own, so nobody waits for anybody to agree on one. Its row is written once, right before
the first group that needs it; a mould whose messages were refused after all is a row that goes with its day.

What has been written is forgotten with the connection: behind a new one there may be a database that was restored and knows none of it.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from app import store
from app.accounts.templates import Version
from app.mail.compose import Attachment, compose_body
from app.recent import Recent
from app.store.moulds import Mould, pack_files, sample_of

# From this revision of the schema on a worker can render.
_READ_SINCE = "0008"
_ASK_EVERY_SECONDS = 10.0
_MOST_BYTES = 32 * 1024 * 1024
_REMEMBERED = 5_000


class Moulds:
    """The moulds that this process casts in."""

    def __init__(self, database: store.db.Database) -> None:
        self._database = database
        self._kept: OrderedDict[tuple[Any, ...], Mould] = OrderedDict()
        self._kept_bytes = 0
        self._written: Recent[UUID, None] = Recent(_REMEMBERED)
        self._met: Recent[tuple[int, bytes], None] = Recent(_REMEMBERED)
        self._are_read = False
        self._ask_again = 0.0

    async def are_read(self) -> bool:
        """Whether all workers can read them: while machines are upgraded some may be of a release that cannot."""
        if self._ask_again < time.monotonic():
            async with store.db.refusing_while_away("nothing was accepted"), self._database.hot() as connection:
                self._are_read = await store.workers.all_know(connection, _READ_SINCE)
            self._ask_again = time.monotonic() + _ASK_EVERY_SECONDS
        return self._are_read

    def has_met(self, account_id: int, files_digest: bytes) -> bool:
        """Whether the account's mail had the same files lately. Files of one message alone go with it, to be erased with it."""
        if not files_digest:
            return True
        files = (account_id, files_digest)
        met = files in self._met
        self._met[files] = None
        return met

    def choose(
        self,
        account_id: int,
        version: Version,
        locale: str | None,
        attachments: Sequence[Attachment],
        files_digest: bytes,
        purge_on: date,
        *,
        head: bytes,
        variables: bytes,
    ) -> tuple[Mould, bool]:
        """The mould for a message, and whether it is made for it. ValueError says which of the files cannot be mailed."""
        key = (account_id, version.key, locale, purge_on, files_digest)
        mould = self._kept.get(key)
        if mould is not None:
            self._kept.move_to_end(key)
            return mould, False
        if attachments:
            compose_body("", None, attachments, boundary_seed=b"")
        mould = Mould(
            account_id=account_id,
            id=store.ids.new_id(),
            purge_on=purge_on,
            template_id=version.template_id,
            version=version.number,
            locale=locale,
            sample=sample_of(head, variables),
            files=pack_files(attachments),
        )
        self._kept[key] = mould
        self._kept_bytes += mould.kept_bytes
        while self._kept_bytes > _MOST_BYTES or len(self._kept) > _REMEMBERED:
            self._kept_bytes -= self._kept.popitem(last=False)[1].kept_bytes
        return mould, True

    async def write(self, connection: store.db.HotConnection, needed: Iterable[Mould]) -> None:
        """See to it that these are there."""
        missing = {mould.id: mould for mould in needed if mould.id not in self._written}
        if not missing:
            return
        await store.moulds.write_moulds(connection, list(missing.values()))
        self._written |= dict.fromkeys(missing)

    def forget_written(self) -> None:
        self._written.clear()


def digest_of(attachments: Sequence[Attachment]) -> bytes:
    """By what equal sets of files are known; empty for none."""
    if not attachments:
        return b""
    digest = hashlib.blake2b(digest_size=16)
    for one in attachments:
        digest.update(repr((one.filename, one.content_type, one.content_id, len(one.content))).encode(errors="surrogatepass"))
        digest.update(one.content)
    return digest.digest()
