"""Hits judged by what came with them: what no person does, and what persons do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.feedback.hindsight import Correction, Head, Seen, Word, asker_of, correct, judge_again

DELIVERED = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
SCANNER, HOME = "198.51.100.7", "203.0.113.7"


def after(seconds: float) -> datetime:
    return DELIVERED + timedelta(seconds=seconds)


def click(seconds: float, link: str = "a", **fields: Any) -> dict[str, Any]:
    return {"at": after(seconds), "is_click": True, "url": f"https://shop.example/{link}"} | fields


def opened(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"at": after(seconds), "is_click": False, "url": None} | fields


def seen(*hits: dict[str, Any]) -> list[Seen]:
    values: dict[str, Any] = {"ip": HOME, "agent": BROWSER, "told": None}
    return [Seen(**({"number": number} | values | hit)) for number, hit in enumerate(hits, start=1)]


P = None
CASES: dict[str, tuple[list[dict[str, Any]], list[str | None]]] = {
    # What persons do.
    "reads, then follows a link": ([opened(40), click(55)], [P, P]),
    "two links in ten seconds": ([click(60, "a"), click(70, "b")], [P, P]),
    "two links at once": ([click(60, "a"), click(60.2, "b")], [P, P]),
    "three links into tabs": ([click(60, "a"), click(61, "b"), click(62.1, "c")], [P, P, P]),
    "seven links in ten seconds": ([click(60 + 1.6 * n, str(n)) for n in range(7)], [P] * 7),
    "one link again and again": ([click(60 + 0.1 * n) for n in range(9)], [P] * 9),
    "opens and follows at once": ([opened(60), click(60.3)], [P, P]),
    "follows in three seconds": ([click(3)], [P]),
    "minutes before it was delivered (a second copy)": ([click(-120)], [P]),
    "by Gmail's proxy": ([opened(30, agent=GMAIL, ip="66.249.93.1")], [P]),
    "at Apple, by a browser": ([opened(60, ip="17.58.1.1")], [P]),
    "in an office, a moment after colleagues": ([click(30, crowd=4)], [P]),
    "in a large office, later": ([click(600, crowd=19)], [P]),
    "behind Gmail's proxy, like thousands": ([opened(30, agent=GMAIL, crowd=5000)], [P]),
    # What scanners do.
    "within two seconds of delivery": ([opened(1.9), click(0.4)], ["at delivery", "at delivery"]),
    "before delivery": ([opened(-0.5), click(-30)], ["at delivery", "at delivery"]),
    "Gmail's proxy at delivery": ([opened(1, agent=GMAIL)], ["at delivery"]),
    "three links within a second": ([click(60, "a"), click(60.4, "b"), click(61, "c")], ["burst"] * 3),
    "from several networks": ([click(60 + 0.3 * n, str(n), ip=f"198.51.{n}.1") for n in range(3)], ["burst"] * 3),
    "five links in three seconds": ([click(60 + 0.7 * n, str(n)) for n in range(5)], ["burst"] * 5),
    "eight links in ten seconds": ([click(60 + 1.4 * n, str(n)) for n in range(8)], ["burst"] * 8),
    "pixel and two links at once": ([opened(60), click(60.3, "a"), click(60.5, "b")], ["burst"] * 3),
    "a burst with its pixel": ([click(60, "a"), click(60.2, "b"), click(60.4, "c"), opened(60.9)], ["burst"] * 4),
    "a burst, and the person opens beside it": (
        [click(60, "a", ip=SCANNER), click(60.2, "b", ip=SCANNER), click(60.4, "c", ip=SCANNER), opened(60.9)],
        ["burst", "burst", "burst", P],
    ),
    "a burst, then a person": ([click(60, "a"), click(60.2, "b"), click(60.4, "c"), click(120, "a")], ["burst", "burst", "burst", P]),
    "a scanner that says so is nobody's company": (
        [click(60, "a", agent="Barracuda"), click(60.2, "b", agent="Barracuda"), click(60.4, "c")],
        ["agent", "agent", P],
    ),
    "five recipients in a moment": ([click(30, crowd=5), opened(31)], ["crowd", "crowd"]),
    "twenty recipients, whenever": ([click(3600, crowd=20)], ["crowd"]),
    "a crowd, and the person elsewhere": ([click(30, crowd=5, ip=SCANNER), opened(31), click(32)], ["crowd", P, P]),
    "Apple's network, no system": ([opened(60, ip="17.58.1.1", agent="Mozilla/5.0 Mail")], ["privacy proxy"]),
    "Apple's agent": ([opened(60, agent="Mozilla/5.0")], ["privacy proxy"]),
    "fetched ahead": ([click(60, told="prefetch")], ["prefetch"]),
    # The door's rules have changed since.
    "once taken for a machine by its agent": ([click(60, told="agent")], [P]),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str) -> None:
    hits, expected = CASES[case]
    verdicts = judge_again(seen(*hits), [], DELIVERED)
    assert [verdicts[number] for number in range(1, len(hits) + 1)] == expected


def test_without_a_certain_delivery_time_is_no_proof() -> None:
    assert judge_again(seen(click(0.1), click(-1)), [], None) == {1: None, 2: None}
    assert judge_again(seen(click(30, crowd=5), click(31, crowd=20)), [], None) == {1: "crowd", 2: "crowd"}


@pytest.mark.parametrize(
    ("before", "ip", "agent", "reason"),
    [
        (0.2, HOME, BROWSER, "head first"),
        (9.0, "203.0.113.99", BROWSER, "head first"),  # another machine of its network
        (11.0, HOME, BROWSER, None),
        (-1.0, HOME, BROWSER, None),
        (0.2, SCANNER, BROWSER, None),
        (0.2, HOME, "Microsoft Office Existence Discovery", None),  # Office looks, the person's browser follows
    ],
)
def test_who_asks_head_first_is_no_browser(before: float, ip: str, agent: str, reason: str | None) -> None:
    heads = [Head(after(60 - before), asker_of(ip, agent))]
    assert judge_again(seen(click(60)), heads, DELIVERED) == {1: reason}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("203.0.113.7", "203.0.113.200", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("2001:db8:1:2::1", "2001:db8:1:ffff::9", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("testclient", "testclient", True),
        ("", "testclient", False),
    ],
)
def test_a_source_is_a_network(one: str, other: str, is_same: bool) -> None:
    assert (asker_of(one, BROWSER) == asker_of(other, BROWSER)) is is_same
    assert asker_of(one, BROWSER) != asker_of(one, GMAIL)


def corrected(hits: list[Seen], first: dict[int, bool], verdicts: dict[int, str | None], **was: str) -> list[tuple[int, str, bool, bool]]:
    words = {hit.number: Word(was.get(f"n{hit.number}"), first.get(hit.number, False)) for hit in hits}
    found: list[Correction] = correct(hits, words, verdicts)
    return [(one.hit.number, one.now.by, one.was.first, one.now.first) for one in found]


def test_the_first_moves_to_the_next_person() -> None:
    hits = seen(click(0), click(60), click(70))
    assert corrected(hits, {1: True}, {1: "burst"}) == [(1, "machine", True, False), (2, "person", False, True)]


def test_the_first_goes_when_there_is_no_person() -> None:
    assert corrected(seen(click(0), opened(5)), {1: True, 2: True}, {1: "burst"}) == [(1, "machine", True, False)]


def test_nothing_new_is_no_correction() -> None:
    hits = seen(opened(0), click(0), click(60))
    assert corrected(hits, {3: True}, {1: "at delivery", 2: "burst", 3: None}, n1="burst", n2="at delivery") == []


def test_a_person_again_is_not_the_first_while_another_is() -> None:
    hits = seen(click(10), click(60))
    assert corrected(hits, {2: True}, {1: None}, n1="burst") == [(1, "person", False, False)]
    assert corrected(hits, {}, {1: None}, n1="burst", n2="burst") == [(1, "person", False, True)]


def test_what_is_not_due_stays_as_it_was_said() -> None:
    hits = seen(click(30, crowd=1), click(60))
    assert corrected(hits, {2: True}, {2: None}, n1="crowd") == []
