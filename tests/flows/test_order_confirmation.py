"""An order confirmation goes in by HTTP, arrives signed, and its webhook subscriber is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import dkim
from standardwebhooks.webhooks import Webhook

from tests.doubles.sink_script import Script
from tests.flows.conftest import DOMAIN, House, until


async def dkim_key(house: House) -> dict[bytes, bytes]:
    """The TXT records that the API shows for the domain."""
    domains = (await house.api.get("/v1/domains")).json()
    records = [record for domain in domains["domains"] for record in domain["records"]]
    return {f"{record['name']}.".encode(): record["value"].encode() for record in records}


async def test_it_is_delivered_signed_and_told(house: House) -> None:
    created = await house.api.post("/v1/webhooks", json={"url": house.hooks.url})
    assert created.status_code == 201, created.text
    accepted = await house.send(
        "Ada <ada@x.test>",
        subject="Bestätigung Nr. 4711 ✓",
        html="<h1>Danke!</h1><p>Zwei Paar Socken, 12 €</p>",
        text="Danke! Zwei Paar Socken, 12 €",
        tags=["order"],
        metadata={"order": "4711"},
    )
    (recipient,) = accepted["recipients"]
    message = await house.until_states(accepted["id"], "delivered")

    raw = house.sink.messages[0]
    keys = await dkim_key(house)
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
    received = message_from_bytes(raw, policy=policy.default)
    assert received["subject"] == "Bestätigung Nr. 4711 ✓"
    assert received["message-id"] == accepted["message_id"]
    assert received["from"].addresses[0].addr_spec == f"orders@{DOMAIN}"
    assert "12 €" in received.get_body(("html",)).get_content()

    (attempt,) = message["recipients"][0]["attempts"]
    assert (attempt["code"], attempt["mx"], attempt["stale"]) == (250, "mx.x.test", False)
    assert [event["type"] for event in message["timeline"]] == ["message.accepted", "message.delivered"]

    await until(lambda: len(house.hooks.posts), lambda count: count >= 2)
    verifier = Webhook(created.json()["secret"])
    told: dict[str, Any] = {}
    for post in house.hooks.posts:
        payload = verifier.verify(post.body, dict(post.headers))
        told[payload["type"]] = payload["data"]
    assert set(told) == {"message.accepted", "message.delivered"}
    assert told["message.delivered"]["recipient_id"] == recipient["id"]
    assert told["message.delivered"]["metadata"] == {"order": "4711"}


async def test_the_feed_says_the_same_by_cursor(house: House) -> None:
    accepted = [await house.send(f"user{n}@x.test") for n in range(5)]
    for one in accepted:
        await house.until_states(one["id"], "delivered")

    async def read_all() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        after = None
        while True:
            page = (await house.api.get("/v1/events", params={"limit": 3} | ({"after": after} if after else {}))).json()
            if not page["events"]:
                return events
            events += page["events"]
            after = page["next"]

    events = await until(read_all, lambda seen: len(seen) == 10)
    assert {e["type"] for e in events} == {"message.accepted", "message.delivered"}
    assert len({e["id"] for e in events}) == 10


async def test_a_hard_bounce_suppresses_and_the_next_one_is_told_at_once(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_550", "recipient": "^gone@"}]})
    first = await house.send(["gone@x.test", "ada@x.test"])
    message = await house.until_states(first["id"], "bounced", "delivered")
    assert message["recipients"][0]["attempts"][0]["code"] == 550
    again = await house.send("Gone@x.test")
    assert again["recipients"][0]["state"] == "suppressed"
    assert len(house.sink.messages) == 1


async def test_a_deferral_is_explained_and_tried_again(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_450", "times_each": 2}]})
    accepted = await house.send()
    message = await house.until_states(accepted["id"], "delivered")
    codes = [attempt["code"] for attempt in message["recipients"][0]["attempts"]]
    assert codes == [450, 450, 250]
    types = [event["type"] for event in message["timeline"]]
    assert types == ["message.accepted", "message.deferred", "message.deferred", "message.delivered"]


async def test_no_such_domain_bounces_and_a_silent_resolver_defers(house: House) -> None:
    house.dns.zones["broken.test"] = "SERVFAIL"
    gone = await house.send("a@nowhere.test")
    broken = await house.send("a@broken.test")
    await house.until_states(gone["id"], "bounced")
    await house.until_states(broken["id"], "deferred")
    house.dns.zones["broken.test"] = {"MX": [[10, "mx.x.test"]]}
    await house.until_states(broken["id"], "delivered", seconds=60)


async def test_a_domain_whose_name_server_is_silent_holds_up_nobody(house: House) -> None:
    house.dns.zones["silent.test"] = "TIMEOUT"
    accepted = await house.send(["a@silent.test", "b@x.test"])
    await until(lambda: house.states(accepted["id"]), lambda states: states[1] == "delivered")
    assert (await house.states(accepted["id"]))[0] in {"ready", "claimed"}
    await house.until_states(accepted["id"], "deferred", "delivered", seconds=60)


async def test_many_at_once_arrive_once_each(house: House) -> None:
    house.start_worker()
    items = [
        {"from": f"a@{DOMAIN}", "to": [f"u{n}@x.test"], "subject": f"n {n}", "text": "x", "stream": "bulk" if n % 2 else "transactional"}
        for n in range(400)
    ]
    answers = [await house.api.post("/v1/messages/batch", json={"messages": items[n : n + 200]}) for n in (0, 200)]
    assert [a.status_code for a in answers] == [202, 202]
    await until(lambda: len(house.sink.dots), lambda count: count >= 400, 30)
    await asyncio.sleep(0.3)
    assert sorted(dot.recipient for dot in house.sink.dots) == sorted(f"u{n}@x.test" for n in range(400))
    async with house.database.hot() as connection:
        await until(lambda: connection.fetchval("SELECT count(*) FROM queue"), lambda left: left == 0)
        states = await connection.fetch("SELECT state, count(*) FROM recipients GROUP BY 1")
        assert [tuple(row) for row in states] == [("delivered", 400)]


async def test_scheduled_mail_waits_and_can_be_cancelled(house: House) -> None:
    far = (datetime.now(UTC) + timedelta(days=200)).isoformat()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    waits, goes = await house.send("b@x.test", send_at=far), await house.send("c@x.test", send_at=soon)
    assert [waits["recipients"][0]["state"], goes["recipients"][0]["state"]] == ["scheduled", "scheduled"]
    await house.until_states(goes["id"], "delivered")
    answer = await house.api.post(f"/v1/messages/{waits['id']}/cancel")
    assert answer.status_code == 200, answer.text
    await house.until_states(waits["id"], "cancelled")
    assert [dot.recipient for dot in house.sink.dots] == ["c@x.test"]
