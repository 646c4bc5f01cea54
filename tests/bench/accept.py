"""Accepting alone: no worker runs, one API process.

`accept`: closed loop against our API and against a plain FastAPI app with the same body model, in short turns (ours, plain, ours, plain,
…), so that a disturbance of the machine meets both; then an open loop at 0.7 of our rate. `accept-batch`: batches of 1,000 short messages,
batches of 1,000 whole order confirmations, and messages with 1,000 recipients.
"""

from __future__ import annotations

import asyncio
from statistics import mean
from typing import Any

from tests.bench.options import Options
from tests.bench.report import Report, at_least, at_most, shown
from tests.house.cpu import CpuMeter
from tests.house.house import House, free_port
from tests.house.load import Outcome, Plan
from tests.house.loads import LoadRun, plan_for

_TURNS = 4
_CLOSED_CONNECTIONS = 32
_OPEN_SHARE = 0.7
_BATCH = 1000


async def run(house: House, options: Options) -> list[Report]:
    house.start_api()
    plain_port = free_port()
    plain = house.start_double("plain", ["tests.bench.plain_api", str(plain_port)])
    await house.wait_for_api()
    await _warm(house, plain_port)
    meter = CpuMeter(house.parts(plain=[plain.pid]))
    first = 1_000_000
    ours: list[Outcome] = []
    other: list[Outcome] = []
    for _ in range(_TURNS):
        for outcomes, port in ((ours, house.api_port), (other, plain_port)):
            plan = plan_for(house, port=port, seconds=options.short_seconds / 2, connections=_CLOSED_CONNECTIONS, first=first)
            outcomes.append(await _run(house, plan))
            first += 1_000_000
    cpu = meter.read()
    plain.stop(2)
    rate, plain_rate = mean(o.rate for o in ours), mean(o.rate for o in other)
    accepted = sum(o.accepted for o in ours)
    pace = plan_for(house, seconds=options.short_seconds, connections=128, rate=rate * _OPEN_SHARE, first=first)
    opened = await _run(house, pace)
    figures: dict[str, Any] = {
        "rate": rate,
        "rates": [o.rate for o in ours],
        "plain_rate": plain_rate,
        "plain_rates": [o.rate for o in other],
        "ratio": rate / plain_rate,
        "closed_p50_ms": mean(o.p50_ms for o in ours),
        "closed_p99_ms": mean(o.p99_ms for o in ours),
        "open_rate": opened.rate,
        "open_p50_ms": opened.p50_ms,
        "open_p99_ms": opened.p99_ms,
        "open_answers": opened.answers,
        "cpu_ms_api": cpu["api"] / accepted * 1000,
        "cpu_ms_postgres": cpu["postgres"] / accepted * 1000,
        "cpu_ms_plain": cpu["plain"] / max(1, sum(o.accepted for o in other)) * 1000,
        "load_ms": mean(o.cpu_ms_each for o in ours),
    }
    rows = [
        at_least("accepted, one API process", rate, 2000, "/s"),
        shown("plain FastAPI, same model", plain_rate, "/s"),
        at_least("ratio", figures["ratio"], 0.4, "", 2),
        shown("closed loop of 32: p50", figures["closed_p50_ms"], " ms", 1),
        shown("closed loop of 32: p99", figures["closed_p99_ms"], " ms", 1),
        shown(f"open loop at {opened.rate:,.0f}/s: p50", opened.p50_ms, " ms", 1),
        at_most(f"open loop at {opened.rate:,.0f}/s: p99", opened.p99_ms, 60, " ms", 1),
        shown("CPU api + postgres", figures["cpu_ms_api"] + figures["cpu_ms_postgres"], " ms", 3),
        shown("CPU of the load, per request", figures["load_ms"], " ms", 3),
    ]
    return [Report("accept", rows, figures)]


async def run_batches(house: House, options: Options) -> list[Report]:
    house.start_api()
    await house.wait_for_api()
    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "batch of 1,000 short messages": (4, {"batch": _BATCH, "short": True}),
        "batch of 1,000 orders of 10 KB": (2, {"batch": _BATCH}),
        "message to 1,000 recipients": (4, {"recipients": _BATCH}),
    }
    rows, figures = [], {}
    for number, (name, (connections, requests)) in enumerate(kinds.items(), 1):
        first = number * 1_000_000
        await _run(house, plan_for(house, count=1, connections=1, first=first, requests=requests))
        outcome = await _run(
            house, plan_for(house, seconds=options.short_seconds, connections=connections, first=first + 1, requests=requests)
        )
        figures[name] = {
            "recipients_per_second": outcome.rate,
            "p50_ms": outcome.p50_ms,
            "p99_ms": outcome.p99_ms,
            "answers": outcome.answers,
        }
        rows.append(at_least(name, outcome.rate, 10_000, " rcpt/s") if "short" in name else shown(name, outcome.rate, " rcpt/s"))
        rows.append(shown("… p50", outcome.p50_ms, " ms"))
    return [Report("accept-batch", rows, figures)]


async def _warm(house: House, plain_port: int) -> None:
    until = asyncio.get_running_loop().time() + 30
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", plain_port)
            writer.close()
            break
        except OSError:
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(0.05)
    for port in (house.api_port, plain_port):
        await _run(house, plan_for(house, port=port, seconds=1.0, connections=8))


async def _run(house: House, plan: Plan) -> Outcome:
    return await asyncio.to_thread(LoadRun(house, plan).outcome)
