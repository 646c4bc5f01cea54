"""What a scenario found: rows for people, figures for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `met` is None where there is no bar."""

    what: str
    measured: str
    bar: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    scenario: str
    rows: Sequence[Row]
    figures: dict[str, Any] = field(default_factory=dict)


def at_least(what: str, value: float, bar: float, unit: str = "", digits: int = 0) -> Row:
    return Row(what, f"{value:,.{digits}f}{unit}", f"≥ {bar:,.{digits}f}{unit}", value >= bar)


def at_most(what: str, value: float, bar: float, unit: str = "", digits: int = 0) -> Row:
    return Row(what, f"{value:,.{digits}f}{unit}", f"≤ {bar:,.{digits}f}{unit}", value <= bar)


def shown(what: str, value: float, unit: str = "", digits: int = 0) -> Row:
    return Row(what, f"{value:,.{digits}f}{unit}")


def as_table(reports: Sequence[Report]) -> str:
    """A Markdown table of all rows."""
    lines = ["| scenario | what | measured | bar | |", "|---|---|---:|---:|---|"]
    for report in reports:
        name = report.scenario
        for row in report.rows:
            lines.append(f"| {name} | {row.what} | {row.measured} | {row.bar} | {_mark(row)} |")
            name = ""
    return "\n".join(lines)


def as_text(report: Report) -> str:
    """The rows of one report for a terminal."""
    width = max((len(row.what) for row in report.rows), default=0)
    lines = [report.scenario]
    lines += [f"  {row.what:<{width}}  {row.measured:>14}  {row.bar:>12}  {_mark(row)}".rstrip() for row in report.rows]
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    return asdict(report)


def _mark(row: Row) -> str:
    return "" if row.met is None else "met" if row.met else "MISSED"
