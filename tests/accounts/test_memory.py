"""What is remembered of what was asked: how long, how much, and by how many askers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from app.accounts import memory as module
from app.accounts.memory import Remembered


class _House:
    """What can be asked for, and how often it was. While `door` is shut an answer that was read does not come back."""

    def __init__(self, **there: str) -> None:
        self.there = there
        self.asked: list[str] = []
        self.door = asyncio.Event()
        self.door.set()
        self.is_away = False

    async def ask(self, key: str) -> str | None:
        self.asked.append(key)
        found = self.there.get(key)
        await self.door.wait()
        if self.is_away:
            raise OSError("away")
        return found


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of memories to so many seconds after now."""
    return lambda seconds: monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + seconds)


async def _shut(house: _House, memory: Remembered[str, str], *keys: str) -> list[asyncio.Task[str | None]]:
    """Askers who wait at the shut door."""
    house.door.clear()
    waiting = [asyncio.create_task(memory.find(key)) for key in keys]
    await asyncio.sleep(0.01)
    return waiting


async def test_what_was_found_is_known_for_its_time(later: Callable[[float], None]) -> None:
    house = _House(a="one")
    memory = Remembered(house.ask, seconds=60.0)
    assert memory.kept("a") is None
    assert await memory.find("a") == "one"
    house.there["a"] = "two"
    later(50.0)
    assert memory.kept("a") == await memory.find("a") == "one"
    later(61.0)
    assert memory.kept("a") is None
    assert await memory.find("a") == "two"
    assert house.asked == ["a", "a"]


async def test_that_there_is_nothing_is_known_for_a_shorter_time(later: Callable[[float], None]) -> None:
    house = _House(a="one")
    memory = Remembered(house.ask, seconds=60.0, missing_seconds=10.0)
    assert [await memory.find(key) for key in ("a", "b", "b", "a")] == ["one", None, None, "one"]
    assert house.asked == ["a", "b"]
    house.there["b"] = "two"
    later(11.0)
    assert await memory.find("b") == "two"
    assert (memory.kept("a"), memory.kept("b"), house.asked) == ("one", "two", ["a", "b", "b"])


async def test_what_is_gone_is_not_known_any_more() -> None:
    house = _House(a="one")
    memory = Remembered(house.ask, seconds=0.0, missing_seconds=60.0)
    await memory.find("a")
    del house.there["a"]
    assert await memory.find("a") is None
    assert (memory.kept("a"), await memory.find("a")) == (None, None)
    assert house.asked == ["a", "a"]


async def test_both_places_are_bounded_and_guesses_push_out_guesses_alone() -> None:
    house = _House(a="1", b="2", c="3", d="4")
    memory = Remembered(house.ask, most=3)
    for key in ("a", "b", "c"):
        await memory.find(key)
    for number in range(20):
        await memory.find(f"guess{number}")
    assert [memory.kept(key) for key in ("a", "b", "c")] == ["1", "2", "3"]
    assert (len(memory._known), len(memory._missing), memory._asked) == (3, 3, {})
    await memory.find("d")
    assert [memory.kept(key) for key in ("a", "b", "c", "d")] == [None, "2", "3", "4"]


async def test_one_asks_for_all_who_want_the_same() -> None:
    house = _House(a="one", b="two")
    memory = Remembered(house.ask)
    waiting = await _shut(house, memory, *"ab" * 25, *"c" * 25)
    house.door.set()
    assert await asyncio.gather(*waiting) == ["one", "two"] * 25 + [None] * 25
    assert sorted(house.asked) == ["a", "b", "c"]


async def test_an_asker_who_goes_away_takes_the_answer_from_nobody() -> None:
    house = _House(a="one")
    memory = Remembered(house.ask)
    first, second = await _shut(house, memory, "a", "a")
    first.cancel()
    await asyncio.sleep(0)
    third = asyncio.create_task(memory.find("a"))
    await asyncio.sleep(0.01)
    house.door.set()
    assert (await second, await third) == ("one", "one")
    with pytest.raises(asyncio.CancelledError):
        await first
    assert house.asked == ["a"]


async def test_when_all_have_gone_the_answer_is_kept_all_the_same() -> None:
    house = _House(a="one")
    memory = Remembered(house.ask)
    (only,) = await _shut(house, memory, "a")
    only.cancel()
    house.door.set()
    await asyncio.sleep(0.01)
    assert (memory.kept("a"), memory._asked) == ("one", {})


async def test_a_question_that_fails_leaves_nothing_behind() -> None:
    house = _House(a="one")
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    memory = Remembered(house.ask)
    house.is_away = True
    waiting = await _shut(house, memory, "a", "a", "a")
    waiting[0].cancel()
    house.door.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError, OSError, OSError]
    (gone,) = await _shut(house, memory, "a")  # of this failure nobody hears
    gone.cancel()
    house.door.set()
    await asyncio.sleep(0.01)
    assert (memory.kept("a"), len(memory._missing), memory._asked) == (None, 0, {})
    house.is_away = False
    assert await memory.find("a") == "one"
    assert complaints == []


async def test_a_failure_does_not_take_away_what_is_still_known() -> None:
    house = _House(a="one")
    memory = Remembered(house.ask)
    await memory.find("a")
    house.is_away = True
    assert await memory.find("a") == "one"
    with pytest.raises(OSError, match="away"):
        await memory.find("b")
    assert memory.kept("a") == "one"


async def test_forgetting_is_not_undone_by_an_answer_of_before() -> None:
    house = _House(a="old")
    memory = Remembered(house.ask)
    (before,) = await _shut(house, memory, "a")
    house.there["a"] = "new"
    assert memory.forget("a") is None
    (after,) = await _shut(house, memory, "a")
    house.door.set()
    assert (await before, await after) == ("old", "new")
    assert memory.kept("a") == "new"
    house.door.clear()
    assert memory.forget("a") == "new"
    (before,) = await _shut(house, memory, "a")
    memory.forget("a")
    house.door.set()
    assert await before == "new"
    assert memory.kept("a") is None
    assert await memory.find("a") == "new"


async def test_what_was_not_there_is_forgotten_too() -> None:
    house = _House()
    memory = Remembered(house.ask, missing_seconds=60.0)
    assert await memory.find("a") is None
    house.there["a"] = "one"
    memory.forget("a")
    assert await memory.find("a") == "one"


async def test_many_are_forgotten_by_what_they_are_asked_by() -> None:
    house = _House(a1="one", b1="two")
    memory = Remembered(house.ask, missing_seconds=60.0)
    for key in ("a1", "a2", "b1", "b2"):
        await memory.find(key)
    (before,) = await _shut(house, memory, "a3")
    house.there |= {"a2": "three", "a3": "four", "b2": "five"}
    memory.forget_all(lambda key: key.startswith("a"))
    house.door.set()
    assert await before is None
    assert [await memory.find(key) for key in ("a1", "a2", "a3", "b1", "b2")] == ["one", "three", "four", "two", None]


async def test_what_is_old_is_still_told_when_it_is_forgotten() -> None:
    house = _House(a="one")
    memory = Remembered(house.ask, seconds=0.0)
    await memory.find("a")
    assert (memory.kept("a"), memory.forget("a"), memory.forget("a")) == (None, "one", None)
