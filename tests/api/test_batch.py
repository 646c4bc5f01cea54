"""Batches: each item its own fate, at its place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from app.store.partitions import CONTENT_TABLES, list_partitions


async def test_bad_items_sink_no_other(shop: Any, count_rows: Any) -> None:
    before = await count_rows()
    items: list[Any] = [shop.message(subject=str(n)) for n in range(12)]
    items[1] = None
    items[3] = shop.message(to="nobody")
    items[4] = shop.message(**{"from": "a@rival.example.test"})
    items[7] = shop.message(unknown=1)
    items[9] = shop.message(text="x" * 1_100_000)
    items[10] = shop.message(idempotency_key="a b")
    answer = await shop.client.post("/v1/messages/batch", json={"messages": items})
    assert answer.status_code == 207
    result = answer.json()
    assert (result["accepted"], result["refused"]) == (6, 6)
    problems = {place: each["problem"] for place, each in enumerate(result["results"]) if each["status"] == "refused"}
    assert {place: problem["status"] for place, problem in problems.items()} == {1: 422, 3: 422, 4: 403, 7: 422, 9: 413, 10: 422}
    assert problems[4]["code"] == "sender_not_allowed"
    assert problems[10]["errors"][0]["pointer"] == "#/idempotency_key"
    assert await count_rows() == before + 6
    for place, each in enumerate(result["results"]):
        if each["status"] == "accepted":
            status = (await shop.client.get(f"/v1/messages/{each['id']}")).json()
            assert status["subject"] == str(place)


async def test_a_thousand(shop: Any, count_rows: Any) -> None:
    before = await count_rows()
    items = [shop.message(to=f"a{n}@example.com") for n in range(1000)]
    answer = await shop.client.post("/v1/messages/batch", json={"messages": items})
    assert answer.status_code == 202
    addresses = [each["recipients"][0]["email"] for each in answer.json()["results"]]
    assert addresses == [f"a{n}@example.com" for n in range(1000)]
    assert await count_rows() == before + 1000


async def test_days_far_ahead_hold_up_nobody_and_make_few_tables(house: Any, shop: Any, rival: Any) -> None:
    now = datetime.now(UTC)

    async def count_partitions() -> int:
        async with house.database.reading() as connection:
            return len(await list_partitions(connection))

    before = await count_partitions()
    items = [shop.message(expires_at=(now + timedelta(days=n)).isoformat()) for n in range(1, 366)]
    sending = asyncio.create_task(shop.client.post("/v1/messages/batch", json={"messages": items}))
    slowest = 0.0
    while not sending.done():
        began = asyncio.get_running_loop().time()
        await rival.send()
        slowest = max(slowest, asyncio.get_running_loop().time() - began)
    assert (await sending).status_code == 202
    assert slowest < 5
    assert await count_partitions() - before <= 40 * len(CONTENT_TABLES)


async def test_all_bad_is_still_a_batch(shop: Any) -> None:
    answer = await shop.client.post("/v1/messages/batch", json={"messages": [1, "a", []]})
    assert answer.status_code == 207
    assert answer.json()["accepted"] == 0
