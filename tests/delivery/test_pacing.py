"""Pace and silence, on a clock of the test's own."""

from __future__ import annotations

import pytest

from app.delivery.pacing import Pace, Silence


def run(pace: Pace, seconds: float, *, shares: int = 1) -> list[float]:
    """When messages go that are always there, on a clock that starts at 1000."""
    now, times = 1000.0, []
    while now < 1000.0 + seconds:
        wait = pace.take(now, shares)
        if wait:
            now += wait
        else:
            times.append(now)
    return times


@pytest.mark.parametrize("rate", [0.2, 1.0, 2.5, 10.0, 200.0])
def test_no_stretch_of_time_has_more_than_a_burst_and_its_rate(rate: float) -> None:
    times = run(Pace(rate), 100)
    burst = max(1.0, rate)
    for place, begin in enumerate(times[:500]):
        for later, end in enumerate(times[place : place + 500], 1):
            assert later <= burst + rate * (end - begin) + 1e-3


@pytest.mark.parametrize("rate", [0.2, 2.5, 10.0])
def test_the_rate_is_used(rate: float) -> None:
    assert len(run(Pace(rate), 100)) == pytest.approx(rate * 100 + max(1.0, rate), abs=1.1)


def test_workers_share_a_pace() -> None:
    together = sum(len(run(Pace(10.0), 100, shares=4)) for _ in range(4))
    assert together == pytest.approx(1000, rel=0.03)


def test_an_idle_site_saves_up_one_burst() -> None:
    pace = Pace(5.0)
    assert pace.take(0.0) == 0.0
    assert [pace.take(10_000.0) for _ in range(5)] == [0.0] * 5
    assert pace.take(10_000.0) == pytest.approx(0.2)


def test_silence_begins_after_a_few_failures_and_grows() -> None:
    silence = Silence(120.0)
    for _ in range(Silence.FEW - 1):
        silence.failed("no", 0.0)
    assert silence.lasts(0.0) == 0.0
    assert not silence.is_probing
    silence.failed("mx.test: timed out", 0.0)
    assert silence.lasts(0.0) == 120.0
    assert silence.is_probing
    silence.failed("one that was under way", 5.0)
    assert silence.lasts(5.0) == 115.0
    waits, now = [], 120.0
    for _ in range(5):
        silence.failed("again", now)
        waits.append(silence.lasts(now))
        now += waits[-1]
    assert waits == [240.0, 480.0, 900.0, 900.0, 900.0]
