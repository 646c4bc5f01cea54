"""Many messages on few connections: the next envelope leaves with the body before it, and no fate is confused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.sink_script import Script
from tests.flows.conftest import House


async def _send_all(house: House, rules: list[dict[str, Any]], count: int = 60) -> list[dict[str, Any]]:
    """Messages that were accepted before a worker ran, once all of them have their fate, in the order of acceptance."""
    house.workers[0][1].set()
    await house.workers[0][0]
    house.sink.script = Script.parse({"rules": rules})
    accepted = [await house.send(f"u{n}@x.test", subject=f"Order {n}") for n in range(count)]
    house.start_worker(connections_per_site=2)
    told = []
    for one in accepted:
        await house.until_states(one["id"], "delivered", seconds=30)
        told.append(await house.message(one["id"]))
    return told


async def test_all_arrive_once_on_two_connections(house: House) -> None:
    told = await _send_all(house, [])
    assert house.sink.peak_connections == 2
    assert sorted(dot.recipient for dot in house.sink.dots) == sorted(one["recipients"][0]["email"] for one in told)
    # The first of a connection is asked for by itself; all others left with a body.
    assert all(len(one["recipients"][0]["attempts"]) == 1 for one in told)


@pytest.mark.parametrize(("fault", "times"), [("mail_550", 1), ("mail_421", 4), ("mail_drop", 4)])
async def test_a_server_that_chokes_on_the_next_envelope_costs_no_mail(house: House, fault: str, times: int) -> None:
    """Some servers take MAIL in the same packet as a final dot for a break of protocol; the message is tried on a fresh connection."""
    told = await _send_all(house, [{"fault": fault, "after_transactions": 1, "times": times}])
    assert len({dot.recipient for dot in house.sink.dots}) == len(house.sink.dots) == len(told)
    assert all(len(one["recipients"][0]["attempts"]) == 1 for one in told)


async def test_a_refused_recipient_between_others_is_bounced_alone(house: House) -> None:
    house.workers[0][1].set()
    await house.workers[0][0]
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_550", "recipient": "^bad"}, {"fault": "dot_550", "recipient": "^spam"}]})
    names = ["ok", "bad", "spam", "bad", "bad", "ok", "spam", "ok"] * 5
    accepted = [await house.send(f"{name}{n}@x.test") for n, name in enumerate(names)]
    house.start_worker(connections_per_site=1)
    for name, one in zip(names, accepted, strict=True):
        await house.until_states(one["id"], "delivered" if name == "ok" else "bounced", seconds=30)
    assert house.sink.peak_connections == 1
