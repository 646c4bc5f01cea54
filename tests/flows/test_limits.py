"""A receiving site with limits of its own: they are kept, and who waits because of them is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.sink_script import Script
from tests.flows.conftest import DOMAIN, House, until


async def with_providers(house: House, text: str, tmp_path: Path) -> None:
    """Another worker in place of the first, with this providers' file."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    task, stop = house.workers.pop()
    stop.set()
    await task
    house.start_worker(providers_file=path)


async def send_at_once(house: House, count: int) -> list[str]:
    """The ids of so many messages that came with one commit."""
    one = {"from": f"orders@{DOMAIN}", "subject": "Your order", "text": "Thank you."}
    answer = await house.api.post("/v1/messages/batch", json={"messages": [one | {"to": f"ada{n}@x.test"} for n in range(count)]})
    return [result["id"] for result in answer.json()["results"]]


async def settled(house: House, ids: list[str]) -> list[str]:
    return [state for one in ids for state in await house.states(one)]


async def test_connections_and_deliveries_on_each_are_kept(house: House, tmp_path: Path) -> None:
    await with_providers(house, "[x]\nmx = ['mx.x.test']\nconnections = 2\ndeliveries_per_connection = 5\n", tmp_path)
    house.sink.delay_seconds = 0.005
    sent = [(await house.send(f"ada{number}@x.test"))["id"] for number in range(40)]
    await until(lambda: settled(house, sent), lambda states: set(states) == {"delivered"}, 20)
    assert house.sink.peak_connections <= 2
    counts = house.sink.transactions_per_connection
    assert max(counts) == 5
    assert len(house.sink.dots) == 40


async def test_a_pace_is_kept_and_who_waits_is_told(house: House, tmp_path: Path) -> None:
    await with_providers(house, "[slow-one]\nmx = ['mx.x.test']\nmessages_per_second = 3\n", tmp_path)
    sent = await send_at_once(house, 12)  # one by one, a slow disk keeps the pace by itself and nobody waits

    async def last_reason() -> str | None:
        reason: str | None = (await house.message(sent[-1]))["recipients"][0]["reason"]
        return reason

    assert await until(last_reason, bool) == "waits for its turn: 3 messages a second (slow-one)"
    await until(lambda: settled(house, sent), lambda states: set(states) == {"delivered"}, 20)
    times = sorted(dot.time for dot in house.sink.dots)
    assert len(times) == 12
    for place, begin in enumerate(times):
        for later, end in enumerate(times[place:], 1):
            assert later <= 3 + 3 * (end - begin) + 1, "more than a burst and its rate"  # one may have been under way
    assert (await house.message(sent[-1]))["recipients"][0]["reason"] is None


@pytest.mark.parametrize("fault", ["banner_421", "connect_close"])
async def test_a_site_that_cannot_be_reached_is_left_alone_and_its_mail_is_told(house: House, fault: str) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": fault}]})
    sent = [(await house.send(f"ada{number}@x.test"))["id"] for number in range(100)]

    async def reasons() -> set[str]:
        return {(await house.message(one))["recipients"][0]["reason"] or "" for one in sent}

    told = await until(reasons, lambda now: any("cannot be reached" in reason for reason in now))
    (left_alone,) = [reason for reason in told if "cannot be reached" in reason][:1]
    assert left_alone.startswith("the site cannot be reached, last mx.x.test: ")
    assert "it is left alone until" in left_alone
    assert house.sink.connections < 100
    house.sink.script = Script()
    await until(lambda: settled(house, sent), lambda states: set(states) == {"delivered"}, 30)
    assert len(house.sink.dots) == 100
