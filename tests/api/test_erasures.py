"""/v1/erasures: orders of an account, carried out here as a worker does."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from app import store
from app.feedback.erasure import erase
from app.feedback.erasure_orders import MOST_OPEN, TAKEN_SECONDS, carry_out, erase_next
from app.loops import keep
from app.store.erasure import ERASED


async def order(tenant: Any, email: Any, status: int = 202) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/erasures", json={"email": email})
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def show(tenant: Any, order_id: str) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/erasures/{order_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def until_done(tenant: Any, order_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (shown := await show(tenant, order_id))["state"] != "done":
            await asyncio.sleep(0.05)
    return shown


async def test_an_order_is_carried_out(house: Any, shop: Any, rival: Any) -> None:
    ours, theirs = await shop.send(to=["Ada@example.com", "bob@example.com"]), await rival.send(to="ada@example.com")
    ordered = await order(shop, "ADA@example.com")
    assert (ordered["state"], ordered["email"], ordered["erased"], ordered["finished_at"]) == ("waiting", "ada@example.com", None, None)
    assert (await order(shop, "ada@EXAMPLE.com"))["id"] == ordered["id"]
    erasing = asyncio.create_task(keep("erasing", partial(erase_next, house.database), 0.05))
    done = await until_done(shop, ordered["id"])
    erasing.cancel()
    assert (done["email"], done["ordered_at"], done["ordered_by"]) == (None, ordered["ordered_at"], ordered["ordered_by"])
    assert {name: rows for name, rows in done["erased"].items() if rows} == {
        "recipients": 1, "cancelled": 1, "events": 1, "contents_kept": 1
    }  # fmt: skip
    shown = (await shop.client.get(f"/v1/messages/{ours['id']}")).json()["recipients"]
    assert [(one["email"], one["state"]) for one in shown] == [(ERASED, "cancelled"), ("bob@example.com", "ready")]
    assert (await rival.client.get(f"/v1/messages/{theirs['id']}")).json()["recipients"][0]["email"] == "ada@example.com"
    assert (await rival.client.get(f"/v1/erasures/{ordered['id']}")).status_code == 404
    assert (await shop.client.get("/v1/erasures/ers_x")).status_code == 404
    async with house.database.hot() as connection:
        rows = await connection.fetch("SELECT o::text FROM erasure_orders o WHERE account_id = $1", shop.account_id)
    assert not any("example.com" in row[0] for row in rows)


async def test_what_a_worker_has_in_hand_leaves_it_open(house: Any, shop: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("app.feedback.erasure._LOOK_AGAIN_SECONDS", 0.0)
    sent = await shop.send(to="held@example.com")
    recipient_id = store.ids.parse_public_id("rcp", sent["recipients"][0]["id"])
    await order(shop, "held@example.com")
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET owner = 1 WHERE recipient_id = $1", recipient_id)
        taken = await store.erasure_orders.take_order(connection, TAKEN_SECONDS)
        assert taken is not None
        assert await store.erasure_orders.take_order(connection, TAKEN_SECONDS) is None, "nobody else takes it meanwhile"
    await carry_out(house.database, taken)
    shown = await show(shop, store.ids.public_id("ers", taken.id))
    assert (shown["state"], shown["erased"]["in_hand"], shown["erased"]["recipients"]) == ("waiting", 1, 0)
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET owner = NULL WHERE recipient_id = $1", recipient_id)
        await connection.execute("UPDATE erasure_orders SET taken_until = now() - interval '1 second'")  # its worker has died
        again = await store.erasure_orders.take_order(connection, TAKEN_SECONDS)
    assert again is not None and again.id == taken.id
    await carry_out(house.database, again)
    shown = await show(shop, store.ids.public_id("ers", taken.id))
    assert (shown["state"], shown["erased"]["in_hand"], shown["erased"]["recipients"]) == ("done", 0, 1)


async def test_who_asks_again_means_the_mail_of_meanwhile(house: Any, shop: Any, monkeypatch: Any) -> None:
    ordered = await order(shop, "twice@example.com")
    sent: list[dict[str, Any]] = []

    async def erase_and_meet(*arguments: Any) -> Any:
        done = await erase(*arguments)
        if not sent:  # the worker has read the history, and has not written down that it is done
            sent.append(await shop.send(to="twice@example.com"))
            assert (await order(shop, "twice@example.com"))["id"] == ordered["id"]
        return done

    monkeypatch.setattr("app.feedback.erasure_orders.erase", erase_and_meet)
    erasing = asyncio.create_task(keep("erasing", partial(erase_next, house.database), 0.05))
    done = await until_done(shop, ordered["id"])
    erasing.cancel()
    assert (done["email"], done["erased"]["cancelled"]) == (None, 1)
    shown = (await shop.client.get(f"/v1/messages/{sent[0]['id']}")).json()["recipients"]
    assert [(one["email"], one["state"]) for one in shown] == [(ERASED, "cancelled")]


async def test_what_is_refused(shop: Any) -> None:
    refused = await order(shop, "no address", 422)
    assert refused["errors"][0]["pointer"] == "#/email"
    assert (await shop.client.post("/v1/erasures", json={})).status_code == 422
    assert (await shop.client.post("/v1/erasures", json={"email": 5})).status_code == 422


async def test_no_more_than_so_many_wait(rival: Any) -> None:
    for number in range(MOST_OPEN):
        await order(rival, f"reader{number}@example.com")
    assert (await order(rival, "one.more@example.com", 409))["code"] == "conflict"
    await order(rival, "reader7@example.com")
