"""Mail that came back: labelled samples are read as `returnpath` would read them.

    bounces found          of the samples labelled failure, those said to be bounces; a delay notice is none, however it is labelled
    false alarms           of those labelled not_a_bounce, autoreply, complaint or delivered, those said to be bounces
    recipients exact       of the failures with labelled recipients, those with exactly these, in any order and case
    class                  of the failures whose first row has a judged class, those whose first recipient has it
    wrongly suppressed     of the samples labelled not to suppress, those that would suppress an address

Rows labelled any or ambiguous have no class to be judged by, and where the labellers disagree neither class nor suppression is judged.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.mail.report import Report as MailReport
from app.mail.report import ReportKind, read_report
from tests.bench.report import Report, Row, at_most, shown
from tests.evaluate.share import Share, at_least_share, at_most_share

_NO_BOUNCES = frozenset(("not_a_bounce", "autoreply", "complaint", "delivered"))
_NOT_JUDGED = frozenset((None, "any", "ambiguous"))
_MOST_SECONDS = 2.0


@dataclass(slots=True)
class Tally:
    found: Share = field(default_factory=Share)
    false_alarms: Share = field(default_factory=Share)
    recipients: Share = field(default_factory=Share)
    classes: Share = field(default_factory=Share)
    wrongly_suppressed: Share = field(default_factory=Share)
    suppressed: Share = field(default_factory=Share)
    complaints: Share = field(default_factory=Share)
    delays: Share = field(default_factory=Share)
    read_as_delay: int = 0
    slowest_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def judge(name: str, rows: Sequence[dict[str, Any]]) -> Report:
    """One report for one file of samples."""
    tally = Tally()
    for number, row in enumerate(rows, 1):
        started = time.perf_counter()
        report = read_report(base64.b64decode(row["raw_b64"]))
        tally.slowest_seconds = max(tally.slowest_seconds, time.perf_counter() - started)
        _judge_one(f"{number} {row.get('id', '')}".strip(), row, report, tally)
    return Report(f"bounces: {name}", _rows_of(tally, len(rows)), {"reading": asdict(tally)})


def _judge_one(name: str, row: dict[str, Any], report: MailReport, tally: Tally) -> None:
    kind, is_bounce = row.get("kind", "failure" if row["is_bounce"] else "not_a_bounce"), report.kind is ReportKind.BOUNCE
    if kind == "failure":
        _count(tally, tally.found, is_bounce, f"{name}: not found, said to be {report.kind.value}")
        tally.read_as_delay += report.kind is ReportKind.DELAY
        _judge_recipients(name, row, report, tally)
        _judge_class(name, row, report, tally)
    elif kind in _NO_BOUNCES:
        tally.false_alarms.add(is_bounce)
        if is_bounce:
            tally.faults.append(f"{name}: a false alarm, it is {kind}")
    if kind == "complaint":
        is_feedback = report.kind in (ReportKind.COMPLAINT, ReportKind.FEEDBACK)
        _count(tally, tally.complaints, is_feedback, f"{name}: a complaint said to be {report.kind.value}")
    if kind == "delayed":
        _count(tally, tally.delays, report.kind is ReportKind.DELAY, f"{name}: a delay notice said to be {report.kind.value}")
    _judge_suppression(name, row, report, tally)


def _judge_recipients(name: str, row: dict[str, Any], report: MailReport, tally: Tally) -> None:
    wanted = {address.lower() for address in row.get("recipients") or ()}
    if wanted:
        found = {recipient.address.lower() for recipient in report.recipients}
        _count(tally, tally.recipients, found == wanted, f"{name}: recipients {sorted(found)} and not {sorted(wanted)}")


def _judge_class(name: str, row: dict[str, Any], report: MailReport, tally: Tally) -> None:
    labels = row.get("rows") or [{}]
    wanted = labels[0].get("klass")
    if wanted in _NOT_JUDGED or row.get("agree") is False:
        return
    found = report.recipients[0].reply_class if report.recipients else None
    told = report.recipients[0].diagnostic[:150] if report.recipients else ""
    _count(tally, tally.classes, found == wanted, f"{name}: {found.value if found else None} and not {wanted}: {told}")


def _judge_suppression(name: str, row: dict[str, Any], report: MailReport, tally: Tally) -> None:
    if row.get("suppress") is None or row.get("agree") is False:
        return
    suppresses = report.kind is ReportKind.BOUNCE and any(recipient.suppresses for recipient in report.recipients)
    if row["suppress"]:
        tally.suppressed.add(suppresses)
        return
    tally.wrongly_suppressed.add(suppresses)
    if suppresses:
        tally.faults.append(f"{name}: wrongly suppressed: {report.recipients[0].diagnostic[:150]}")


def _count(tally: Tally, share: Share, is_right: bool, fault: str) -> None:
    share.add(is_right)
    if not is_right:
        tally.faults.append(fault)


def _rows_of(tally: Tally, samples: int) -> list[Row]:
    return [
        shown("samples", samples),
        at_least_share("bounces found", tally.found, 96),
        shown("  failures read as delay notices", tally.read_as_delay),
        at_most_share("false alarms", tally.false_alarms, 3),
        at_least_share("recipients exact", tally.recipients, 92),
        at_least_share("class", tally.classes, 90),
        at_most_share("wrongly suppressed", tally.wrongly_suppressed, 0.5),
        Row("dead addresses suppressed at once", tally.suppressed.text()),
        Row("feedback reports found", tally.complaints.text()),
        Row("delay notices found", tally.delays.text()),
        at_most("slowest", tally.slowest_seconds, _MOST_SECONDS, " s", 2),
    ]
