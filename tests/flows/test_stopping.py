"""Workers come and go; nothing is lost and nothing is sent twice."""

from __future__ import annotations

import asyncio
import sys

import pytest

from app import store
from app.delivery.suspects import GROUP
from app.store.queue import ALONE_SITE, SUSPECT_SITE
from tests.doubles.sink_script import Script
from tests.flows.conftest import House, until

_SAY_MARK = "from app.delivery.signs_of_life import own_mark; print(own_mark())"


async def test_a_worker_that_is_told_to_stop_finishes_and_gives_back(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "seconds": 0.5}]})
    accepted = [await house.send([f"u{n}-{m}@x.test" for m in range(50)], stream="bulk") for n in range(3)]
    await until(lambda: house.sink.peak_connections, lambda peak: peak >= 10)
    house.workers[0][1].set()
    await asyncio.wait_for(house.workers[0][0], 20)
    async with house.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM workers") == 0
        assert await connection.fetchval("SELECT count(*) FROM queue WHERE owner IS NOT NULL OR claims <> 0 OR maybe_sent") == 0
        assert 0 < await connection.fetchval("SELECT count(*) FROM queue WHERE ready") < 150
    house.sink.script = Script()
    house.start_worker()
    for message in accepted:
        await house.until_states(message["id"], *["delivered"] * 50, seconds=30)
    assert len({dot.recipient for dot in house.sink.dots}) == len(house.sink.dots) == 150


async def test_without_valkey_mail_goes_all_the_same(house: House) -> None:
    house.workers[0][1].set()
    await house.workers[0][0]
    house.start_worker(redis_url="unix:///nonexistent/valkey.sock")
    accepted = await house.send()
    await house.until_states(accepted["id"], "delivered")


async def test_a_worker_that_loses_its_lease_goes_on_under_a_new_id(house: House) -> None:
    async with house.database.hot() as connection:
        await until(lambda: connection.fetchval("SELECT count(*) FROM workers"), lambda count: count == 1)
        await connection.execute("DELETE FROM workers")
        await until(lambda: connection.fetchval("SELECT max(id) FROM workers"), lambda worker: worker == 2)
    accepted = await house.send()
    await house.until_states(accepted["id"], "delivered")


async def test_hundreds_of_suspects_are_tried_in_groups_beside_other_mail(house: House) -> None:
    """Rows that two workers died with."""
    house.workers[0][1].set()
    await house.workers[0][0]
    suspects = await house.send([f"u{n}@x.test" for n in range(300)])
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET site_id = $1, claims = 2, maybe_sent = true", SUSPECT_SITE)
    others = [await house.send([f"o{n}-{m}@x.test" for m in range(20)]) for n in range(5)]
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "seconds": 0.1}]})
    house.start_worker(connections_per_site=100)
    together = 0

    async def most_in_hand() -> int:
        nonlocal together
        async with house.database.hot() as connection:
            in_hand = await connection.fetchval("SELECT count(*) FROM queue WHERE site_id = $1 AND owner IS NOT NULL", SUSPECT_SITE)
            together = max(together, in_hand)
            return int(await connection.fetchval("SELECT count(*) FROM queue"))

    await until(most_in_hand, lambda left: left == 0, 60)
    assert 1 < together <= GROUP
    for accepted, count in ((suspects, 300), *((one, 20) for one in others)):
        assert await house.states(accepted["id"]) == ["delivered"] * count
    assert len({dot.recipient for dot in house.sink.dots}) == len(house.sink.dots) == 400


async def test_rows_that_three_workers_died_with_are_tried_alone(house: House) -> None:
    """Nothing else is in the worker's hands then, not another of them either."""
    house.workers[0][1].set()
    await house.workers[0][0]
    accepted = [await house.send(f"u{n}@x.test") for n in range(8)]
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET site_id = $1, claims = 3, maybe_sent = true", ALONE_SITE)
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "seconds": 0.2}]})
    house.start_worker()
    for one in accepted:
        message = await house.until_states(one["id"], "delivered")
        assert message["recipients"][0]["maybe_sent"]
        assert message["timeline"][-1]["facts"]["maybe_sent"]
    assert house.sink.peak_connections == 1


# Where it ran nobody can say, and its lease is over; it ran here, and its lease would go on.
@pytest.mark.parametrize("by_the_kernels_word", [False, True])
async def test_mail_of_a_dead_worker_is_taken_over_and_marked(house: House, by_the_kernels_word: bool) -> None:
    house.workers[0][1].set()
    await house.workers[0][0]
    accepted = await house.send()
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", _SAY_MARK, stdout=asyncio.subprocess.PIPE)
    mark = (await ended.communicate())[0].decode().strip()
    async with house.database.hot() as connection:
        lease_seconds, process = (600.0, mark) if by_the_kernels_word else (-1.0, None)
        dead = await store.workers.register_worker(connection, "dead", lease_seconds, process)
        await connection.execute("UPDATE queue SET owner = $1, claims = 1", dead)
        # One lease of grace after PostgreSQL's start: the test's servers have been up for longer by now, or will be.
    house.start_worker()
    message = await house.until_states(accepted["id"], "delivered", seconds=20)
    assert message["recipients"][0]["maybe_sent"]
