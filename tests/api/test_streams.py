"""/v1/streams, and what a stream's word is worth when a message comes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.streams import Stream, StreamList
from app.mail.finish import CLICKS, OPENS, UNSUBSCRIBE
from app.store.ids import parse_public_id


async def _kept(house: Any, message_id: str) -> Any:
    async with house.database.hot() as connection:
        return await connection.fetchrow(
            "SELECT m.*, extract(epoch FROM m.expires_at - now()) / 3600 AS hours, c.head, c.purge_on FROM messages m"
            " JOIN content c ON c.account_id = m.account_id AND c.message_id = m.id WHERE m.id = $1",
            parse_public_id("msg", message_id),
        )


async def test_every_account_has_two(shop: Any) -> None:
    listed = StreamList.model_validate_json((await shop.client.get("/v1/streams")).content).streams
    assert {(one.name, one.class_, one.track_opens, one.track_clicks) for one in listed} >= {
        ("transactional", "transactional", True, True),
        ("bulk", "bulk", True, True),
    }


async def test_from_making_to_archiving(house: Any, shop: Any, rival: Any) -> None:
    body = {
        "name": "letter",
        "class": "bulk",
        "title": "Der Brief ✓",
        "track_clicks": False,
        "max_age_hours": 5,
        "content_retention_days": 2,
    }
    made = await shop.client.post("/v1/streams", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/streams/letter")
    Stream.model_validate_json(made.content)
    assert (await shop.client.post("/v1/streams", json=body)).status_code == 409
    accepted = await shop.send(stream="letter", tags=["may sale!"])
    row = await _kept(house, accepted["id"])
    assert row["adds"] == OPENS | UNSUBSCRIBE
    assert 4.9 < row["hours"] < 5.1
    assert (row["purge_on"] - row["expires_at"].date()).days == 2
    assert b"\r\nList-Id: =?utf-8?b?RGVyIEJyaWVmIOKckw==?= <letter.shop.example.test>\r\n" in row["head"]
    assert b"\r\nFeedback-ID: may-sale-:letter:%d:" % shop.account_id in row["head"]
    assert (await rival.client.get("/v1/streams/letter")).status_code == 404
    assert (await rival.client.patch("/v1/streams/letter", json={"title": "x"})).status_code == 404

    changed = await shop.client.patch("/v1/streams/letter", json={"track_opens": False, "list_id": "l.example.com", "max_age_hours": None})
    assert changed.status_code == 200, changed.text
    assert changed.json()["title"] == "Der Brief ✓"
    row = await _kept(house, (await shop.send(stream="letter"))["id"])
    assert row["adds"] == UNSUBSCRIBE
    assert row["hours"] > 71
    assert b" <l.example.com>\r\n" in row["head"]

    archived = (await shop.client.patch("/v1/streams/letter", json={"archived": True})).json()
    assert archived["archived_at"] is not None
    refused = await shop.client.post("/v1/messages", json=shop.message(stream="letter"))
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["pointer"], error["code"]) == ("#/stream", "unknown_stream")
    assert "bulk, transactional" in error["detail"]
    assert (await shop.client.patch("/v1/streams/letter", json={"archived": False})).json()["archived_at"] is None
    assert (await shop.client.post("/v1/messages", json=shop.message(stream="letter"))).status_code == 202
    assert (await shop.client.patch("/v1/streams/bulk", json={"archived": True})).status_code == 409


@pytest.mark.parametrize(
    ("stream", "fields", "adds"),
    [
        ("transactional", {}, OPENS | CLICKS),
        ("transactional", {"track": {"opens": False}}, CLICKS),
        ("transactional", {"track": {"opens": False, "clicks": False}}, 0),
        ("bulk", {}, OPENS | CLICKS | UNSUBSCRIBE),
        ("bulk", {"track": {}}, OPENS | CLICKS | UNSUBSCRIBE),
        ("bulk", {"track": {"clicks": False}, "headers": {"list-unsubscribe": "<https://shop.example.test/leave>"}}, OPENS),
    ],
)
async def test_what_is_added_to_a_message(house: Any, shop: Any, stream: str, fields: Any, adds: int) -> None:
    row = await _kept(house, (await shop.send(stream=stream, **fields))["id"])
    assert row["adds"] == adds
    assert row["head"].lower().count(b"\r\nlist-id:") == (stream == "bulk")
    assert row["head"].lower().count(b"\r\nfeedback-id:") == 1


async def test_fields_of_the_client_stay_the_only_ones(house: Any, shop: Any) -> None:
    own = {"List-ID": "<mine.example.com>", "Feedback-Id": "a:b:c:mine1"}
    row = await _kept(house, (await shop.send(stream="bulk", headers=own))["id"])
    assert row["head"].lower().count(b"list-id:") == row["head"].lower().count(b"feedback-id:") == 1
    assert b"mine.example.com" in row["head"]


async def test_the_switch_of_the_account_is_above_all(house: Any, rival: Any) -> None:
    async with house.database.hot() as connection:
        await connection.execute("UPDATE accounts SET tracking = false WHERE id = $1", rival.account_id)
    house.app.state.house.streams.forget(rival.account_id)
    row = await _kept(house, (await rival.send(stream="bulk", track={"opens": True, "clicks": True}))["id"])
    assert row["adds"] == UNSUBSCRIBE
    async with house.database.hot() as connection:
        await connection.execute("UPDATE accounts SET tracking = true WHERE id = $1", rival.account_id)
    house.app.state.house.streams.forget(rival.account_id)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "a b", "class": "bulk", "title": "x"}, "#/name"),
        ({"name": "-a", "class": "bulk", "title": "x"}, "#/name"),
        ({"name": "*", "class": "bulk", "title": "x"}, "#/name"),
        ({"name": "a" * 65, "class": "bulk", "title": "x"}, "#/name"),
        ({"name": "a", "class": "spam", "title": "x"}, "#/class"),
        ({"name": "a", "class": "bulk"}, "#/title"),
        ({"name": "a", "class": "bulk", "title": " "}, "#/title"),
        ({"name": "a", "class": "bulk", "title": "x\r\nBcc: y"}, "#/title"),
        ({"name": "a", "class": "bulk", "title": "x", "list_id": "a b.c"}, "#/list_id"),
        ({"name": "a", "class": "bulk", "title": "x", "list_id": "abc"}, "#/list_id"),
        ({"name": "a", "class": "bulk", "title": "x", "max_age_hours": 0}, "#/max_age_hours"),
        ({"name": "a", "class": "bulk", "title": "x", "track_opens": 1}, "#/track_opens"),
    ],
)
async def test_wrong_streams(shop: Any, body: Any, pointer: str) -> None:
    answer = await shop.client.post("/v1/streams", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("name", ["x", "%00", "é", "a" * 500, "BULK"])
async def test_streams_that_are_not_there(shop: Any, name: str) -> None:
    assert (await shop.client.get(f"/v1/streams/{name}")).status_code == 404
    assert (await shop.client.patch(f"/v1/streams/{name}", json={})).status_code == 404


@pytest.mark.parametrize("stream", ["nothing", "Bulk", "\x00", "\ud800", "é" * 64, "*"])
async def test_messages_of_no_stream(shop: Any, count_rows: Any, stream: str) -> None:
    before = await count_rows()
    answer = await shop.client.post(
        "/v1/messages", content=json.dumps(shop.message(stream=stream)), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/stream"
    assert await count_rows() == before
