"""A quiet house: one message every 200 ms, from POST to the final dot at the sink (its reply leaves at once)."""

from __future__ import annotations

import asyncio

from tests.bench.options import Options
from tests.bench.report import Report, at_least, at_most, shown
from tests.bench.stretch import percentile, wait_for_dots
from tests.house.house import House
from tests.house.loads import LoadRun, plan_for
from tests.house.marks import delivery_latencies_ms

_EVERY_SECONDS = 0.2
_WARM_MESSAGES = 5


async def run(house: House, options: Options) -> list[Report]:
    house.start_sink()
    house.start_api()
    house.start_workers(options.workers)
    await house.wait_for_api()
    await house.wait_for_workers()
    marks = house.directory / "marks.tsv"
    # The first message meets an unknown domain and no open connection.
    first = await asyncio.to_thread(LoadRun(house, plan_for(house, count=_WARM_MESSAGES, connections=1)).outcome)
    await wait_for_dots(house.dots, first.accepted, 20)
    plan = plan_for(
        house, seconds=options.idle_messages * _EVERY_SECONDS, connections=4, rate=1 / _EVERY_SECONDS, first=1000, marks=str(marks)
    )
    outcome = await asyncio.to_thread(LoadRun(house, plan).outcome)
    await wait_for_dots(house.dots, first.accepted + outcome.accepted, 20)
    latencies = delivery_latencies_ms(marks, house.dots)
    figures = {
        "messages": len(latencies),
        "accepted": outcome.accepted,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "most_ms": max(latencies, default=0.0),
        "api_p50_ms": outcome.p50_ms,
    }
    rows = [
        at_least("messages", len(latencies), min(100, outcome.accepted)),
        at_most("POST to the sink's 250: p50", figures["p50_ms"], 40, " ms", 1),
        at_most("POST to the sink's 250: p99", figures["p99_ms"], 150, " ms", 1),
        shown("most", figures["most_ms"], " ms", 1),
        shown("of it the API, p50", outcome.p50_ms, " ms", 1),
    ]
    return [Report("idle", rows, figures)]
