"""A row that kills every worker that comes to it, among hundreds that do nothing: real workers die of it, and are started again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

from app.store.queue import HELD_FROM_CLAIMS
from tests.chaos.harness import Harness
from tests.chaos.mortal_worker import POISONED
from tests.chaos.options import QUICK, Options

_INNOCENTS = 500
_PATIENCE_SECONDS = 120.0


@pytest.mark.parametrize("workers", [1, 2])
async def test_poison_is_held_after_six_workers_and_takes_nobody_with_it(workers: int) -> None:
    options = replace(Options(**QUICK), workers=workers, lease_seconds=2.0, tenants=1)
    async with Harness(options, say=print) as harness:
        to = [f"order-{n}@site{n % 20}.example" for n in range(_INNOCENTS)]
        to.insert(_INNOCENTS // 2, "poison@site7.example")
        await _post(harness, to)
        states = await _final_states(harness)
        deaths = [json.loads(line) for line in harness.deaths.read_text().splitlines()]
        assert states == {"delivered": _INNOCENTS, "held": 1}, harness.logs()
        assert len(deaths) == HELD_FROM_CLAIMS
        assert {death["point"] for death in deaths} == {POISONED}
        assert [death["in_hand"] for death in deaths[-2:]] == [1, 1], "alone at the end"
        held = await harness.ask("SELECT address, reason FROM recipients WHERE state = 'held'")
        assert held is not None
        assert (held[0][0], f"claimed {HELD_FROM_CLAIMS} times" in held[0][1]) == ("poison@site7.example", True)


async def _post(harness: Harness, to: list[str]) -> None:
    house = harness.house
    body = {"from": house.sender, "to": to, "subject": "Your order", "text": "Thank you."}
    headers = {"Authorization": f"Bearer {house.token}"}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{house.api_port}", headers=headers) as session,
        session.post("/v1/messages", json=body) as answer,
    ):
        assert answer.status == 202, await answer.text()


async def _final_states(harness: Harness) -> dict[str, int]:
    """How many recipients are in which state, once nothing is left to be done."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while await harness.ask("SELECT FROM queue WHERE due_at < 'infinity' LIMIT 1") != []:
            await asyncio.sleep(0.2)
    rows = await harness.ask("SELECT state, count(*) FROM recipients GROUP BY 1")
    return {row[0]: row[1] for row in rows or ()}
