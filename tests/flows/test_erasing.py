"""A person asks to be forgotten: afterwards the whole database is searched for him, and only what is meant to stay is found."""

from __future__ import annotations

import asyncio
from collections import Counter
from email import message_from_bytes
from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest
from app.feedback.erasure import REASON, erase
from app.store.erasure import ERASED
from tests.doubles.hooks import Rule
from tests.doubles.sink_script import Script
from tests.flows.conftest import DOMAIN, House, other_account, until
from tests.flows.test_left_meanwhile import soon, stop_workers, suppress
from tests.flows.test_opened_and_clicked import HTML, PERSON, html_received, reader_of, told, tracked_paths
from tests.flows.test_unsubscribing import NEWS, click, received_by

ADA = "Ada@x.test"
HER_WORDS = ("ada@x.test", "lovelace", "203.0.113.7", "thunderbird", "order-of-the-countess")


async def found_in(house: House, *words: str) -> Counter[str]:
    """In which tables, by the name of the parent, rows stand that contain one of these words, in any case."""
    counts: Counter[str] = Counter()
    async with house.database.hot() as connection:
        tables = [row[0] for row in await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                                                           " AND relkind = 'r'")]  # fmt: skip
        for table in tables:
            rows = await connection.fetch(f"SELECT lower(t::text) FROM {table} t")
            counts[table.partition("_p20")[0]] += sum(any(word in row[0] for word in words) for row in rows)
    return +counts


async def content_rows(house: House) -> int:
    async with house.database.hot() as connection:
        rows: int = await connection.fetchval("SELECT count(*) FROM content")
    return rows


async def events(house: House) -> list[dict[str, Any]]:
    answer = await house.api.get("/v1/events", params={"limit": 200})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def test_nothing_of_a_person_is_found_afterwards(house: House) -> None:
    house.hooks.rules = [Rule("200", contains=ADA, body=f"thank you for {ADA}")]
    assert (await house.api.post("/v1/webhooks", json={"url": house.hooks.url})).status_code == 201
    reply = f"450 4.2.0 <{ADA}> is busy, says mx.lovelace.example"
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_450", "times_each": 1, "recipient": "^Ada@", "reply": reply}]})
    alone = await house.send(
        f"Countess Lovelace <{ADA}>", html=HTML, subject="Dear Lovelace", metadata={"who": "order-of-the-countess"}, tags=["lovelace"]
    )
    await house.until_states(alone["id"], "delivered")
    clicks, pixels = tracked_paths(house, await html_received(house))
    reader = reader_of(house)
    for path, kind in ((pixels[0], "message.opened"), (clicks[0], "message.clicked")):
        await reader.get(path, headers=PERSON | {"X-Forwarded-For": "203.0.113.7"}, follow_redirects=False)
        await told(house, kind, 1)
    house.sink.script = Script()
    shared = await house.send([ADA, "bob@x.test"], **(NEWS | {"subject": "News for all"}))
    await house.until_states(shared["id"], "delivered", "delivered")
    await received_by(house, f"{ADA}, bob@x.test", 2)
    urls = {m["list-unsubscribe"].strip("<>") for m in map(message_from_bytes, house.sink.messages) if m["list-unsubscribe"]}
    waiting = await house.send([ADA, "bob@x.test"], **(NEWS | {"send_at": soon(60)}))
    await suppress(house, ADA, stream="*")
    lifted = await house.api.delete(f"/v1/suppressions/{ADA}")
    assert lifted.status_code == 200
    await suppress(house, ADA, stream="bulk")
    await until(lambda: len([post for post in house.hooks.posts if ADA.encode() in post.body]), lambda posts: posts >= 3)
    await until(lambda: found_in(house, "thank you for"), lambda found: found["webhook_attempts"] >= 3)
    before = await found_in(house, *HER_WORDS)
    assert before.keys() >= {"recipients", "attempts", "events", "messages", "suppressions", "reactivations", "webhook_attempts"}
    assert await content_rows(house) == 3
    count_before = len(await events(house))

    done = await erase(house.database, house.account_id, "ADA@X.test")
    assert (done.recipients, done.cancelled, done.in_hand) == (3, 1, 0)
    assert (done.attempts, done.messages, done.contents, done.contents_kept) == (3, 1, 2, 1)
    assert (done.suppressions_kept, done.reactivations) == (1, 1)
    assert done.webhook_answers >= 3
    # The content of what bob still waits for has her in its header; the body of it is compressed.
    assert await found_in(house, *HER_WORDS) == {"suppressions": 1}
    assert await content_rows(house) == 1

    # What is told is what it was, but for whom it was about.
    shown = await house.message(alone["id"])
    assert [one["email"] for one in shown["recipients"]] == [ERASED]
    assert [one["state"] for one in shown["recipients"]] == ["delivered"]
    assert shown["subject"] == ""
    assert (await house.message(shared["id"]))["subject"] == "News for all"
    feed = await events(house)
    assert len(feed) == count_before + 1
    assert {event["email"] for event in feed if event["email"]} == {ERASED, "bob@x.test"}
    (cancelled,) = [event for event in feed if event["type"] == "message.cancelled"]
    assert cancelled["facts"] == {"recipient": ERASED, "reason": REASON}
    (opened,) = [event for event in feed if event["type"] == "message.opened"]
    assert opened["facts"].keys() == {"recipient", "first", "by", "at"}

    # Links of sent mail still lead on, and nothing is told of it; only bob can leave by his.
    answer = await reader.get(clicks[0], headers=PERSON, follow_redirects=False)
    assert answer.status_code == 302
    assert sorted([(await click(house, url)).status_code for url in urls]) == [200, 404]
    await until(lambda: events(house), lambda found: any(event["type"] == "message.unsubscribed" for event in found))
    await asyncio.sleep(0.3)
    assert len([event for event in await events(house) if event["type"] == "message.clicked"]) == 1
    assert (await house.states(waiting["id"]))[0] == "cancelled"
    again = await erase(house.database, house.account_id, ADA)
    assert (again.recipients, again.events, again.suppressions_kept) == (0, 0, 1)


async def test_others_get_their_mail_and_accounts_are_apart(house: House) -> None:
    await stop_workers(house)
    sent = await house.send([ADA, "bob@x.test"])
    other = await other_account(house, "other", "other.test")
    async with house.database.hot() as connection:
        await connection.execute(
            "INSERT INTO suppressions (account_id, stream, address, reason) VALUES ($1, '*', 'ada@x.test', 'manual')", other
        )
    assert (await erase(house.database, other, ADA)).recipients == 0
    assert (await house.states(sent["id"])) == ["ready", "ready"]
    done = await erase(house.database, house.account_id, ADA)
    assert (done.cancelled, done.contents, done.contents_kept) == (1, 0, 1)
    house.start_worker()
    await house.until_states(sent["id"], "cancelled", "delivered")
    assert [dot.recipient for dot in house.sink.dots] == ["bob@x.test"]


async def test_what_a_worker_has_in_hand_is_waited_for(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "dot_slow", "seconds": 1.5}]})
    sent = await house.send(ADA)
    await house.until_states(sent["id"], "claimed")
    now = await erase(house.database, house.account_id, ADA, looks=0)
    assert (now.recipients, now.in_hand) == (0, 1)
    assert (await found_in(house, "ada@x.test"))["recipients"] == 1
    done = await erase(house.database, house.account_id, ADA)
    assert (done.recipients, done.cancelled, done.attempts, done.in_hand) == (1, 0, 1, 0)
    assert await house.states(sent["id"]) == ["delivered"]
    assert await found_in(house, "ada@x.test") == {}


async def test_facts_that_no_text_can_hold_are_no_hindrance(house: House) -> None:
    """JSON writes NUL as \\u0000, which PostgreSQL keeps and cannot read; behind a backslash of its own it is six plain letters."""
    sent = await house.send(ADA)
    await house.until_states(sent["id"], "delivered")
    odd = {"recipient": ADA, "class": "a\0\0b\\u0000c\\\0", "\0": "\0", "phase": "dot"}
    async with house.database.hot() as connection:
        query = "UPDATE events SET facts = $2::text::json WHERE account_id = $1 AND type = 'message.delivered'"
        await connection.execute(query, house.account_id, orjson.dumps(odd).decode())
    assert (await erase(house.database, house.account_id, ADA)).recipients == 1
    (told_of,) = [event for event in await events(house) if event["type"] == "message.delivered"]
    assert told_of["facts"] == {"recipient": ERASED, "class": "ab\\u0000c\\", "phase": "dot"}


async def test_an_account_s_order_is_carried_out_by_a_worker(house: House) -> None:
    sent = await house.send(ADA)
    await house.until_states(sent["id"], "delivered")
    ordered = await house.api.post("/v1/erasures", json={"email": ADA})
    assert ordered.status_code == 202, ordered.text

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = (await house.api.get(f"/v1/erasures/{ordered.json()['id']}")).json()
        return found

    done = await until(look, lambda now: now["state"] == "done")
    assert done["erased"]["recipients"] == 1
    assert await found_in(house, "ada@x.test") == {}


async def test_a_mailbox_in_utf_8(house: House) -> None:
    await stop_workers(house)
    await house.send(["\u00c9va@x.test", "zo\u00e9@x.test", "eva@x.test"], subject="To \u00e9va@x.test")
    done = await erase(house.database, house.account_id, "\u00e9VA@x.test")
    assert (done.recipients, done.messages) == (1, 1)
    assert await found_in(house, "\u00e9va@x.test") == {}
    assert (await found_in(house, "zo\u00e9@x.test"))["recipients"] == 1


async def test_what_is_no_address_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest):
        await erase(house.database, house.account_id, f"@{DOMAIN}")
