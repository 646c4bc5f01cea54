"""Everything once, under load, in about a minute: the house comes through it."""

from __future__ import annotations

from tests.chaos import kills
from tests.chaos.options import QUICK, Options
from tests.chaos.report import as_text


async def test_everything_is_killed_once_and_nothing_is_lost() -> None:
    leg = await kills.run(Options(**QUICK), print, None)
    assert leg.passed, as_text(leg)
    assert leg.findings.counts["acknowledged"] > 500
    assert leg.findings.counts["in flight at a fault"] > 0, "no fault has met a mail whose fate was open"
