"""One account's mail goes to hosts that answer slowly: another's is delivered meanwhile, though all conversations could be with those."""

from __future__ import annotations

import pytest

from app.accounts.credentials import ALL, create_key
from tests.doubles.sink_script import Script
from tests.flows.conftest import House, other_account, until


@pytest.mark.parametrize("stream", ["bulk", "transactional"])
async def test_tarpits_of_one_account_hold_up_no_other(house: House, stream: str) -> None:
    for number in range(10):
        house.dns.zones |= {f"slow{number}.test": {"MX": [[10, f"mx.slow{number}.test"]]}, f"mx.slow{number}.test": {"A": ["127.0.0.1"]}}
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "recipient": "@slow", "seconds": 60}]})
    task, stop = house.workers.pop()
    stop.set()
    await task
    house.start_worker(worker_connections=8, connections_per_site=4, drain_seconds=0.5)
    await house.send([f"u{number}@slow{number % 10}.test" for number in range(100)], stream=stream)
    await until(lambda: len(house.sink.open), lambda conversations: conversations >= 6)
    other = await other_account(house, "other", "other.test")
    async with house.database.transaction() as connection:
        _, token = await create_key(connection, house.keyring, other, name="t", scopes=[ALL])
    house.api.headers["Authorization"] = f"Bearer {token}"
    sent = await house.send("ada@x.test", **{"from": "reset@other.test"})
    await house.until_states(sent["id"], "delivered")
    assert 6 <= len(house.sink.open) <= 7, "the slow ones, and the other's connection"
