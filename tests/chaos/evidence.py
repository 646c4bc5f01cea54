"""What a chaos run leaves behind, as values: the logs of clients, sink, receiver and faults, and the database at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from app.store.db import Database
from tests.doubles.sink_log import Dot, read_log


@dataclass(frozen=True, slots=True)
class Ack:
    """A 202 that a client read: one recipient of it."""

    at: float
    address: str
    message: str  # the message's id, as hex


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that was done to the house.

    `worker` and `owned` are given for faults that take a worker's outcomes away: the recipients whose queue rows named the worker when
    the fault was over. `at` is when it stopped doing anything. `reclaimed_seconds`: from `at` to the first of them in other hands.
    """

    kind: str
    at: float
    worker: int | None = None
    owned: frozenset[UUID] = frozenset()
    claimed: int = 0  # rows in workers' hands when it struck
    reclaimed_seconds: float | None = None
    freed_seconds: float | None = None  # … to none of them in its name
    clean: bool | None = None  # of a drain: ended by itself and left nothing


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient at the end, as the database has it."""

    id: UUID
    message: str
    address: str
    state: str
    settled_at: float | None
    maybe_sent: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An event: about a recipient, of `message.accepted` about the message."""

    id: UUID
    about: UUID
    type: str
    number: int


@dataclass(frozen=True, slots=True)
class Attempt:
    recipient: UUID
    worker: int
    outcome: str
    stale: bool


@dataclass(slots=True)
class Evidence:
    """Everything the checker looks at."""

    attempted: set[str] = field(default_factory=set)
    acks: list[Ack] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    given_up: dict[int, float] = field(default_factory=dict)  # worker id: when it was seen to be no worker any more
    posts: list[tuple[str, str]] = field(default_factory=list)  # (webhook-id, event id) of every post that came
    posts_expected: bool = True
    left: dict[UUID, str] = field(default_factory=dict)  # what the queue says of those that are still in it


def read_acks(path: Path) -> list[Ack]:
    """Lines of "time, message id, address …", tab separated; an unfinished last line is left out."""
    acks = []
    for line in _whole_lines(path):
        at, message, *addresses = line.split("\t")
        acks += [Ack(float(at), address, message) for address in addresses]
    return acks


def read_attempted(path: Path) -> set[str]:
    return {address for line in _whole_lines(path) for address in line.split("\t")}


def read_posts(path: Path) -> list[tuple[str, str]]:
    """(webhook-id, event id) of every post in the receiver's log."""
    posts = []
    for line in _whole_lines(path):
        _, webhook_id, _, body = line.split(" ", 3)
        told = orjson.loads(body)["data"]
        posts += [(webhook_id, event["id"]) for event in (told if isinstance(told, list) else [told])]
    return posts


def read_dots(path: Path) -> list[Dot]:
    return read_log(path) if path.exists() else []


async def read_database(database: Database, evidence: Evidence) -> None:
    """Recipients, events and attempts of every account."""
    async with database.hot() as connection:
        rows = await connection.fetch("SELECT id, address, state, extract(epoch FROM settled_at)::float8, maybe_sent FROM recipients")
        evidence.recipients = [Recipient(row[0], f"{row[0].hex[:28]}0000", row[1], row[2], row[3], row[4]) for row in rows]
        rows = await connection.fetch("SELECT recipient_id, owner, site_id, ready, claims, attempts, maybe_sent, due_at FROM queue")
        evidence.left = {
            row[
                0
            ]: f"owner {row[1]}, site {row[2]}, ready {row[3]}, claims {row[4]}, attempts {row[5]}, maybe sent {row[6]}, due {row[7]:%T}"
            for row in rows
        }
        rows = await connection.fetch("SELECT id, about, type, number FROM events")
        evidence.events = [Told(*row) for row in rows]
        rows = await connection.fetch("SELECT recipient_id, worker, outcome, stale FROM attempts ORDER BY recipient_id, id")
        evidence.attempts = [Attempt(*row) for row in rows]


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """The fault log, one JSON object per line."""
    with path.open("w") as file:
        for fault in faults:
            file.write(json.dumps(_plain(fault)) + "\n")


def _plain(fault: Fault) -> Mapping[str, Any]:
    values = {name: getattr(fault, name) for name in fault.__dataclass_fields__}
    return values | {"owned": sorted(str(one) for one in fault.owned)}


def _whole_lines(path: Path) -> Sequence[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []
