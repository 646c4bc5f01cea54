"""Moulds: what messages from one template have in common, kept once; and what each of them has of its own, packed against it.

A message that is rendered at delivery has no body in `content`. Its row names a mould (the fixed version, the locale, the files) and
holds a *filling*: the header block as it was told when the message was accepted, and the variables. Fillings of one mould are much
alike, so each is compressed with the bones of the first of them, the mould's sample, as the dictionary. A mould goes with the content of
its day, because it is chosen anew for each day.

Whoever may read a filling has the mould's account in his question, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
import zstandard
from sqlalchemy import Column, Date, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, Uuid

from app.mail.compose import Attachment
from app.store.db import HotConnection, metadata

moulds = Table(
    "moulds",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("purge_on", Date, nullable=False),
    Column("template_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("locale", Text),
    Column("sample", LargeBinary, nullable=False),  # a zstd frame
    Column("files", LargeBinary),  # a zstd frame: pack_files
    PrimaryKeyConstraint("account_id", "id", "purge_on"),
    postgresql_partition_by="RANGE (purge_on)",
)

# Further behind nothing is found that is worth the longer start of every compression.
LONGEST_SAMPLE = 16 * 1024
_OF_COMPRESSORS = 72 * 1024  # what one that packs and one that unpacks take
_pack = zstandard.ZstdCompressor(level=1)
_unpack = zstandard.ZstdDecompressor()


@dataclass(eq=False)
class Mould:
    """A row of `moulds`. `sample` is plain, `files` as they are stored."""

    account_id: int
    id: UUID
    purge_on: date
    template_id: UUID
    version: int
    locale: str | None
    sample: bytes
    files: bytes | None = None

    @property
    def stored_bytes(self) -> int:
        return len(self.sample) + len(self.files or b"")

    @property
    def kept_bytes(self) -> int:
        """What it takes in memory."""
        return self.stored_bytes + _OF_COMPRESSORS

    def pack(self, head: bytes, variables: bytes) -> bytes:
        """A filling as it is stored: the header block, which ends its lines, and the variables as JSON."""
        return self._packer.compress(head + b"\r\n" + variables)

    def unpack(self, stored: bytes) -> tuple[bytes, bytes]:
        """(head, variables as JSON) of a filling."""
        head, _, variables = self._unpacker.decompress(stored).partition(b"\r\n\r\n")
        return head + b"\r\n", variables

    def read_files(self) -> tuple[Attachment, ...]:
        """Unpacked each time: they may be a thousand times as large as what is stored."""
        return unpack_files(self.files) if self.files is not None else ()

    @cached_property
    def _dictionary(self) -> zstandard.ZstdCompressionDict:
        return zstandard.ZstdCompressionDict(self.sample, dict_type=zstandard.DICT_TYPE_RAWCONTENT)

    @cached_property
    def _packer(self) -> zstandard.ZstdCompressor:
        return zstandard.ZstdCompressor(level=1, dict_data=self._dictionary)

    @cached_property
    def _unpacker(self) -> zstandard.ZstdDecompressor:
        return zstandard.ZstdDecompressor(dict_data=self._dictionary)


def sample_of(head: bytes, variables: bytes) -> bytes:
    """What a mould that begins with this message is given as its sample: names of headers and variables, and not what they say.

    A sample serves other people's mail, so it must have nothing that is to be erased with the person of the first.
    """
    names = [line.partition(b":")[0] + b": " for line in head.split(b"\r\n") if line and line[0] not in b" \t"]
    return (b"\r\n".join(names) + b"\r\n" + orjson.dumps(_without_values(orjson.loads(variables))))[:LONGEST_SAMPLE]


def _without_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {name if name.isidentifier() else "": _without_values(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_values(one) for one in value]
    return "" if isinstance(value, str) else 0 if isinstance(value, int | float) else value


def pack_files(attachments: Sequence[Attachment]) -> bytes | None:
    """Attachments in one frame: a line of JSON that says what they are, then one after the other. None for none."""
    if not attachments:
        return None
    about = [[one.filename, one.content_type, one.content_id, len(one.content)] for one in attachments]
    return _pack.compress(b"".join((orjson.dumps(about), b"\n", *(one.content for one in attachments))))


def unpack_files(stored: bytes) -> tuple[Attachment, ...]:
    about, _, octets = _unpack.decompress(stored).partition(b"\n")
    found: list[Attachment] = []
    place = 0
    for filename, content_type, content_id, size in orjson.loads(about):
        found.append(Attachment(filename, content_type, octets[place : place + size], content_id))
        place += size
    return tuple(found)


async def write_moulds(connection: HotConnection, new: Sequence[Mould]) -> None:
    """Write those that are not there yet."""
    await connection.execute(
        """
        INSERT INTO moulds (account_id, id, purge_on, template_id, version, locale, sample, files)
        SELECT * FROM unnest($1::int[], $2::uuid[], $3::date[], $4::uuid[], $5::int[], $6::text[], $7::bytea[], $8::bytea[])
        ON CONFLICT DO NOTHING
        """,
        *_columns(new),
    )


def _columns(new: Sequence[Mould]) -> tuple[list[Any], ...]:
    ordered = sorted(new, key=lambda mould: mould.id)
    return (
        [m.account_id for m in ordered],
        [m.id for m in ordered],
        [m.purge_on for m in ordered],
        [m.template_id for m in ordered],
        [m.version for m in ordered],
        [m.locale for m in ordered],
        [_pack.compress(m.sample) for m in ordered],
        [m.files for m in ordered],
    )


# One probe of the primary key for each, however many the planner takes the day for (LIMIT keeps it at that, as in deliverables).
_LOAD = """
SELECT m.*
FROM unnest($1::int[], $2::uuid[]) AS i(account_id, id)
CROSS JOIN LATERAL (
    SELECT account_id, id, purge_on, template_id, version, locale, sample, files FROM moulds
    WHERE account_id = i.account_id AND id = i.id AND purge_on = $3 LIMIT 1
) m
"""


async def load_moulds(connection: HotConnection, account_ids: Sequence[int], mould_ids: Sequence[UUID], purge_on: date) -> list[Mould]:
    """Moulds that are purged on one day, each under its account."""
    rows = await connection.fetch(_LOAD, account_ids, mould_ids, purge_on)
    return [Mould(r[0], r[1], r[2], r[3], r[4], r[5], _unpack.decompress(r[6]), r[7]) for r in rows]
