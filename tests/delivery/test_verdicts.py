"""Where a row goes that was tried and must be tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.delivery.retry import Outcome
from app.delivery.verdicts import verdict_of
from app.store.queue import ALONE_SITE, NO_SITE, SUSPECT_SITE, UNKNOWN_SITE
from app.store.states import RecipientState
from tests.delivery.test_lanes import a_job


@pytest.mark.parametrize(
    ("lane", "goes_to"), [(SUSPECT_SITE, UNKNOWN_SITE), (ALONE_SITE, UNKNOWN_SITE), (NO_SITE, UNKNOWN_SITE), (7, None)]
)
def test_a_deferred_row_leaves_the_lanes_of_exceptions(lane: int, goes_to: int | None) -> None:
    job = a_job()
    job.claimed = replace(job.claimed, site_id=lane)
    verdict = verdict_of(job, Outcome(RecipientState.DEFERRED, None, datetime.now(UTC), "busy"), None)
    assert verdict.settlement.site_id == goes_to
