"""Templates: what filling an order confirmation costs, how the forty-two bombs and escapes end, and what others notice of them.

The house itself is not started: what is measured is the renderer of an API process, with its limited processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from app.mail.template import Compiled, FrozenSet, Source, TemplateFault, UnknownNames
from app.rendering import Renderer
from app.rendering.child import MOST_MEMORY
from tests.bench.confirmation import SOURCES, VARIABLES
from tests.bench.options import Options
from tests.bench.report import Report, at_least, at_most, shown
from tests.bench.stretch import percentile
from tests.house.house import House
from tests.rendering_cases import CASES, Case
from tests.rendering_cases import VARIABLES as CASE_VARIABLES

_SIZE = len(orjson.dumps(VARIABLES))
_TENANT = 1
_ATTACKERS = 3
_LEGS = 3
_EVERY_SECONDS = 0.005
_accounts = itertools.count(1_000)


async def run(_house: House, options: Options) -> list[Report]:
    renderer = Renderer()
    try:
        frozen = await renderer.freeze(_TENANT, "order", SOURCES)
        elsewhere = await renderer.freeze(_TENANT, "order", SOURCES | {"order": _unproven(SOURCES["order"])})
        return [await _cost(renderer, frozen, elsewhere), await _bombs(renderer), await _beside(renderer, frozen, elsewhere, options)]
    finally:
        await renderer.close()


async def _cost(renderer: Renderer, frozen: FrozenSet, elsewhere: FrozenSet) -> Report:
    compiled = Compiled(frozen)
    made = compiled.render(VARIABLES, "it_IT")
    assert compiled.plan is not None
    here = _cpu_ms(
        lambda: compiled.plan.is_small(VARIABLES, len(orjson.dumps(VARIABLES))) and compiled.render(VARIABLES, "it_IT", small=True)
    )
    began = time.perf_counter()
    for _ in range(200):
        await renderer.render(_TENANT, ("elsewhere", 1), elsewhere, VARIABLES, "it_IT", _SIZE)
    there = (time.perf_counter() - began) * 5
    rows = [
        shown("html of the confirmation", len((made.html or "").encode()), " bytes"),
        at_most("CPU, in the calling process: subject, html and text", here, 0.15, " ms", 3),
        shown("in a limited process, there and back", there, " ms", 3),
        shown("compiling it once", _cpu_ms(lambda: Compiled(frozen), 20), " ms", 1),
    ]
    return Report("templates", rows, {"here_ms": here, "there_ms": there})


async def _bombs(renderer: Renderer) -> Report:
    """Each alone, and how long and with how much memory the process that had it lived on."""
    worst_seconds, worst_bytes, slowest = 0.0, 0, ""
    for case in CASES:
        watch = asyncio.create_task(_watch_memory(renderer))
        began = time.perf_counter()
        await _run_case(renderer, case, next(_accounts))
        seconds = time.perf_counter() - began
        watch.cancel()
        worst_bytes = max(worst_bytes, await _result_of(watch))
        if seconds > worst_seconds:
            worst_seconds, slowest = seconds, case.name
    rows = [
        at_least("bombs and escapes that ended", len(CASES), 42),
        at_most(f"slowest of them, saving and filling ({slowest})", worst_seconds, 2, " s", 2),
        at_most("most memory of a process (address space)", worst_bytes / 2**20, MOST_MEMORY / 2**20, " MB"),
    ]
    return Report("template-bombs", rows, {"worst_seconds": worst_seconds, "worst_bytes": worst_bytes, "slowest": slowest})


async def _beside(renderer: Renderer, frozen: FrozenSet, elsewhere: FrozenSet, options: Options) -> Report:
    """Another tenant's renders with and without attackers, in turns."""
    quiet: dict[str, list[float]] = {"here": [], "there": []}
    loud: dict[str, list[float]] = {"here": [], "there": []}
    for _ in range(_LEGS):
        await _leg(renderer, frozen, elsewhere, options.short_seconds, quiet)
        attackers = [asyncio.create_task(_attack(renderer, next(_accounts))) for _ in range(_ATTACKERS)]
        await _leg(renderer, frozen, elsewhere, options.short_seconds, loud)
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)
    rows, figures = [], {}
    for way, name in (("here", "in the calling process"), ("there", "in a limited process")):
        without, beside = percentile(quiet[way], 0.95), percentile(loud[way], 0.95)
        rows += [
            shown(f"p95 {name}, alone", without, " ms", 3),
            at_most(f"p95 {name}, beside {_ATTACKERS} attackers", beside, without * 1.2, " ms", 3),
        ]
        figures |= {f"{way}_alone_ms": without, f"{way}_beside_ms": beside}
    return Report("template-tenants", rows, figures)


async def _leg(renderer: Renderer, frozen: FrozenSet, elsewhere: FrozenSet, seconds: float, found: dict[str, list[float]]) -> None:
    end = time.perf_counter() + seconds
    for number in itertools.count():
        way, chosen = ("there", elsewhere) if number % 2 else ("here", frozen)
        began = time.perf_counter()
        if began > end:
            return
        await renderer.render(_TENANT, (way, 1), chosen, VARIABLES, "it_IT", _SIZE)
        found[way].append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(_EVERY_SECONDS)


async def _attack(renderer: Renderer, account: int) -> None:
    for case in itertools.cycle(CASES):
        await _run_case(renderer, case, account)


async def _run_case(renderer: Renderer, case: Case, account: int) -> None:
    variables = CASE_VARIABLES | case.variables
    with contextlib.suppress(TemplateFault, UnknownNames):
        frozen = await renderer.freeze(account, "case", case.sources)
        await renderer.render(account, (case.name, 1), frozen, variables, case.locale, len(orjson.dumps(variables)))


async def _watch_memory(renderer: Renderer) -> int:
    most = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            for pid in renderer.pool.pids():
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    peak = next(line for line in lines if line.startswith("VmSize:"))
                    most = max(most, int(peak.split()[1]) * 1024)
            await asyncio.sleep(0.005)
    return most


async def _result_of(watch: asyncio.Task[int]) -> int:
    await asyncio.wait([watch])
    return 0 if watch.cancelled() else watch.result()


def _unproven(source: Source) -> Source:
    """The same mail with an assignment in it."""
    assert source.html is not None
    return Source(source.subject, source.html.replace("{% block body %}", "{% block body %}{% set shop = shop %}"), source.text)


def _cpu_ms(work: Callable[[], Any], times: int = 2_000) -> float:
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) * 1000 / times
