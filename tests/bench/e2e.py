"""End to end, sustained: POST of an order → durable accept → RSA-2048 → 250 of the sink, one webhook endpoint subscribed.

All of it on the same cores: API, two workers, PostgreSQL, Valkey, and the load, the sink and the receiver, whose CPU is counted
apart. The load is a closed loop with back-pressure: not more than `most_behind` accepted messages wait to be delivered, so that
the queue has a level and what is measured is what the house can keep up for ever.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from sqlalchemy import text

from app import store
from tests.bench.confirmation import store_confirmation
from tests.bench.options import Options
from tests.bench.report import Report, Row, at_least, at_most, shown
from tests.bench.stretch import accepted_dots, rate_between, wait_for_dots
from tests.house.cpu import CpuMeter, resident_bytes
from tests.house.house import OURS, House
from tests.house.load import Outcome
from tests.house.loads import LoadRun, plan_for

_DRAIN_SECONDS = 120.0
_WEBHOOK_SECONDS = 120.0
# What the house can keep up for ever includes checkpoints; left alone PostgreSQL makes one in 15 minutes. This is when one is
# asked for, as a part of the run; it is written as fast as it can be, which is harsher than PostgreSQL's own.
_CHECKPOINT_AT = 0.4


async def run(house: House, options: Options) -> list[Report]:
    """The order as its sender wrote it, without tracking: the floor, as all scenarios but the two below."""
    return await _run(house, options, "e2e", 1.5, {})


async def run_tracked(house: House, options: Options) -> list[Report]:
    """The same order with a pixel and its 16 links tracked, as mail goes unless somebody switches it off."""
    return await _run(house, options, "tracked", 1.6, {"tracked": True})


async def run_stored(house: House, options: Options) -> list[Report]:
    """The order from a stored template: 10 KB, both parts, 20 links tracked, an open pixel."""
    return await _run(house, options, "stored", 1.6, None)


async def _run(house: House, options: Options, name: str, most_cpu: float, requests: dict[str, Any] | None) -> list[Report]:
    """`requests`: what the load is told of them (tests.house.requests); None for those of the stored template."""
    sink = house.start_sink()
    receiver = house.start_double("receiver", ["tests.house.receiver"])
    url = receiver.first_line()
    house.start_api()
    await house.wait_for_api()
    endpoint = await house.add_endpoint(url, batch_size=options.webhook_batch)
    house.start_workers(options.workers)
    await house.wait_for_workers()
    load = LoadRun(
        house,
        plan_for(
            house, seconds=options.warm_seconds + options.seconds, connections=options.connections, dots=str(house.dots),
            most_behind=options.most_behind, requests=await store_confirmation(house) if requests is None else requests,
        ),
    )  # fmt: skip
    await asyncio.sleep(options.warm_seconds)
    before = await _database_counts(house)
    meter = CpuMeter(house.parts(sink=[sink.pid], receiver=[receiver.pid], load=[load.child.pid]))
    began = time.time()
    checkpoint = asyncio.create_task(_checkpoint_after(house, options.seconds * _CHECKPOINT_AT))
    memory = await _watch_memory(house, options.seconds)
    await checkpoint
    ended, cpu, after = time.time(), meter.read(), await _database_counts(house)
    lag = await _lag(house, endpoint)
    behind = after["accepted"] - after["delivered"]
    outcome = await asyncio.to_thread(load.outcome)
    drained = await wait_for_dots(house.dots, outcome.accepted, _DRAIN_SECONDS)
    told_after = await _wait_for_webhooks(house, endpoint, outcome.ended_at)
    receiver.send(15)
    posts = json.loads(receiver.rest(10))["posts"]
    dots = accepted_dots(house.dots)
    delivered = rate_between(dots, began, ended)
    figures = {
        "seconds": ended - began,
        "webhook_batch": options.webhook_batch,
        "workers": options.workers,
        "delivered_per_second": delivered,
        "accepted_per_second": (after["accepted"] - before["accepted"]) / (ended - began),
        "cpu_ms_per_message": {name: seconds * 1000 / (delivered * (ended - began)) for name, seconds in cpu.items()},
        "api_p50_ms": outcome.p50_ms,
        "api_p99_ms": outcome.p99_ms,
        "answers": outcome.answers,
        "broken": outcome.broken,
        "backlog_at_end": behind,
        "webhook_lag_at_end": lag,
        "webhook_caught_up_seconds": told_after,
        "webhook_posts": posts,
        "checkpoints": after["checkpoints"] - before["checkpoints"],
        "wal_mb": (after["wal_bytes"] - before["wal_bytes"]) / 2**20,
        "accepted": outcome.accepted,
        "delivered": len({dot.recipient for dot in dots}),
        "twice": len(dots) - len({dot.recipient for dot in dots}),
        "drained": drained,
        "worker_memory_mb": memory,
    }
    return [Report(name, _rows(figures, outcome, most_cpu), figures)]


def _rows(figures: dict[str, Any], outcome: Outcome, most_cpu: float) -> list[Row]:
    parts = figures["cpu_ms_per_message"]
    ours = figures["cpu_ms_per_message_ours"] = sum(parts[name] for name in OURS)
    memory = figures["worker_memory_mb"]
    growth = figures["worker_memory_growth"] = max(at[-1] / at[0] for at in memory) if memory else 0.0
    everything = figures["accepted"] == figures["delivered"] and figures["twice"] == 0
    return [
        at_least(f"delivered, {figures['seconds']:.0f} s", figures["delivered_per_second"], 1000, "/s"),
        shown("accepted", figures["accepted_per_second"], "/s"),
        at_most("CPU of the house per message", ours, most_cpu, " ms", 3),
        *(shown(f"… {name}", parts[name], " ms", 3) for name in parts),
        shown("API latency p50", outcome.p50_ms, " ms", 1),
        shown("API latency p99", outcome.p99_ms, " ms", 1),
        shown("behind at the end", figures["backlog_at_end"]),
        shown("events not yet posted at the end", figures["webhook_lag_at_end"]),
        shown("… caught up after", figures["webhook_caught_up_seconds"], " s", 1),
        shown("checkpoints", figures["checkpoints"]),
        Row("accepted = delivered, each once", f"{figures['accepted']:,} = {figures['delivered']:,}", "equal", everything),
        Row("worker memory at 10, 50, 100 %", " ".join("/".join(f"{mb:.0f}" for mb in at) for at in memory) + " MB", "flat", growth < 1.15),
    ]


async def _checkpoint_after(house: House, seconds: float) -> None:
    await asyncio.sleep(seconds)
    async with house.database.reading() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("CHECKPOINT"))


async def _watch_memory(house: House, seconds: float) -> list[list[float]]:
    """The resident megabytes of each worker at 10, 50 and 100 % of the time."""
    seen: list[list[float]] = [[] for _ in house.workers]
    began = time.monotonic()
    for share in (0.1, 0.5, 1.0):
        await asyncio.sleep(max(0.0, began + seconds * share - time.monotonic()))
        for at, worker in zip(seen, house.workers, strict=True):
            at.append(resident_bytes(worker.pid) / 2**20)
    return seen


async def _database_counts(house: House) -> dict[str, int]:
    async with house.database.hot() as connection:
        row = await connection.fetchrow(
            "SELECT (SELECT num_done FROM pg_stat_checkpointer) AS checkpoints, (SELECT wal_bytes::bigint FROM pg_stat_wal) AS wal_bytes,"
            " (SELECT count(*) FROM messages) AS accepted, (SELECT count(*) FROM recipients WHERE state = 'delivered') AS delivered"
        )
    return dict(row)


async def _lag(house: House, endpoint: Any) -> int:
    async with house.database.reading() as connection:
        lag = await store.webhooks.read_lag(connection, endpoint)
    return lag.events + lag.retries


async def _wait_for_webhooks(house: House, endpoint: Any, since: float) -> float:
    """Seconds from `since` until every event was posted."""
    until = time.monotonic() + _WEBHOOK_SECONDS
    while await _lag(house, endpoint) and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return max(0.0, time.time() - since)
