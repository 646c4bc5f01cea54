"""Drains of a full queue: many small sites, a slow site, a site that defers.

Messages are accepted first while no worker runs; then the workers start and the sink's log tells the rate between the first and the last
tenth. Two drains that are compared run in the same house, one after the other, each with fresh workers. The long tail is drained twice:
cold, every domain seen for the first time, and warm, the same mix again by the same workers, who sleep while the queue is filled.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.options import Options
from tests.bench.report import Report, Row, at_least, shown
from tests.bench.stretch import accepted_dots, middle_rate, wait_for_dots
from tests.doubles.sink_log import Dot
from tests.house.children import Child
from tests.house.cpu import CpuMeter
from tests.house.house import OURS, House
from tests.house.loads import LoadRun, plan_for

_DRAIN_SECONDS = 300.0
_SLOW_MS = 25.0
_ROUND_TRIPS = 1  # a message on a connection that goes on: its body and the next one's envelope leave together
_CONNECTIONS_PER_SITE = 20
_DEFERRED_SHARE = 0.1
_SETTLED_SECONDS = 1.0  # the last outcomes are written: nobody falls asleep in a transaction
_SLEEP_SECONDS = 120.0  # a lease that outlasts the filling of a queue


async def run(house: House, options: Options) -> list[Report]:
    """A Zipf mix over many sites against one site."""
    house.settings |= {"lease_seconds": _SLEEP_SECONDS}
    doubles = [house.start_sink(smarthost=False), house.start_zones()]
    house.start_api()
    await house.wait_for_api()
    single = await _drain(house, options, {"domain": "single.example"}, 0, doubles=doubles)
    cold = await _drain(house, options, {"sites": options.sites}, 1, doubles=doubles, stay=True)
    warm = await _drain(house, options, {"sites": options.sites}, 2, doubles=doubles)
    ratio, warm_ratio = (found["rate"] / max(single["rate"], 1e-9) for found in (cold, warm))
    figures = {
        "messages": options.messages,
        "sites": options.sites,
        "single": _plain(single),
        "cold": _plain(cold),
        "warm": _plain(warm),
        "ratio": ratio,
        "warm_ratio": warm_ratio,
    }
    rows = [
        shown("one site", single["rate"], "/s"),
        shown(f"Zipf over {options.sites:,} sites, each seen for the first time", cold["rate"], "/s"),
        at_least("ratio", ratio, 0.5, "", 2),
        shown("the same again, routes and connections kept", warm["rate"], "/s"),
        at_least("ratio", warm_ratio, 0.5, "", 2),
        *(
            shown(f"CPU of {whose} per message, {name}", found[key], " ms", 3)
            for whose, key in (("the house", "cpu_ms"), ("sink and name server", "doubles_ms"))
            for name, found in (("one site", single), ("many sites", cold), ("again", warm))
        ),
        _all_arrived(single, cold, warm),
    ]
    return [Report("longtail", rows, figures)]


async def run_slow(house: House, options: Options) -> list[Report]:
    """Every reply of the sink leaves 25 ms after its command came."""
    sink = house.start_sink(delay_ms=_SLOW_MS)
    house.start_api()
    await house.wait_for_api()
    found = await _drain(house, options, {}, 0, messages=min(options.messages, 6000))
    most = _CONNECTIONS_PER_SITE / (_ROUND_TRIPS * _SLOW_MS / 1000)
    share = found["rate"] / most
    peak = house.stop_sink(sink)["peak_connections"]
    rows = [
        shown("rate", found["rate"], "/s"),
        shown(f"{_CONNECTIONS_PER_SITE} connections ÷ ({_ROUND_TRIPS} round trip × {_SLOW_MS:.0f} ms)", most, "/s"),
        at_least("share of it", share, 0.9, "", 2),
        shown("connections open at once", peak),
        _all_arrived(found),
    ]
    return [Report("latency25", rows, {"share": share, "most": most, "peak_connections": peak, **_plain(found)})]


async def run_defers(house: House, options: Options) -> list[Report]:
    """A tenth of the dots is answered with 451: how fast do the others go?"""
    house.start_api()
    await house.wait_for_api()
    sink = house.start_sink()
    without = await _drain(house, options, {}, 0)
    sink.stop()
    house.start_sink(script={"rules": [{"fault": "defer", "share": _DEFERRED_SHARE}]})
    with_defers = await _drain(house, options, {}, 1, times_each=1.0)
    ratio = with_defers["rate"] / max(without["rate"], 1e-9)
    figures = {"ratio": ratio, "without": _plain(without), "with": _plain(with_defers)}
    rows = [
        shown("rate without defers", without["rate"], "/s"),
        shown(f"rate of the rest with {_DEFERRED_SHARE:.0%} defers", with_defers["rate"], "/s"),
        at_least("ratio", ratio, 0.85, "", 2),
    ]
    return [Report("defers", rows, figures)]


async def _drain(
    house: House,
    options: Options,
    requests: dict[str, Any],
    turn: int,
    *,
    messages: int | None = None,
    times_each: float = 1.0,
    doubles: Sequence[Child] = (),
    stay: bool = False,
) -> dict[str, Any]:
    """Fill the queue, start workers, and see how fast it empties. With `stay` the workers go on, and sleep while the next one fills it."""
    count = messages or options.messages
    plan = plan_for(house, count=count, connections=options.connections, first=(turn + 1) * 10_000_000, requests=requests)
    for worker in house.workers:
        worker.send(signal.SIGSTOP)
    outcome = await asyncio.to_thread(LoadRun(house, plan).outcome)
    before = sum(1 for _ in accepted_dots(house.dots)) if house.dots.exists() else 0
    lines_before = len(house.dots.read_bytes().splitlines()) if house.dots.exists() else 0
    began = time.time()
    if not house.workers:
        house.start_workers(options.workers)
    meter = CpuMeter(house.parts(doubles=[double.pid for double in doubles]))
    for worker in house.workers:
        worker.send(signal.SIGCONT)
    arrived = await wait_for_dots(house.dots, lines_before + int(outcome.accepted * times_each), _DRAIN_SECONDS)
    cpu = meter.read()
    dots = accepted_dots(house.dots, began)
    if stay:
        await asyncio.sleep(_SETTLED_SECONDS)
    else:
        house.stop_workers()
    return {
        "accepted": outcome.accepted,
        "arrived": arrived,
        "delivered": len(dots),
        "before": before,
        "rate": middle_rate(dots),
        "first_dot_seconds": dots[0].time - began if dots else None,
        "seconds": dots[-1].time - began if dots else None,
        "cpu_ms": sum(cpu[name] for name in OURS) * 1000 / max(1, len(dots)),
        "doubles_ms": cpu["doubles"] * 1000 / max(1, len(dots)),
        "dots": dots,
    }


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "dots"}


def _all_arrived(*drains: dict[str, Any]) -> Row:
    accepted = sum(drain["accepted"] for drain in drains)
    delivered = sum(len(_recipients(drain["dots"])) for drain in drains)
    return Row("accepted = delivered", f"{accepted:,} = {delivered:,}", "equal", accepted == delivered)


def _recipients(dots: list[Dot]) -> set[str]:
    return {dot.recipient for dot in dots}
