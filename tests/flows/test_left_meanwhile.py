"""Mail that waits when its reader leaves is not sent: the worker that claims it looks at the suppressions as accepting does.

Mail waits for its `send_at`, for its next attempt, or for a worker. Other recipients, streams and accounts get theirs.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any

from app.accounts.credentials import ALL, create_key
from tests.doubles.sink_script import Script
from tests.flows.conftest import DOMAIN, House, other_account, until
from tests.flows.test_unsubscribing import NEWS, click, received_by

SOON = 2.0


def soon(seconds: float = SOON) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def addressees(house: House) -> list[tuple[str, str]]:
    """Whom the sink has got mail for, and with which subject."""
    read = [message_from_bytes(raw) for raw in house.sink.messages]
    return sorted((mail["to"], mail["subject"]) for mail in read)


async def leave(house: House, address: str) -> None:
    """By the button in the newest mail to the address."""
    _, mail = await received_by(house, address)
    answer = await click(house, mail["list-unsubscribe"].strip("<>"))
    assert answer.status_code == 200


async def suppress(house: House, *addresses: str, **fields: str) -> None:
    answer = await house.api.post("/v1/suppressions", json={"suppressions": [{"email": address, **fields} for address in addresses]})
    assert answer.status_code == 200, answer.text


async def suppressed_events(house: House) -> list[dict[str, Any]]:
    answer = await house.api.get("/v1/events", params={"types": "message.suppressed"})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def stop_workers(house: House) -> None:
    for _, stop in house.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in house.workers))
    house.workers.clear()


async def test_who_leaves_before_its_time_does_not_get_it(house: House) -> None:
    issue = await house.send("ada@x.test", **NEWS)
    await house.until_states(issue["id"], "delivered")
    fields: dict[str, Any] = NEWS | {"subject": "Later", "send_at": soon()}
    later = await house.send(["Ada@x.test", "bob@x.test"], **fields)
    other_stream = await house.send("ada@x.test", subject="Order", send_at=soon())
    other = await other_account(house, "other", "other.test")
    async with house.database.transaction() as connection:
        _, token = await create_key(connection, house.keyring, other, name="t", scopes=[ALL])
    answer = await house.api.post(
        "/v1/messages",
        json=NEWS | {"from": "a@other.test", "to": "ada@x.test", "subject": "Other", "send_at": soon()},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 202, answer.text
    assert [one["state"] for one in later["recipients"]] == ["scheduled", "scheduled"]
    await leave(house, "ada@x.test")

    found = await house.until_states(later["id"], "suppressed", "delivered")
    ada = found["recipients"][0]
    assert (ada["reason"], ada["attempts"]) == ("unsubscribe", [])
    assert ada["next_attempt_at"] is None
    await house.until_states(other_stream["id"], "delivered")
    await until(lambda: addressees(house), lambda got: len(got) >= 4)
    assert addressees(house) == [
        ("Ada@x.test, bob@x.test", "Later"), ("ada@x.test", "News"), ("ada@x.test", "Order"), ("ada@x.test", "Other")
    ]  # fmt: skip
    assert "Ada@x.test" not in {dot.recipient for dot in house.sink.dots}
    # It is told as accepting tells it.
    at_the_door = await house.send("ada@x.test", **NEWS)
    events = await until(lambda: suppressed_events(house), lambda found: len(found) == 2)
    assert [event["message_id"] for event in events] == [later["id"], at_the_door["id"]]
    for event in events:
        assert {"recipient", "reason"} <= event["facts"].keys()
        assert event["facts"]["recipient"].lower() == "ada@x.test"
        assert event["facts"]["reason"] == "unsubscribe"
    await until(lambda: queue_rows(house), lambda rows: rows == 0)


async def test_what_was_tried_is_not_tried_again(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_450", "recipient": "^ada@"}]})
    sent = await house.send(["ada@x.test", "bob@x.test"])
    await house.until_states(sent["id"], "deferred", "delivered")
    await suppress(house, "ada@x.test")
    found = await house.until_states(sent["id"], "suppressed", "delivered", seconds=20)
    ada = found["recipients"][0]
    assert ada["reason"] == "manual"
    assert len(ada["attempts"]) >= 1
    (event,) = await suppressed_events(house)
    assert event["facts"]["attempts"] == len(ada["attempts"])


async def test_a_dead_address_spares_what_waits_for_it(house: House) -> None:
    house.sink.script = Script.parse({"rules": [{"fault": "rcpt_550", "recipient": "^gone@"}]})
    later = await house.send(["gone@x.test", "bob@x.test"], send_at=soon())
    first = await house.send("gone@x.test")
    await house.until_states(first["id"], "bounced")
    found = await house.until_states(later["id"], "suppressed", "delivered")
    assert found["recipients"][0]["reason"] == "invalid_mailbox"


async def test_a_backlog_without_workers(house: House) -> None:
    await stop_workers(house)
    sent = await house.send([f"reader{n}@x.test" for n in range(40)], **NEWS)
    await suppress(house, *[f"Reader{n}@x.test" for n in range(0, 40, 2)], stream="bulk")
    await suppress(house, "reader1@x.test", stream="transactional")
    house.start_worker()
    await house.until_states(sent["id"], *["suppressed", "delivered"] * 20)
    assert {dot.recipient for dot in house.sink.dots} == {f"reader{n}@x.test" for n in range(1, 40, 2)}


async def test_a_mailbox_in_utf_8_has_one_spelling_too(house: House) -> None:
    later = await house.send(["\u00c9va@x.test", "zo\u00e9@x.test"], send_at=soon())
    await suppress(house, "\u00e9VA@x.test")
    await house.until_states(later["id"], "suppressed", "delivered")


async def test_a_repeated_request_gets_the_first_answer(house: House) -> None:
    await suppress(house, "bob@x.test")
    fields: dict[str, Any] = {"to": ["ada@x.test", "bob@x.test"], "send_at": soon()}
    body = {"from": f"orders@{DOMAIN}", "subject": "Order", "text": "Thank you."} | fields

    async def post() -> dict[str, Any]:
        answer = await house.api.post("/v1/messages", json=body, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    first = await post()
    assert [one["state"] for one in first["recipients"]] == ["scheduled", "suppressed"]
    await suppress(house, "ada@x.test")
    await house.until_states(first["id"], "suppressed", "suppressed")
    assert await post() == first


async def test_who_comes_back_in_time_gets_it(house: House) -> None:
    later = await house.send(["ada@x.test", "bob@x.test"], **(NEWS | {"send_at": soon()}))
    await suppress(house, "ada@x.test", "bob@x.test", stream="bulk")
    lifted = await house.api.delete("/v1/suppressions/ada@x.test")
    assert lifted.status_code == 200
    await house.until_states(later["id"], "delivered", "suppressed")
    assert [dot.recipient for dot in house.sink.dots] == ["ada@x.test"]


async def queue_rows(house: House) -> int:
    async with house.database.hot() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM queue")
    return count
