"""What a leg of a chaos run found, for people and for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.checker import RECLAIM_SECONDS, Findings
from tests.chaos.evidence import Fault

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg. `bars` are further figures: name → (measured, bar, met)."""

    name: str
    findings: Findings
    faults: Sequence[Fault]
    seconds: float
    client: Mapping[str, Any] = field(default_factory=dict)
    bars: Mapping[str, tuple[str, str, bool]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.findings.passed and all(met for _, _, met in self.bars.values())


def as_json(leg: Leg) -> dict[str, Any]:
    return {
        "name": leg.name,
        "passed": leg.passed,
        "seconds": leg.seconds,
        "counts": dict(leg.findings.counts),
        "broken": {name: {"count": len(found), "examples": sorted(found)[:_EXAMPLES]} for name, found in leg.findings.broken.items()},
        "faults": _by_kind(leg.faults),
        "client": dict(leg.client),
        "bars": {name: {"measured": measured, "bar": bar, "met": met} for name, (measured, bar, met) in leg.bars.items()},
    }


def as_text(leg: Leg) -> str:
    return "\n".join((f"{leg.name}: {'passed' if leg.passed else 'FAILED'} after {leg.seconds:.0f} s", *_lines(leg, "  {:<52} {:>12}  {}")))


def as_markdown(leg: Leg) -> str:
    head = [f"### {leg.name}: {'passed' if leg.passed else 'FAILED'} ({leg.seconds:.0f} s)", "", "| what | found | |", "|---|---:|---|"]
    return "\n".join((*head, *_lines(leg, "| {} | {} | {} |")))


def _lines(leg: Leg, form: str) -> list[str]:
    lines = []
    for kind, facts in _by_kind(leg.faults).items():
        claimed = f"least claimed {facts['least_claimed']}"
        again = f", in other hands after at most {facts['slowest_reclaim_seconds']} s" if facts["slowest_reclaim_seconds"] else ""
        lines.append(form.format(kind, facts["count"], claimed + again))
    lines += [form.format(name, f"{count:,}", "") for name, count in leg.findings.counts.items()]
    for name in Findings.__dataclass_fields__:
        if name != "counts":
            found = getattr(leg.findings, name)
            lines.append(form.format(f"**{name}**" if "|" in form else name, len(found), "; ".join(sorted(found)[:_EXAMPLES])))
    lines += [form.format(name, measured, f"{bar} {'met' if met else 'MISSED'}") for name, (measured, bar, met) in leg.bars.items()]
    return lines


def _by_kind(faults: Sequence[Fault]) -> dict[str, dict[str, Any]]:
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    return {
        kind: {
            "count": len(found),
            "least_claimed": min(fault.claimed for fault in found),
            "slowest_reclaim_seconds": max((fault.reclaimed_seconds or 0.0 for fault in found), default=0.0),
            "bar_seconds": RECLAIM_SECONDS,
        }
        for kind, found in sorted(kinds.items())
    }
