"""A scanner that poses as a browser reads a mail before its reader; afterwards the numbers are the reader's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from app.feedback.erasure import erase
from app.feedback.second_looks import look_at_span
from tests.flows.conftest import House, until
from tests.flows.test_opened_and_clicked import PERSON, html_received, reader_of, told, tracked_paths

HTML = (
    "<html><body>"
    + "".join(f'<a href="https://shop.example/{page}">{page}</a>' for page in ("order", "parcel", "terms"))
    + "</body></html>"
)
PROXY = PERSON | {"X-Forwarded-For": "198.51.100.7"}
HOME = {"User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", "X-Forwarded-For": "203.0.113.7"}


async def let_the_time_pass(house: House) -> None:
    """What waits for a second look is due."""
    async with house.database.hot() as connection:
        await connection.execute("UPDATE second_looks SET due_at = now() WHERE NOT seen")

    async def left() -> int:
        async with house.database.hot() as connection:
            count: int = await connection.fetchval("SELECT count(*) FROM second_looks WHERE NOT seen")
        return count

    await until(left, lambda count: count == 0)


def counted(events: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """(all, by persons, unique) of opens and clicks, as a receiver counts them: of each hit the last word."""
    words: dict[str, tuple[str, dict[str, Any]]] = {}
    for event in events:
        if event["type"] in ("message.opened", "message.clicked"):
            words[event["id"]] = (event["type"], event["facts"])
        elif event["type"] == "message.reclassed":
            words[event["facts"]["event_id"]] = (event["facts"]["event_type"], event["facts"])
    sums = {}
    for kind in ("message.opened", "message.clicked"):
        facts = [word for type_, word in words.values() if type_ == kind]
        sums[kind] = (len(facts), sum(one["by"] == "person" for one in facts), sum(one["first"] for one in facts))
    return sums


async def feed(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await house.api.get("/v1/events", params={"limit": 200})).json()["events"]
    return found


async def test_a_scanners_burst_is_taken_back_and_the_readers_click_is_the_first(house: House) -> None:
    wanted = {"url": house.hooks.url, "events": ["message.reclassed"]}
    assert (await house.api.post("/v1/webhooks", json=wanted)).status_code == 201
    sent = await house.send("ada@x.test", html=HTML)
    clicks, (pixel,) = tracked_paths(house, await html_received(house))
    reader = reader_of(house)
    for path in (pixel, *clicks):
        await reader.get(path, headers=PROXY, follow_redirects=False)
    await told(house, "message.clicked", 3)
    await house.until_states(sent["id"], "delivered")
    await asyncio.sleep(2.1)  # nobody reads faster
    await reader.get(clicks[1], headers=HOME, follow_redirects=False)
    *_, readers = await told(house, "message.clicked", 4)
    await told(house, "message.opened", 1)
    assert counted(await feed(house)) == {"message.opened": (1, 1, 1), "message.clicked": (4, 4, 1)}
    assert not readers["facts"]["first"]

    await let_the_time_pass(house)
    corrections = await told(house, "message.reclassed", 5)
    assert counted(await feed(house)) == {"message.opened": (1, 0, 0), "message.clicked": (4, 1, 1)}
    (first,) = [one["facts"] for one in corrections if one["facts"]["first"]]
    assert first.items() >= {"event_id": readers["id"], "by": "person", "was_by": "person", "was_first": False}.items()
    assert {one["facts"].get("machine_reason") for one in corrections} == {"at delivery", None}
    assert all(one["email"] == "ada@x.test" for one in corrections)
    await until(lambda: len(house.hooks.posts), lambda count: count >= 5)

    status = await house.message(sent["id"])
    (recipient,) = status["recipients"]
    assert (recipient["opens"], recipient["clicks"]) == ({"all": 1, "by_persons": 0}, {"all": 4, "by_persons": 1})
    assert [event["type"] for event in status["timeline"]].count("message.reclassed") == 5
    async with house.database.hot() as connection:
        opened_at, clicked_at = await connection.fetchrow("SELECT opened_at, clicked_at FROM recipients")
    assert opened_at is None
    assert clicked_at.isoformat().replace("+00:00", "Z") == readers["facts"]["at"]

    # Once more over all of it: nothing is said twice. The reader's next click is not the first.
    begin = datetime.now(UTC) - timedelta(minutes=5)
    assert await look_at_span(house.database, house.account_id, begin, datetime.now(UTC)) == 5
    await reader.get(clicks[0], headers=HOME, follow_redirects=False)
    assert not (await told(house, "message.clicked", 5))[-1]["facts"]["first"]
    await let_the_time_pass(house)
    assert len(await told(house, "message.reclassed", 5)) == 5
    assert counted(await feed(house))["message.clicked"] == (5, 2, 1)

    # Of somebody who is forgotten the sums stay.
    await reader.get(clicks[2], headers=HOME, follow_redirects=False)
    await told(house, "message.clicked", 6)
    before = counted(await feed(house))
    assert (await erase(house.database, house.account_id, "ada@x.test")).recipients == 1
    async with house.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM second_looks") == 0
    assert counted(await feed(house)) == before
    assert "shop.example" not in str([event["facts"] for event in await feed(house) if event["type"] != "message.accepted"])
