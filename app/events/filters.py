"""Which events an endpoint wants. Pure.

Rules:
* Types are named whole (`message.bounced`) or as a family (`message.*`), which takes in types that come later.
* Streams and tags narrow what is about mail; what is about the account's webhooks passes them. One tag in common is enough.
* What narrows nothing is None. Of several narrowings all must hold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson

from app.events.posts import is_of_message
from app.events.record import EventType
from app.store.events import FeedRow

FAMILIES = tuple(sorted({f"{kind.partition('.')[0]}.*" for kind in EventType}))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An endpoint's filters."""

    types: frozenset[str] | None = None
    streams: frozenset[str] | None = None
    tags: frozenset[str] | None = None

    @property
    def everything(self) -> bool:
        return self.types is None and self.streams is None and self.tags is None


def keep_wanted(rows: Sequence[FeedRow], wanted: Wanted) -> Sequence[FeedRow]:
    return rows if wanted.everything else [row for row in rows if is_wanted(row, wanted)]


def is_wanted(row: FeedRow, wanted: Wanted) -> bool:
    if wanted.types is not None and not has_type(row.type, wanted.types):
        return False
    if not is_of_message(row):
        return True
    if wanted.streams is not None and row.stream not in wanted.streams:
        return False
    return wanted.tags is None or not wanted.tags.isdisjoint(orjson.loads(row.tags or "[]"))


def has_type(kind: str, types: Collection[str]) -> bool:
    return kind in types or f"{kind.partition('.')[0]}.*" in types


def is_known(name: str) -> bool:
    """Whether there is such a type or family."""
    return name in FAMILIES or any(name == kind.value for kind in EventType)
