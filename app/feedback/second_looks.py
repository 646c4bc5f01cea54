"""Opens and clicks are looked at a second time: a worker's loop that corrects what was said of them.

What was told stays told. A correction is an event of its own, `message.reclassed`: of which hit, what holds of it now, and what was said
before; the last one of a hit counts. With it, in one transaction, go the recipient's marks and the end of the look, so that a worker that
is killed leaves all as it was and another looks. Who looks again, after rules have changed, says only what changed.

Judged are the hits that are due; those beside them are company. So a verdict by company that is gone later (a crowd) stays.

A recipient whose hits cannot be judged, by a fault of ours, is found by judging each by itself: it is put off, and given up after so many
tries (store.tries); the others are judged.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from app import log, store
from app.events.record import Event, EventType, record
from app.feedback.hindsight import CROWD_SECONDS, HEAD_FIRST, Correction, Head, Seen, Word, asker_of, correct, judge_again
from app.jobs import Wakes
from app.store.db import CONNECTION_ERRORS, Database, HotConnection
from app.store.events import BEGINNING
from app.store.ids import floor_of, public_id, time_of
from app.store.second_looks import Key, Look, Marks, Taken, Told
from app.store.tries import MOST_TRIES

AT_ONCE = 200  # so few that the transaction, for which every feed waits, is short
_SLICE = 20_000
# Of an old span all rows are there before the first is looked at: a crowd is to be seen whole.
_AGAIN_SECONDS = 30.0
_BESIDE_SPAN = timedelta(seconds=10)
_HITS = (EventType.OPENED.value, EventType.CLICKED.value)


@dataclass(slots=True)
class _History:
    """What was told of one recipient's hits, and what holds of each now."""

    hits: list[Seen] = field(default_factory=list)
    told: dict[int, Told] = field(default_factory=dict)
    words: dict[int, Word] = field(default_factory=dict)


async def look_at_due(database: Database, wakes: Wakes) -> bool:
    """A step of a worker's loop: look at what is due; whether there may be more. Where that fails, what was in hand is due as before."""
    taken = await look_again(database, wakes)
    async with database.hot() as connection:
        await store.second_looks.drop_seen(connection)
    return taken == AT_ONCE


async def look_again(database: Database, wakes: Wakes) -> int:
    """Look at up to AT_ONCE hits that are due; how many there were."""
    async with database.hot() as connection, connection.transaction():
        taken = await store.second_looks.take_looks(connection, AT_ONCE)
        if not taken:
            return 0
        corrected = await _look_at(connection, taken)
    if corrected:
        log.reclassed(len(taken), sum(len(found) for found, _, _ in corrected.values()))
        wakes.tell_events({account_id for account_id, _ in corrected})
    return len(taken)


async def look_at_span(database: Database, account_id: int, begin: datetime, end: datetime) -> int:
    """Have all hits that were told in a span looked at again by the workers; how many. Those right beside it are their company."""
    after: tuple[str, Any] | None = (BEGINNING.xid, BEGINNING.id)
    span = (floor_of(begin - _BESIDE_SPAN), floor_of(end + _BESIDE_SPAN))
    found = 0
    while after is not None:
        async with database.hot() as connection:
            after, hits = await store.second_looks.read_hits(connection, account_id, after, span, _HITS, _SLICE)
            looks = [look for told in hits if (look := _look(told, begin, end)) is not None]
            await store.second_looks.add_looks(connection, looks, _AGAIN_SECONDS)
        found += sum(not look.company for look in looks)
    return found


Corrected = tuple[list[Correction], "_History", str]


async def _look_at(connection: HotConnection, taken: Sequence[Taken]) -> dict[Key, Corrected]:
    """Judge, write, and end the looks; the corrections that were made. Where that fails, each recipient by itself."""
    try:
        async with connection.transaction():  # a savepoint: what is taken stays taken
            corrected = await _judge(connection, taken)
            await _write(connection, corrected)
            await store.second_looks.end_looks(connection, taken)
            return corrected
    except CONNECTION_ERRORS:  # no fault of a row's
        raise
    except Exception as error:
        apart = _by_recipient(taken)
        if len(apart) == 1:
            await _put_off(connection, taken, error)
            return {}
    made: dict[Key, Corrected] = {}
    for looks in apart:
        made |= await _look_at(connection, looks)
    return made


def _by_recipient(taken: Sequence[Taken]) -> list[list[Taken]]:
    """In the order in which recipients are locked."""
    looks: dict[Key, list[Taken]] = defaultdict(list)
    for one in taken:
        looks[one.account_id, one.recipient_id].append(one)
    return [looks[key] for key in sorted(looks)]


async def _put_off(connection: HotConnection, looks: Sequence[Taken], error: Exception) -> None:
    tries = await store.second_looks.put_off_looks(connection, looks)
    log.put_off("second_look", public_id("rcp", looks[0].recipient_id), tries, error, given_up=tries >= MOST_TRIES)


async def _judge(connection: HotConnection, taken: Sequence[Taken]) -> dict[Key, Corrected]:
    """The corrections of each recipient that has any."""
    due: dict[Key, list[int]] = defaultdict(list)
    for one in taken:
        if one.number:
            due[one.account_id, one.recipient_id].append(one.number)
    recipients = await store.second_looks.lock_recipients(connection, sorted(due)) if due else {}
    if not recipients:
        return {}
    keys = sorted(recipients)
    histories = await _read_histories(connection, keys)
    heads: dict[Key, list[Head]] = defaultdict(list)
    for account_id, recipient_id, at, asker in await store.second_looks.read_heads(connection, keys):
        heads[account_id, recipient_id].append(Head(at, asker))
    corrected: dict[Key, Corrected] = {}
    for key in keys:
        address, attempt, total_ms = recipients[key]
        history = histories[key]
        delivered_at = time_of(attempt) + timedelta(milliseconds=total_ms) if attempt is not None else None
        verdicts = judge_again(history.hits, heads[key], delivered_at)
        found = correct(history.hits, history.words, {number: verdicts[number] for number in due[key] if _can_be_judged(history, number)})
        if found:
            corrected[key] = (found, history, address)
        await asyncio.sleep(0)  # mail goes on beside it
    return corrected


def _can_be_judged(history: _History, number: int) -> bool:
    """Not where the hit is gone, nor where the proof is: a HEAD is kept for minutes."""
    return number in history.told and history.words[number].machine != HEAD_FIRST


async def _read_histories(connection: HotConnection, keys: Sequence[Key]) -> dict[Key, _History]:
    crowds = await store.second_looks.count_crowds(connection, keys, CROWD_SECONDS)
    histories: dict[Key, _History] = defaultdict(_History)
    for told in await store.second_looks.read_told(connection, keys, (*_HITS, EventType.RECLASSED.value)):
        history = histories[told.account_id, told.about]
        facts = orjson.loads(told.facts)
        number = told.number
        if told.type == EventType.RECLASSED:
            number = facts["event_number"]
        else:
            history.hits.append(_seen(told, facts, crowds.get((told.account_id, told.about, number), 1)))
            history.told[number] = told
        history.words[number] = Word(facts.get("machine_reason") if facts["by"] == "machine" else None, facts["first"])
    return histories


async def _write(connection: HotConnection, corrected: dict[Key, Corrected]) -> None:
    """The events, and the marks that moved."""
    if not corrected:
        return
    rows = [_marks(key, found) for key, (found, _, _) in sorted(corrected.items())]
    before = await store.second_looks.move_marks(connection, rows)
    await record(
        connection,
        [
            Event(EventType.RECLASSED, key[0], key[1], before[key] + place, _facts(one, history.told[one.hit.number], address))
            for key, (found, history, address) in sorted(corrected.items())
            for place, one in enumerate(found, start=1)
        ],
    )


def _marks(key: Key, found: Sequence[Correction]) -> Marks:
    """Where a hit became, or is no longer, the first, the mark is the new first's time, or none."""
    moved: dict[bool, tuple[datetime | None]] = {}
    for one in found:
        if one.was.first != one.now.first:
            at = moved.get(one.hit.is_click, (None,))[0]
            moved[one.hit.is_click] = (one.hit.at if one.now.first else at,)
    return Marks(*key, len(found), moved.get(False), moved.get(True))


def _facts(one: Correction, told: Told, address: str) -> dict[str, object]:
    facts: dict[str, object] = {
        "recipient": address,
        "event_id": public_id("evt", told.id),
        "event_type": told.type,
        "event_number": told.number,
        "by": one.now.by,
    }
    if one.now.machine:
        facts["machine_reason"] = one.now.machine
    return facts | {"first": one.now.first, "was_by": one.was.by, "was_first": one.was.first, "at": orjson.loads(told.facts)["at"]}


def _seen(told: Told, facts: dict[str, Any], crowd: int) -> Seen:
    return Seen(
        number=told.number,
        at=datetime.fromisoformat(facts["at"]),
        is_click=told.type == EventType.CLICKED,
        url=facts.get("url"),
        ip=facts.get("ip", ""),
        agent=facts.get("user_agent", ""),
        told=facts.get("machine_reason"),
        crowd=crowd,
    )


def _look(told: Told, begin: datetime, end: datetime) -> Look | None:
    """None of who was erased: nothing is left to judge by."""
    facts = orjson.loads(told.facts)
    if "user_agent" not in facts:
        return None
    kind = "click" if told.type == EventType.CLICKED else "open"
    asker = asker_of(facts["ip"], facts["user_agent"])
    company = not begin <= time_of(told.id) < end
    return Look(told.account_id, told.about, told.number, datetime.fromisoformat(facts["at"]), kind, asker, company)
