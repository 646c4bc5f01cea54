"""GET /v1/messages and /v1/messages/{id}, cancel: where is it now, and everything that was tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app import store
from app.api.message_body import AcceptedMessage, CancelledMessage
from app.api.message_status import MessagePage, MessageStatus
from app.store.settlement import AttemptRow, Settlement
from app.store.states import RecipientState


async def _status(tenant: Any, message_id: str) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/messages/{message_id}")
    assert answer.status_code == 200, answer.text
    MessageStatus.model_validate_json(answer.content)
    status: dict[str, Any] = answer.json()
    return status


def _uuid(public: str) -> UUID:
    return UUID(public[4:])


async def _claim(house: Any, recipient: str, owner: int = 7) -> None:
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET owner = $2, claims = 1 WHERE recipient_id = $1", _uuid(recipient), owner)


async def _settle(
    house: Any, tenant: Any, recipient: str, state: RecipientState, *, owner: int = 7, due_at: datetime | None = None
) -> None:
    attempt = AttemptRow(
        store.ids.new_id(),
        "dot",
        250 if due_at is None else 451,
        "2.0.0",
        "ok",
        "mx.example.com",
        "192.0.2.1",
        "192.0.2.9",
        "TLSv1.3",
        5,
        30,
    )
    verdict = Settlement(owner, tenant.account_id, _uuid(recipient), state, due_at, None, "ok", None, attempt, f"message.{state}", "{}")
    async with house.database.hot() as connection:
        await store.settlement.settle(connection, [verdict])


async def test_the_life_of_a_message(shop: Any, house: Any) -> None:
    accepted = await shop.send(to=["ada@example.com", "bob@example.com"], tags=["order"], metadata={"order": "1"})
    AcceptedMessage.model_validate(accepted)
    ada, bob = (each["id"] for each in accepted["recipients"])
    status = await _status(shop, accepted["id"])
    assert (status["from"], status["subject"], status["message_id"]) == (f"orders@{shop.domain}", "Your order", accepted["message_id"])
    assert (status["tags"], status["metadata"], status["stream"]) == (["order"], {"order": "1"}, "transactional")
    assert [each["state"] for each in status["recipients"]] == ["ready", "ready"]
    assert [each["type"] for each in status["timeline"]] == ["message.accepted"]

    await _claim(house, ada)
    assert [each["state"] for each in (await _status(shop, accepted["id"]))["recipients"]] == ["claimed", "ready"]

    due = datetime.now(UTC) + timedelta(hours=1)
    await _settle(house, shop, ada, RecipientState.DEFERRED, due_at=due)
    await _claim(house, bob)
    await _settle(house, shop, bob, RecipientState.DELIVERED)
    await _settle(house, shop, bob, RecipientState.BOUNCED, owner=8)  # a worker that had lost it
    first, second = (await _status(shop, accepted["id"]))["recipients"]
    assert (first["state"], second["state"]) == ("deferred", "delivered")
    assert datetime.fromisoformat(first["next_attempt_at"]) == due
    assert second["settled_at"] is not None
    assert second["next_attempt_at"] is None
    assert (first["attempts"][0]["code"], first["attempts"][0]["mx"], first["attempts"][0]["tls"]) == (451, "mx.example.com", "TLSv1.3")
    assert [each["stale"] for each in second["attempts"]] == [False, True]


async def test_who_may_have_got_it_twice_is_marked(shop: Any, house: Any) -> None:
    accepted = await shop.send()
    await _claim(house, accepted["recipients"][0]["id"])
    async with house.database.hot() as connection:
        await store.queue.free_rows_of(connection, [7])
    status = await _status(shop, accepted["id"])
    assert status["recipients"][0]["maybe_sent"] is True


async def test_scheduled_mail_waits_and_is_cancelled(shop: Any, house: Any) -> None:
    at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    accepted = await shop.send(send_at=at, to=["ada@example.com", "bob@example.com"])
    assert accepted["recipients"][0]["state"] == "scheduled"
    answer = await shop.client.post(f"/v1/messages/{accepted['id']}/cancel")
    assert answer.status_code == 200
    CancelledMessage.model_validate_json(answer.content)
    status = await _status(shop, accepted["id"])
    assert {each["state"] for each in status["recipients"]} == {"cancelled"}
    assert [each["type"] for each in status["timeline"]].count("message.cancelled") == 2
    again = await shop.client.post(f"/v1/messages/{accepted['id']}/cancel")
    assert again.status_code == 200
    assert (await _status(shop, accepted["id"]))["timeline"] == status["timeline"]
    async with house.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM queue WHERE recipient_id = $1", _uuid(accepted["recipients"][0]["id"])) == 0


async def test_what_is_claimed_cannot_be_cancelled(shop: Any, house: Any) -> None:
    accepted = await shop.send()
    await _claim(house, accepted["recipients"][0]["id"])
    answer = await shop.client.post(f"/v1/messages/{accepted['id']}/cancel")
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"
    assert (await _status(shop, accepted["id"]))["recipients"][0]["state"] == "claimed"


async def test_lists_are_paged_newest_first(rival: Any) -> None:
    made = [(await rival.send(subject=str(n)))["id"] for n in range(7)]
    listed: list[dict[str, Any]] = []
    cursor = None
    for _ in range(10):
        answer = await rival.client.get("/v1/messages", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200
        MessagePage.model_validate_json(answer.content)
        page = answer.json()
        listed += page["messages"]
        cursor = page["next"]
        if not page["has_more"]:
            break
    assert [each["id"] for each in listed] == made[::-1]
    assert cursor is None
    assert all(each["states"] == {"ready": 1} for each in listed)
    middle = listed[3]["created_at"]
    after = (await rival.client.get("/v1/messages", params={"created_after": middle})).json()["messages"]
    before = (await rival.client.get("/v1/messages", params={"created_before": middle})).json()["messages"]
    assert middle in [each["created_at"] for each in after]
    assert len(after) + len(before) == 7


async def test_mail_is_found_by_its_recipient(shop: Any, rival: Any, house: Any) -> None:
    made = [(await shop.send(to=["Found@Example.com", f"other{n}@example.com"]))["id"] for n in range(5)]
    await shop.send(to="lost@example.com")
    await rival.send(to="found@example.com")
    listed: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"recipient": "FOUND@example.com", "limit": 2}
    while "cursor" not in asked or asked["cursor"]:
        answer = await shop.client.get("/v1/messages", params=asked)
        assert answer.status_code == 200, answer.text
        MessagePage.model_validate_json(answer.content)
        page = answer.json()
        listed += page["messages"]
        asked["cursor"] = page["next"]
    assert [each["id"] for each in listed] == made[::-1]
    assert all(each["states"] == {"ready": 1} for each in listed), "of this recipient alone"
    assert (await shop.client.get("/v1/messages", params={"recipient": "nobody@example.com"})).json()["messages"] == []
    async with house.database.hot() as connection:
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch(
            f"EXPLAIN {store.history._TO}", shop.account_id, UUID(int=0), UUID(int=2**128 - 1), 50, "found@example.com"
        )
        await connection.execute("RESET enable_seqscan")
    lines = "\n".join(row[0] for row in plan)
    assert "Sort" not in lines, lines
    assert "Index Scan Backward" in lines, lines


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", "limit=1e9", "limit=x", "limit=999999999999999999999999", "cursor=x", "cursor=", "cursor=bQ"),
        *("cursor=%00", "cursor=ZQAAAAAAACcjAaIJ_ASIc_CfFcGBFqiQAg", "cursor=" + "a" * 101, "cursor=é", "created_after=yesterday"),
        *("created_after=2020-01-01", "created_before=0000-01-01T00:00:00Z", "created_before=1e9", "cursor=%ed%a0%80"),
        *("recipient=", "recipient=ada", "recipient=a%00@example.com", "recipient=" + "a" * 321),
    ],
)
async def test_wrong_parameters(shop: Any, query: str) -> None:
    answer = await shop.client.get(f"/v1/messages?{query}")
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


@pytest.mark.parametrize("query", ["created_after=0001-01-01T00:00:00Z", "created_before=9999-12-31T23:59:59Z", "limit=200"])
async def test_parameters_at_the_edge(shop: Any, query: str) -> None:
    assert (await shop.client.get(f"/v1/messages?{query}")).status_code == 200


@pytest.mark.parametrize(
    "some_id", ["msg_", "x", "msg_" + "0" * 32, "msg_" + "f" * 32, "rcp_" + "0" * 32, "msg_%00", "%ff", "msg_" + "٣" * 32]
)
async def test_ids_that_are_not_there(shop: Any, some_id: str) -> None:
    for answer in (await shop.client.get(f"/v1/messages/{some_id}"), await shop.client.post(f"/v1/messages/{some_id}/cancel")):
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
