"""Transactional mail under bulk.

A site of 20 connections that takes 50 ms per reply is kept full by bulk; five orders a second go there too.
"""

from __future__ import annotations

import asyncio
import time

from tests.bench.options import Options
from tests.bench.report import Report, Row, at_most, shown
from tests.bench.stretch import accepted_dots, percentile, rate_between, wait_for_dots
from tests.house.house import House
from tests.house.loads import LoadRun, count_lines, plan_for
from tests.house.marks import delivery_latencies_ms

_REPLY_MS = 50.0
_RATE = 5.0
_BULK_PER_SECOND = 520  # more than 20 connections can take at a round trip of 50 ms each


async def run(house: House, options: Options) -> list[Report]:
    sink = house.start_sink(delay_ms=_REPLY_MS)
    house.start_api()
    await house.wait_for_api()
    seconds = options.idle_messages / _RATE
    bulk = int(_BULK_PER_SECOND * (seconds + 6))
    filled = await asyncio.to_thread(LoadRun(house, plan_for(house, count=bulk, requests={"stream": "bulk"})).outcome)
    house.start_workers(options.workers)
    await house.wait_for_workers()
    await wait_for_dots(house.dots, 100, 30)
    marks = house.directory / "marks.tsv"
    began = time.time()
    plan = plan_for(house, seconds=seconds, connections=4, rate=_RATE, first=1_000_000_000, marks=str(marks))
    outcome = await asyncio.to_thread(LoadRun(house, plan).outcome)
    ended = time.time()
    await asyncio.sleep(2)
    peak = house.stop_sink(sink)["peak_connections"]
    left = filled.accepted + outcome.accepted - count_lines(house.dots)
    latencies = delivery_latencies_ms(marks, house.dots)
    bulk_rate = rate_between(accepted_dots(house.dots), began, ended)
    figures = {
        "transactional": len(latencies),
        "of": outcome.accepted,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "most_ms": max(latencies, default=0.0),
        "rate_at_the_site": bulk_rate,
        "peak_connections": peak,
        "bulk_left": left,
    }
    rows = [
        at_most("transactional, POST to the sink's 250: p99", figures["p99_ms"], 1000, " ms"),
        shown("p50", figures["p50_ms"], " ms"),
        shown("most", figures["most_ms"], " ms"),
        Row("transactional delivered", f"{len(latencies)} of {outcome.accepted}", "all", len(latencies) == outcome.accepted),
        shown("connections open at once", peak),
        shown("all mail at the site", bulk_rate, "/s"),
        Row("bulk was there to the end", f"{left:,} left", "> 0", left > 0),
    ]
    return [Report("priority", rows, figures)]
