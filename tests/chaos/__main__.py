"""`./staffetta chaos [kills] [away]`: kill things under load and count.

    kills   kill -9 of API, workers (at five named points), Valkey and PostgreSQL, FLUSHALLs, drains, frozen workers, outages
    away    Valkey is gone for minutes: the rate before and during

Ends with 1 when the checker found anything. `--keep DIR` keeps all logs there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.chaos import away, kills
from tests.chaos.options import QUICK, Options
from tests.chaos.report import Leg, as_json, as_markdown, as_text

LEGS: dict[str, Callable[[Options, Callable[[str], None], Path | None], Awaitable[Leg]]] = {"kills": kills.run, "away": away.run}


def main() -> int:
    arguments = _parser().parse_args()
    unknown = set(arguments.legs) - set(LEGS)
    if unknown:
        sys.exit(f"chaos: no such leg: {', '.join(sorted(unknown))} (there are {', '.join(LEGS)})")
    given = {field.name: getattr(arguments, field.name) for field in fields(Options) if getattr(arguments, field.name) is not None}
    options = Options(**((QUICK if arguments.quick else {}) | given))
    legs = asyncio.run(_run(arguments.legs or list(LEGS), options, arguments.keep))
    if arguments.json:
        print(json.dumps({"passed": all(leg.passed for leg in legs), "legs": [as_json(leg) for leg in legs]}))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(as_markdown(leg) for leg in legs) + "\n")
    for leg in legs:
        print(as_text(leg), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    return 0 if all(leg.passed for leg in legs) else 1


async def _run(names: Sequence[str], options: Options, keep: Path | None) -> list[Leg]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {text}", file=sys.stderr, flush=True)

    return [await LEGS[name](options, say, keep / name if keep else None) for name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="staffetta chaos", description="Kill things under load and count.")
    parser.add_argument("legs", nargs="*", metavar="LEG", help=f"any of {', '.join(LEGS)}; both when none is named")
    parser.add_argument("--quick", action="store_true", help="everything once, with short leases: about a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the rest goes to stderr")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs there")
    for field in fields(Options):
        kind: Any = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=f"default {field.default}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
