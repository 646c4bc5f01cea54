"""What is done to a house. Each fault waits until the house is busy, strikes, and leaves a Fault in the harness.

A kill of a worker: its id and its rows are read a moment after its death (a statement under way may still have been committed), long
before its lease ends. Then the rows are watched until they are in other hands.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import redis

from tests.chaos.evidence import Fault
from tests.chaos.harness import Harness
from tests.chaos.mortal_worker import LEAST_IN_HAND, POINTS
from tests.house.children import Child

_BUSY_SECONDS = 60.0
_TAKEN_OVER_SECONDS = 60.0
_MOMENT_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_POINT_SECONDS = 20.0
_SETTLED_SECONDS = 0.3
_WATCH_STEP_SECONDS = 0.1
_DRAIN_SECONDS = 40.0

Strike = Callable[[Harness], Awaitable[None]]


async def busy_workers(harness: Harness, *, accepting: bool = False) -> dict[int, int]:
    """Rows in hand by worker id, at a moment when there are enough in one hand; `accepting`: and clients are being answered.

    Not the first such moment: that is always the beginning of a wave.
    """
    until = time.monotonic() + _BUSY_SECONDS
    await asyncio.sleep(random.uniform(0, _MOMENT_SECONDS))
    while True:
        answered = _answers(harness)
        await asyncio.sleep(_LOOK_SECONDS)
        claimed = await _claimed(harness)
        if any(count >= LEAST_IN_HAND for count in claimed.values()) and (not accepting or _answers(harness) > answered):
            return claimed
        if time.monotonic() > until:
            raise RuntimeError(f"the house does not get busy: {claimed}\n{harness.logs()}")


async def _claimed(harness: Harness) -> dict[int, int]:
    rows = await harness.ask(
        "SELECT q.owner, count(*) FROM queue q JOIN workers w ON w.id = q.owner WHERE w.lease_until > now() GROUP BY 1"
    )
    return {row[0]: row[1] for row in rows or ()}


def _answers(harness: Harness) -> int:
    """Grows with every answer that a client has read."""
    return harness.acks.stat().st_size if harness.acks.exists() else 0


async def wait_for_take_over(harness: Harness) -> None:
    """Until no row is in the name of a dead worker.

    PostgreSQL is struck only then: after its start nobody is given up for one lease, and the time in which rows must come into other hands
    is for one lease of grace and not for two.
    """
    until = time.monotonic() + _TAKEN_OVER_SECONDS
    while time.monotonic() < until:
        rows = await harness.ask("SELECT FROM queue WHERE owner = ANY($1::int[]) LIMIT 1", list(harness.taken))
        if rows == []:
            return
        await asyncio.sleep(0.1)


async def busiest_worker(harness: Harness) -> tuple[Child, int, int]:
    """(worker, its id, its rows): the one with the most in hand that runs."""
    while True:
        claimed = await busy_workers(harness)
        ids = {await harness.house.worker_id(worker): worker for worker in harness.house.workers if worker.runs}
        known = [(count, worker_id) for worker_id, count in claimed.items() if worker_id in ids and count >= LEAST_IN_HAND]
        if known:
            count, worker_id = max(known)
            return ids[worker_id], worker_id, count
        await asyncio.sleep(0.05)


# --- workers


def kill_worker_at(number: int) -> Strike:
    """kill -9 of a worker at a named point."""

    async def strike(harness: Harness) -> None:
        worker, worker_id, claimed = await busiest_worker(harness)
        worker.send(signal.SIGRTMIN + number)
        reached = await _wait_for_end(worker, _POINT_SECONDS)
        if not reached:
            worker.kill()
        death = harness.last_death(worker.pid)
        kind = f"worker killed {POINTS[number]}" if reached else f"worker killed anywhere (never came to: {POINTS[number]})"
        await _take(harness, Fault(kind, death["at"] if death else time.time(), worker_id, claimed=death["in_hand"] if death else claimed))

    return strike


async def kill_worker(harness: Harness) -> None:
    """kill -9 of a worker wherever it is."""
    worker, worker_id, claimed = await busiest_worker(harness)
    worker.kill()
    await _take(harness, Fault("worker killed anywhere", time.time(), worker_id, claimed=claimed))


async def freeze_worker(harness: Harness) -> None:
    """A worker sleeps past its lease, and wakes up while another has its rows: a zombie."""
    worker, worker_id, claimed = await busiest_worker(harness)
    worker.send(signal.SIGSTOP)
    fault = await _own(harness, Fault("worker frozen past its lease", time.time(), worker_id, claimed=claimed))
    watch = asyncio.create_task(_watch_reclaim(harness, fault))
    until = time.monotonic() + harness.options.lease_seconds * 3
    while time.monotonic() < until:
        if not await harness.ask("SELECT FROM workers WHERE id = $1", worker_id):
            harness.given_up.setdefault(worker_id, time.time())
            break
        await asyncio.sleep(0.05)
    worker.send(signal.SIGCONT)
    harness.say(f"{fault.kind}: {claimed} claimed, {len(fault.owned)} taken with it")
    harness.note_later(_awaited(watch))


async def drain_worker(harness: Harness) -> None:
    """SIGTERM: it finishes what it has begun, gives back the rest, and ends."""
    worker, worker_id, claimed = await busiest_worker(harness)
    harness.leaving.add(worker.pid)
    began = time.time()
    worker.send(signal.SIGTERM)
    ended = await _wait_for_end(worker, _DRAIN_SECONDS)
    if not ended:
        worker.kill()
    left = await _rows_of(harness, worker_id)
    harness.leaving.discard(worker.pid)
    harness.note(Fault("worker drained", began, worker_id, frozenset(left), claimed, clean=ended and not left))
    harness.say(f"drained in {time.time() - began:.1f} s")


async def _take(harness: Harness, fault: Fault) -> None:
    fault = await _own(harness, fault)
    harness.say(f"{fault.kind}: {fault.claimed} claimed, {len(fault.owned)} taken with it")
    harness.note_later(_watch_reclaim(harness, fault))


async def _own(harness: Harness, fault: Fault) -> Fault:
    """The fault with the rows that the worker took with it."""
    assert fault.worker is not None
    harness.taken.add(fault.worker)
    await asyncio.sleep(_SETTLED_SECONDS)
    return replace(fault, owned=frozenset(await _rows_of(harness, fault.worker)))


async def _rows_of(harness: Harness, worker_id: int) -> list[UUID]:
    rows = await harness.ask("SELECT recipient_id FROM queue WHERE owner = $1", worker_id, patience=60.0)
    return [row[0] for row in rows or ()]


async def _watch_reclaim(harness: Harness, fault: Fault) -> Fault:
    """The fault with the times at which its rows came into other hands."""
    ids, until = list(fault.owned), time.monotonic() + harness.options.watch_seconds
    while ids and time.monotonic() < until:
        rows = await harness.ask(
            "SELECT count(*) FILTER (WHERE owner = $2), count(*) FILTER (WHERE owner IS NULL) FROM queue"
            " WHERE recipient_id = ANY($1::uuid[])",
            ids,
            fault.worker,
        )
        if rows is not None:
            still, free = rows[0]
            seconds = round(time.time() - fault.at, 2)
            if fault.reclaimed_seconds is None and still + free < len(ids):
                fault = replace(fault, reclaimed_seconds=seconds)
            if not still and fault.freed_seconds is None:
                fault = replace(fault, freed_seconds=seconds)
            if fault.reclaimed_seconds is not None and fault.freed_seconds is not None:
                break
        await asyncio.sleep(_WATCH_STEP_SECONDS)
    return fault


async def _awaited(task: asyncio.Task[Fault]) -> Fault:
    return await task


async def _wait_for_end(worker: Child, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while worker.runs and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return not worker.runs


# --- everything else


async def kill_api(harness: Harness) -> None:
    """kill -9 of the API in the middle of requests."""
    claimed = sum((await busy_workers(harness, accepting=True)).values())
    assert harness.house.api is not None
    harness.house.api.kill()
    harness.note(Fault("API killed", time.time(), claimed=claimed))


async def kill_valkey(harness: Harness) -> None:
    claimed = sum((await busy_workers(harness)).values())
    os.kill(harness.house.servers.pids["valkey"], signal.SIGKILL)
    harness.note(Fault("Valkey killed", time.time(), claimed=claimed))


async def flush_valkey(harness: Harness) -> None:
    claimed = sum((await busy_workers(harness)).values())
    with redis.Redis.from_url(harness.house.servers.redis_url) as client:
        client.flushall()
    harness.note(Fault("FLUSHALL", time.time(), claimed=claimed))


async def kill_postgres(harness: Harness) -> None:
    """kill -9 of the postmaster; its children end when they notice."""
    await wait_for_take_over(harness)
    claimed = sum((await busy_workers(harness, accepting=True)).values())
    os.kill(harness.house.servers.pids["postgres"], signal.SIGKILL)
    harness.note(Fault("PostgreSQL killed", time.time(), claimed=claimed))


async def kill_backend(harness: Harness) -> None:
    """kill -9 of one backend that works for the house: PostgreSQL ends all others and recovers."""
    await wait_for_take_over(harness)
    claimed = sum((await busy_workers(harness, accepting=True)).values())
    rows = await harness.ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'staffetta' AND pid <> pg_backend_pid()")
    if rows:
        os.kill(random.choice(rows)[0], signal.SIGKILL)
    harness.note(Fault("PostgreSQL backend killed", time.time(), claimed=claimed))


async def take_postgres_away(harness: Harness) -> None:
    """PostgreSQL is gone for longer than a lease."""
    await wait_for_take_over(harness)
    claimed = sum((await busy_workers(harness)).values())
    harness.keep_down.add("postgres")
    os.kill(harness.house.servers.pids["postgres"], signal.SIGKILL)
    harness.note(Fault("PostgreSQL away for longer than a lease", time.time(), claimed=claimed))
    await asyncio.sleep(harness.options.lease_seconds + 3)
    harness.keep_down.discard("postgres")


KILLS: tuple[Strike, ...] = (
    kill_api,
    *(kill_worker_at(number) for number in range(len(POINTS))),
    kill_valkey,
    kill_postgres,
    kill_backend,
    kill_worker,
)
