"""Where figures turn from good to bad."""

from __future__ import annotations

import pytest

from app.watch.findings import (
    Verdict,
    fail,
    judge_certificate,
    judge_clock,
    judge_commit,
    judge_disk,
    judge_postgres,
    ok,
    warn,
    worst,
)

_GIB = 2**30
_GOOD = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "server_version_num": "180006",
    "max_connections": "200",
    "superuser_reserved_connections": "3",
}


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (judge_clock("x", 0.5), "ok"),
        (judge_clock("x", -3.0), "warn"),
        (judge_clock("x", 45.0), "fail"),
        (judge_disk("/", 50 * _GIB, 100 * _GIB), "ok"),
        (judge_disk("/", 8 * _GIB, 100 * _GIB), "warn"),
        (judge_disk("/", _GIB, 4 * _GIB), "warn"),  # a small disk: a quarter of it is not much
        (judge_disk("/", 2 * _GIB, 100 * _GIB), "fail"),
        (judge_disk("/", _GIB // 4, _GIB), "fail"),
        (judge_commit(0.4), "ok"),
        (judge_commit(25.0), "warn"),
        (judge_commit(250.0), "fail"),
        (judge_certificate("a.test", 60), "ok"),
        (judge_certificate("a.test", 6), "warn"),
        (judge_certificate("a.test", -1), "fail"),
    ],
)
def test_figures(finding: object, verdict: str) -> None:
    assert finding.verdict == verdict  # type: ignore[attr-defined]
    assert bool(finding.todo) == (verdict != "ok")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "verdicts"),
    [
        ({}, ["ok"]),
        ({"fsync": "off"}, ["fail"]),
        ({"synchronous_commit": "off"}, ["fail"]),
        ({"full_page_writes": "off", "server_version_num": "160002"}, ["fail", "warn"]),
        ({"max_connections": "50"}, ["warn"]),
    ],
)
def test_what_the_promises_rest_on(changed: dict[str, str], verdicts: list[str]) -> None:
    assert [finding.verdict for finding in judge_postgres(_GOOD | changed, 1, 2)] == verdicts


def test_the_worst_counts() -> None:
    good, poor, bad = ok("a", "x"), warn("b", "x", "y"), fail("c", "x", "y")
    assert [worst(found) for found in ([], [good], [poor, good], [poor, bad, good])] == [Verdict.OK, Verdict.OK, Verdict.WARN, Verdict.FAIL]
