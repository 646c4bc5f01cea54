"""Idempotency keys: one message however often it is asked for; another body under the same key is refused."""

from __future__ import annotations

import asyncio
from typing import Any


async def _post(tenant: Any, key: str, **fields: Any) -> Any:
    return await tenant.client.post("/v1/messages", json=tenant.message(**fields), headers={"Idempotency-Key": key})


async def test_a_replay_gets_the_first_answer(shop: Any, count_rows: Any) -> None:
    first = await _post(shop, "order-1", to=["ada@example.com", "bob@example.com"])
    before = await count_rows()
    again = await _post(shop, "order-1", to=["ada@example.com", "bob@example.com"])
    assert first.status_code == again.status_code == 202
    assert again.content == first.content
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await count_rows() == before


async def test_quoted_and_bare_are_the_same_key(shop: Any) -> None:
    first = await _post(shop, "order-2")
    again = await _post(shop, '"order-2"')
    assert again.json() == first.json()


async def test_another_body_is_refused(shop: Any, count_rows: Any) -> None:
    await _post(shop, "order-3")
    before = await count_rows()
    answer = await _post(shop, "order-3", subject="Another")
    assert answer.status_code in (409, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await count_rows() == before


async def test_a_refused_message_leaves_its_key_free(shop: Any) -> None:
    assert (await _post(shop, "order-4", to="nobody")).status_code == 422
    assert (await _post(shop, "order-4")).status_code == 202


async def test_tenants_do_not_share_keys(shop: Any, rival: Any) -> None:
    ours, theirs = await _post(shop, "order-5"), await _post(rival, "order-5")
    assert ours.status_code == theirs.status_code == 202
    assert ours.json()["id"] != theirs.json()["id"]


async def test_many_at_once_make_one_message(shop: Any, count_rows: Any) -> None:
    before = await count_rows()
    answers = await asyncio.gather(*(_post(shop, "order-6") for _ in range(20)))
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 409)
    assert await count_rows() == before + 1


async def test_a_batch_replays_item_by_item(shop: Any, count_rows: Any) -> None:
    async def batch(*messages: Any) -> Any:
        return await shop.client.post("/v1/messages/batch", json={"messages": messages}, headers={"Idempotency-Key": "night"})

    items = [shop.message(subject=str(n)) for n in range(5)]
    bad = shop.message(to="nobody")
    first = await batch(*items[:2], bad, *items[3:])
    assert first.status_code == 207
    assert [each["status"] for each in first.json()["results"]] == ["accepted", "accepted", "refused", "accepted", "accepted"]
    before = await count_rows()
    again = await batch(*items)  # the bad one was mended: it alone is new
    assert again.status_code == 202
    assert await count_rows() == before + 1
    for place in (0, 1, 3, 4):
        assert again.json()["results"][place] == first.json()["results"][place]
    # The item's key is the batch's with its place, and an order of names is not another body.
    alone = await shop.client.post("/v1/messages/batch", json={"messages": [dict(reversed(items[0].items())) | {"idempotency_key": "own"}]})
    assert alone.status_code == 202
    same = await shop.client.post("/v1/messages/batch", json={"messages": [items[0] | {"idempotency_key": "own"}]})
    assert same.json() == alone.json()
