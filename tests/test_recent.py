"""A dictionary with room for so many."""

from __future__ import annotations

from app.recent import Recent


def test_what_was_written_longest_ago_leaves_first() -> None:
    kept: Recent[str, int] = Recent(2)
    kept["a"], kept["b"] = 1, 2
    kept["a"] = 3
    kept["c"] = 4
    assert dict(kept) == {"a": 3, "c": 4}


def test_reading_does_not_count_unless_it_is_told() -> None:
    kept: Recent[str, int] = Recent(2)
    kept["a"], kept["b"] = 1, 2
    assert kept.get("a") == 1
    kept["c"] = 3
    assert set(kept) == {"b", "c"}
    kept.move_to_end("b")
    kept["d"] = 4
    assert set(kept) == {"b", "d"}


def test_many_at_once_are_bounded_too() -> None:
    kept: Recent[int, None] = Recent(3)
    kept |= dict.fromkeys(range(10))
    assert list(kept) == [7, 8, 9]
    kept.update({10: None})
    assert kept.setdefault(11) is None
    assert list(kept) == [9, 10, 11]
