"""`./staffetta bench [SCENARIO …]`: measure the house. Without names, every scenario, one after the other, each in a house of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.bench import accept, behaviours, e2e, idle, longtail, odd, priority, queue_size, smtp, templates, webhooks
from tests.bench.machine import describe, header_line
from tests.bench.options import Options
from tests.bench.report import Report, as_json, as_table, as_text
from tests.house.house import House

Scenario = Callable[[House, Options], Awaitable[list[Report]]]

SCENARIOS: dict[str, Scenario] = {
    "e2e": e2e.run,
    "tracked": e2e.run_tracked,
    "stored": e2e.run_stored,
    "accept": accept.run,
    "accept-batch": accept.run_batches,
    "idle": idle.run,
    "longtail": longtail.run,
    "latency25": longtail.run_slow,
    "defers": longtail.run_defers,
    "priority": priority.run,
    "queue": queue_size.run,
    "behaviours": behaviours.run,
    "webhooks": webhooks.run,
    "templates": templates.run,
    "odd": odd.run,
    "smtp": smtp.run,
    "smtp-large": smtp.run_large,
}


def main() -> int:
    arguments = _parser().parse_args()
    unknown = set(arguments.scenarios) - set(SCENARIOS)
    if unknown:
        sys.exit(f"bench: no such scenario: {', '.join(sorted(unknown))} (there are {', '.join(SCENARIOS)})")
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    machine, reports = asyncio.run(_run(arguments.scenarios or list(SCENARIOS), options, quiet=arguments.json))
    if arguments.json:
        print(json.dumps({"machine": machine, "reports": [as_json(report) for report in reports]}))
    if arguments.markdown:
        arguments.markdown.write_text(f"{header_line(machine)}\n\n{as_table(reports)}\n")
    return 1 if any(row.met is False for report in reports for row in report.rows) else 0


async def _run(names: Sequence[str], options: Options, *, quiet: bool) -> tuple[dict[str, Any], list[Report]]:
    machine: dict[str, Any] = {}
    reports: list[Report] = []
    for name in names:
        async with House() as house:
            if not machine:
                machine = await describe(house.database, house.directory)
                _say(header_line(machine), quiet=quiet)
            try:
                found = await SCENARIOS[name](house, options)
            except Exception:
                for log in sorted(house.directory.glob("*.log")):
                    print(f"{log.name}: {log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
                raise
        for report in found:
            _say(as_text(report), quiet=quiet)
        reports += found
    return machine, reports


def _say(text: str, *, quiet: bool) -> None:
    print(text, file=sys.stderr if quiet else sys.stdout, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="staffetta bench", description="Measure the house: accept, delivery, queue.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"any of {', '.join(SCENARIOS)}; all when none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the rows go to stderr")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    for field in fields(Options):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, help=f"default {field.default}"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
