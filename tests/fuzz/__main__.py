"""`./staffetta fuzz`: SMTP sessions that no client would hold, by the thousand; exit status 1 when one was wrong."""

from __future__ import annotations

import argparse
import json
import sys

import uvloop

from tests.fuzz.run import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="./staffetta fuzz", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="Number of the first session: to hold one again.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    verdict = uvloop.run(fuzz(options.sessions, options.seed, first=options.first))
    if options.json:
        found = {"sessions": verdict.sessions, "accepted": verdict.accepted, "seconds": round(verdict.seconds, 1), "wrong": verdict.wrong}
        print(json.dumps(found))
    else:
        print(f"{verdict.sessions} sessions (seed {options.seed}) in {verdict.seconds:.0f} s: {verdict.accepted} messages accepted")
        print("\n".join(verdict.wrong[:50]) or "nothing wrong")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
