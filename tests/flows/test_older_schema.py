"""A release comes to a database that an older one filled: all that waits goes on, all that was given out works, nothing is sent twice.

The older schema is made from the present one by the migrations' own way back, which takes away what they added and leaves every row
of the older tables. What an older release's processes do on a newer schema cannot be shown here: their code is not in this tree.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic import command

from app.store.migrate import alembic_config, upgrade
from tests.flows.conftest import House, until
from tests.flows.test_opened_and_clicked import tracked_paths
from tests.flows.test_rendered_late import a_template, read, soon, text_of
from tests.flows.test_unsubscribing import NEWS, click, received_by

OLDEST_SHIPPED = "0008"  # before it workers cannot read what is rendered at delivery: docs/deploying.md, Upgrade


async def _stop_workers(house: House) -> None:
    for _, stop in house.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in house.workers))
    house.workers.clear()


async def _count_rows(house: House) -> dict[str, int]:
    """Rows of each table that has any; partitions count for their parents."""
    async with house.database.hot() as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
            " AND relname NOT IN ('alembic_version', 'workers', 'chores')"
        )
        counted = {row["relname"]: await connection.fetchval(f"SELECT count(*) FROM {row['relname']}") for row in names}
    return {name: number for name, number in counted.items() if number}


async def _fill_later(house: House, name: str) -> dict[str, Any]:
    """Mail that a worker fills when it is due; only what a worker of this release is there for is accepted so."""
    item = {"from": "orders@shop.example.test", "to": "filled@x.test", "template": name, "variables": {"name": "Ada"}, "send_at": soon(8)}
    answer = await house.api.post("/v1/messages/batch", json={"messages": [item]})
    assert answer.status_code == 202, answer.text
    return dict(answer.json()["results"][0])


async def _hold(house: House, address: str) -> None:
    async with house.database.hot() as connection:
        await connection.execute(
            "WITH kept AS (UPDATE recipients SET state = 'held', reason = 'by the operator' WHERE address = $1 RETURNING id)"
            " UPDATE queue SET ready = false, due_at = 'infinity' FROM kept WHERE recipient_id = kept.id",
            address,
        )


@pytest.mark.parametrize("revision", ["0011", OLDEST_SHIPPED])
async def test_what_an_older_release_left_goes_on(house: House, revision: str) -> None:
    name = await a_template(house)
    answer = await house.api.post("/v1/webhooks", json={"url": house.hooks.url})
    assert answer.status_code == 201, answer.text
    sent = await house.send("ada@x.test", **NEWS | {"html": '<a href="https://shop.example.test/">News</a>'})
    await house.until_states(sent["id"], "delivered")
    _, mail = await received_by(house, "ada@x.test")
    cursor = (await house.api.get("/v1/events")).json()["next"]
    filled = await _fill_later(house, name)
    await _stop_workers(house)
    plain, later, held = [
        await house.send("plain@x.test"),
        await house.send("later@x.test", send_at=soon()),
        await house.send("held@x.test"),
    ]
    await _hold(house, "held@x.test")

    url = house.settings.database_url
    await asyncio.to_thread(command.downgrade, alembic_config(url), revision)
    before = await _count_rows(house)
    assert {"messages", "recipients", "content", "moulds", "queue", "events", "attempts", "templates", "webhook_endpoints"} <= set(before)
    house.start_worker()  # too early: it waits, because it could send and not write what came of it
    await asyncio.sleep(1.5)
    await _stop_workers(house)
    assert ([dot.recipient for dot in house.sink.dots], await _count_rows(house)) == (["ada@x.test"], before)
    await asyncio.to_thread(upgrade, url)
    assert await _count_rows(house) == before

    house.start_worker()
    for message in (plain, later, filled):
        await house.until_states(message["id"], "delivered", seconds=20)
    assert await house.states(held["id"]) == ["held"]
    assert read((await received_by(house, "filled@x.test"))[0])["subject"] == "Ciao Ada"
    taken = [dot.recipient for dot in house.sink.dots]
    assert sorted(taken) == ["ada@x.test", "filled@x.test", "later@x.test", "plain@x.test"]

    # What was given out before: links, the feed's cursor, the endpoint.
    clicks, opens = tracked_paths(house, text_of(mail, "html"))
    assert [(await house.api.get(path)).status_code for path in (*clicks, *opens)] == [302, 200]
    assert (await click(house, mail["list-unsubscribe"].strip("<>"))).status_code == 200
    assert (await house.send("ada@x.test", **NEWS))["recipients"][0]["reason"] == "unsubscribe"
    told = (await house.api.get("/v1/events", params={"after": cursor, "limit": 1000})).json()["events"]
    delivered = [event["email"] for event in told if event["type"] == "message.delivered"]
    assert sorted(delivered) == ["filled@x.test", "later@x.test", "plain@x.test"]
    await until(lambda: sum(b"message.delivered" in post.body for post in house.hooks.posts), lambda count: count == 4, 20)
