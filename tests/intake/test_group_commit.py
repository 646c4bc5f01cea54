"""Groups form by themselves, bad rows sink alone, the line is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from app.errors import Conflict, InvalidMessage, Unavailable
from app.intake.group_commit import GroupCommit, Verdict
from app.store.submissions import NewMessage
from tests.builders import a_message


class Writer:
    """Writes groups down; may be made slow, or to fail at a subject."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.faults: dict[str, Exception] = {}

    async def write(self, group: Sequence[NewMessage]) -> list[Verdict]:
        self.groups.append(len(group))
        await self.gate.wait()
        for message in group:
            if message.subject in self.faults:
                raise self.faults[message.subject]
        return [[] for _ in group]


@pytest.fixture
async def writer() -> Writer:
    return Writer()


@pytest.fixture
async def commits(writer: Writer) -> AsyncIterator[GroupCommit]:
    line = GroupCommit(writer.write, group_rows=10, group_bytes=1_000_000, waiting_rows=30, waiting_bytes=4_000_000)
    line.start()
    yield line
    await line.close()


async def test_a_lone_submission_waits_for_nothing(writer: Writer, commits: GroupCommit) -> None:
    assert await commits.add(a_message()) == []
    assert writer.groups == [1]


async def test_those_that_arrive_during_a_commit_form_the_next(writer: Writer, commits: GroupCommit) -> None:
    writer.gate.clear()
    first = commits.add(a_message())
    await asyncio.sleep(0.01)
    rest = [commits.add(a_message()) for _ in range(15)]
    writer.gate.set()
    await asyncio.gather(first, *rest)
    assert writer.groups == [1, 10, 5]


async def test_a_body_above_the_bound_of_groups_goes_alone(writer: Writer, commits: GroupCommit) -> None:
    writer.gate.clear()
    waiting = [commits.add(a_message(body=b"x" * size)) for size in (10, 10, 1_000_001, 10, 10)]
    writer.gate.set()
    await asyncio.gather(*waiting)
    assert sorted(writer.groups) == [1, 2, 2]


async def test_one_bad_row_sinks_alone(writer: Writer, commits: GroupCommit) -> None:
    writer.faults = {"bad": asyncpg.DataError("invalid byte sequence"), "locked": asyncpg.LockNotAvailableError("lock timeout")}
    writer.gate.clear()
    waiting = [commits.add(a_message(subject=s)) for s in ("good", "bad", "good", "locked", "good")]
    writer.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(r) for r in results] == [list, InvalidMessage, list, Conflict, list]


async def test_a_database_that_is_away_refuses_all_and_says_when_to_come_again(writer: Writer, commits: GroupCommit) -> None:
    writer.faults = {"x": ConnectionRefusedError("away")}
    results = await asyncio.gather(*[commits.add(a_message(subject="x")) for _ in range(3)], return_exceptions=True)
    assert all(isinstance(r, Unavailable) and r.retry_after_seconds for r in results)
    writer.faults = {}
    assert await commits.add(a_message()) == [], "the line goes on afterwards"


async def test_a_full_line_refuses_at_once(writer: Writer, commits: GroupCommit) -> None:
    writer.gate.clear()
    accepted = [commits.add(a_message()) for _ in range(30)]
    with pytest.raises(Unavailable):
        commits.add(a_message())
    writer.gate.set()
    await asyncio.gather(*accepted)
    assert await commits.add(a_message()) == []


async def test_a_client_that_went_away_before_its_group_is_not_written(writer: Writer, commits: GroupCommit) -> None:
    writer.gate.clear()
    first = commits.add(a_message())
    await asyncio.sleep(0.01)
    gone, stays = commits.add(a_message()), commits.add(a_message())
    gone.cancel()
    writer.gate.set()
    await asyncio.gather(first, stays)
    assert writer.groups == [1, 1]


async def test_closing_refuses_who_still_waits(writer: Writer) -> None:
    line = GroupCommit(writer.write, group_rows=1, group_bytes=1, waiting_rows=9, waiting_bytes=99_999)
    line.start()
    writer.gate.clear()
    waiting = [line.add(a_message()) for _ in range(3)]
    await asyncio.sleep(0.01)
    await line.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(r) for r in results] == [Unavailable] * 3
