"""`./staffetta evaluate --corpora DIR [--json]`: judge every file of labelled samples in DIR. Exit code 0 only if every bar is met.

A file is JSON lines, gzipped or not; what it holds is told by the fields of its first row, not by its name. Files that are no samples
are passed over, and said so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.report import Report, as_json, as_text
from tests.evaluate import bounces, links, replies

Judge = Callable[[str, list[dict[str, Any]]], Report]

# What a row of this kind has, and who judges it.
KINDS: dict[str, tuple[frozenset[str], Judge]] = {
    "links": (frozenset(("html_b64", "links")), links.judge),
    "bounces": (frozenset(("raw_b64", "is_bounce")), bounces.judge),
    "replies": (frozenset(("text", "klass")), replies.judge),
}

_MOST_SHOWN = 20


def main() -> int:
    arguments = _parser().parse_args()
    reports: list[Report] = []
    passed_over: dict[str, str] = {}
    for path in sorted(arguments.corpora.iterdir()):
        if not path.name.endswith((".jsonl", ".jsonl.gz")):
            continue
        rows = list(_read_rows(path))
        judge = next((judge for fields, judge in KINDS.values() if rows and fields <= rows[0].keys()), None)
        if judge is None:
            passed_over[path.name] = "no samples of a known kind"
            continue
        report = judge(path.name, rows)
        reports.append(report)
        _say(as_text(report), quiet=arguments.json)
        for way, figures in report.figures.items():
            for fault in figures["faults"][:_MOST_SHOWN]:
                _say(f"  {way}: {fault}", quiet=arguments.json)
    for name, why in passed_over.items():
        _say(f"passed over: {name} ({why})", quiet=arguments.json)
    if not reports:
        sys.exit(f"evaluate: nothing to judge in {arguments.corpora}")
    if arguments.json:
        print(json.dumps({"reports": [as_json(report) for report in reports], "passed_over": passed_over}))
    return 1 if any(row.met is False for report in reports for row in report.rows) else 0


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    octets = path.read_bytes()
    for line in (gzip.decompress(octets) if path.suffix == ".gz" else octets).splitlines():
        if line.strip():
            yield json.loads(line)


def _say(text: str, *, quiet: bool) -> None:
    print(text, file=sys.stderr if quiet else sys.stdout, flush=True)


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="staffetta evaluate", description="Judge our reading of mail by labelled samples.")
    parser.add_argument("--corpora", type=_directory, required=True, metavar="DIR", help="where the samples lie: *.jsonl and *.jsonl.gz")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the rows go to stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
