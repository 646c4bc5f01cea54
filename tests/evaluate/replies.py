"""Texts of SMTP replies, as hosts give them and as relays quote them: the class, and whether the address would be suppressed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.mail.reply import classify, read_reply
from tests.bench.report import Report, shown
from tests.evaluate.share import Share, at_least_share, at_most_share


@dataclass(slots=True)
class Tally:
    classes: Share = field(default_factory=Share)
    wrongly_suppressed: Share = field(default_factory=Share)
    faults: list[str] = field(default_factory=list)


def judge(name: str, rows: Sequence[dict[str, Any]]) -> Report:
    """One report for one file of samples."""
    tally = Tally()
    for number, row in enumerate(rows, 1):
        found = classify(read_reply(row["text"]))
        label = f"{number} {row.get('id', '')}".strip()
        tally.classes.add(found == row["klass"])
        if found != row["klass"]:
            tally.faults.append(f"{label}: {found.value} and not {row['klass']}: {row['text'][:150]}")
        if not row["hard"]:
            tally.wrongly_suppressed.add(found.suppresses)
    bars = [
        shown("samples", len(rows)),
        at_least_share("class", tally.classes, 90),
        at_most_share("wrongly suppressed", tally.wrongly_suppressed, 1),
    ]
    return Report(f"replies: {name}", bars, {"reading": asdict(tally)})
