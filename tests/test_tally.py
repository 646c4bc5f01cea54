"""What one process lets through by itself; what all count together: smtpd/test_throttling."""

from __future__ import annotations

from app.tally import Buckets


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_what_it_holds_and_fills_by_and_by() -> None:
    clock = Clock()
    buckets = Buckets(10, clock)
    assert [buckets.take("a", 4, 64.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 16.0]
    clock.now += 15.0
    assert buckets.take("a", 4, 64.0) == 1.0
    clock.now += 1.0
    assert [buckets.take("a", 4, 64.0) for _ in range(2)] == [0.0, 16.0]
    clock.now += 3600.0
    assert [buckets.take("a", 4, 64.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 16.0]


def test_a_flood_of_names_does_not_fill_the_bucket_of_who_goes_on_asking() -> None:
    buckets = Buckets(10, Clock())
    assert buckets.take("a", 1, 60.0) == 0.0
    for name in range(100):
        assert buckets.take(name, 1, 60.0) == 0.0
        assert buckets.take("a", 1, 60.0) == 60.0, "asked for all the time: not forgotten"
    assert buckets.take(0, 1, 60.0) == 0.0, "forgotten long ago"
