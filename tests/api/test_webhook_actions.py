"""Rotation, tests, attempts and replays of a webhook endpoint, as its owner asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.errors import MOST_FIELD_ERRORS
from app.events.posts import SECRET_PURPOSE
from app.store.ids import new_id, parse_public_id, public_id
from app.store.webhook_attempts import AttemptRow, insert_attempts
from tests.api.conftest import OpenHouse, Tenant
from tests.doubles.hooks import HookReceiver, Rule

URL = "https://hooks.example.com/mail"


@pytest.fixture(autouse=True)
async def clean(house: OpenHouse) -> AsyncIterator[None]:
    yield
    async with house.database.hot() as connection:
        await connection.execute("DELETE FROM webhook_endpoints")


async def _create(tenant: Tenant, **fields: Any) -> Any:
    answer = await tenant.client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _lead_to(house: OpenHouse, made: Any, url: str) -> None:
    """A receiver on loopback, which the API would not take."""
    async with house.database.hot() as connection:
        await connection.execute("UPDATE webhook_endpoints SET url = $2 WHERE id = $1", parse_public_id("whk", made["id"]), url)


@pytest.fixture
async def open_to_loopback(house: OpenHouse) -> AsyncIterator[None]:
    """The same application, allowed to post to this machine."""
    inside = house.app.state.house
    allowed = house.settings.model_copy(update={"webhook_allow_private": True, "webhook_timeout_seconds": 1.0})
    object.__setattr__(inside, "settings", allowed)
    yield
    object.__setattr__(inside, "settings", house.settings)


# --- rotation


async def test_rotation_shows_a_new_secret_once_and_says_how_long_the_old_one_lives(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop)
    path = f"/v1/webhooks/{made['id']}"
    rotated = (await shop.client.post(f"{path}/rotate")).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] is not None
    seen = (await shop.client.get(path)).json()
    assert "secret" not in seen
    assert seen["old_secret_until"] == rotated["old_secret_until"]
    at_once = (await shop.client.post(f"{path}/rotate", json={"overlap_seconds": 0})).json()
    assert at_once["old_secret_until"] is None
    async with house.database.hot() as connection:
        row = await connection.fetchrow("SELECT secret, old_secret FROM webhook_endpoints")
    opened = house.keyring.open(row["secret"], account_id=shop.account_id, purpose=SECRET_PURPOSE)
    assert Webhook(at_once["secret"])._whsecret == opened
    assert row["old_secret"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"overlap_seconds": -1}, "#/overlap_seconds"), ({"overlap_seconds": 700_000}, "#/overlap_seconds"), ({"a": 1}, "#/a")],
)
async def test_a_wrong_rotation_is_pointed_at(shop: Tenant, body: Any, pointer: str) -> None:
    made = await _create(shop)
    answer = await shop.client.post(f"/v1/webhooks/{made['id']}/rotate", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


# --- test


@pytest.mark.parametrize("batch_size", [1, 50])
async def test_a_test_event_is_posted_now_and_its_answer_told(
    house: OpenHouse, shop: Tenant, open_to_loopback: None, batch_size: int
) -> None:
    made = await _create(shop, batch_size=batch_size, events=["message.bounced"])
    path = f"/v1/webhooks/{made['id']}"
    rotated = (await shop.client.post(f"{path}/rotate")).json()
    await shop.client.patch(path, json={"enabled": False})
    async with HookReceiver([Rule("202", body="thanks\u0007 for\n" + "x" * 3000)]) as hooks:
        await _lead_to(house, made, hooks.url)
        answer = (await shop.client.post(f"{path}/test")).json()
    (post,) = hooks.posts
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(post.body, post.headers)
    event = post.json["data"][0] if batch_size > 1 else post.json["data"]
    assert (event["type"], event["message_id"], event["facts"]["webhook_id"]) == ("webhook.test", None, made["id"])
    assert (answer["kind"], answer["outcome"], answer["status"], answer["webhook_id"]) == ("test", "taken", 202, post.id)
    assert answer["answer"].startswith("thanks  for\nxxx")
    assert len(answer["answer"]) <= 1024
    assert answer["latency_ms"] < 1000
    listed = (await shop.client.get(f"{path}/attempts")).json()
    assert listed == {"attempts": [answer], "next": None}
    seen = (await shop.client.get(f"{path}/attempts/{answer['id']}")).json()
    assert seen == answer | {"body": post.body.decode()}


async def test_a_test_of_a_receiver_that_is_not_there_says_why(house: OpenHouse, shop: Tenant, open_to_loopback: None) -> None:
    made = await _create(shop)
    await _lead_to(house, made, "http://127.0.0.1:1/hook")
    answer = (await shop.client.post(f"/v1/webhooks/{made['id']}/test")).json()
    assert (answer["outcome"], answer["status"]) == ("unanswered", None)
    assert answer["error"]


async def test_a_test_leads_nowhere_inside(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop)
    async with HookReceiver() as hooks:
        await _lead_to(house, made, hooks.url)
        answer = (await shop.client.post(f"/v1/webhooks/{made['id']}/test")).json()
        assert "not a public address" in answer["error"]
        assert hooks.connections == 0


# --- attempts


def _attempt(account_id: int, made: Any, n: int, outcome: str) -> AttemptRow:
    status = {"taken": 200, "refused": 500, "unanswered": None}[outcome]
    endpoint_id = parse_public_id("whk", made["id"])
    assert endpoint_id is not None
    event = new_id()
    return AttemptRow(account_id, endpoint_id, new_id(), f"evt_{event.hex}", "event", outcome, status, n, None, "", 0, ["1"], [event])


async def test_attempts_are_paged_newest_first_and_filtered(house: OpenHouse, shop: Tenant, rival: Tenant) -> None:
    made = await _create(shop)
    path = f"/v1/webhooks/{made['id']}/attempts"
    rows = [_attempt(shop.account_id, made, n, ("taken", "refused", "unanswered")[n % 3]) for n in range(9)]
    async with house.database.hot() as connection:
        await insert_attempts(connection, rows)
    seen, cursor = [], ""
    while True:
        page = (await shop.client.get(f"{path}?limit=2{cursor}")).json()
        seen += [each["latency_ms"] for each in page["attempts"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == list(range(8, -1, -1))
    for outcome, expected in (("taken", [6, 3, 0]), ("failed", [8, 7, 5, 4, 2, 1]), ("refused", [7, 4, 1])):
        assert [a["latency_ms"] for a in (await shop.client.get(f"{path}?outcome={outcome}")).json()["attempts"]] == expected
    (one,) = (await shop.client.get(f"{path}?webhook_id={rows[4].webhook_id}")).json()["attempts"]
    assert one["event_ids"] == [rows[4].webhook_id]
    # Its event is in no log: there is nothing to make a body from.
    assert (await shop.client.get(f"{path}/{one['id']}")).json()["body"] is None
    assert (await rival.client.get(path)).status_code == 404
    assert (await rival.client.get(f"{path}/{one['id']}")).status_code == 404
    assert (await shop.client.get(f"{path}?outcome=eaten")).status_code == 422
    assert (await shop.client.get(f"{path}?cursor=abc")).status_code == 422


# --- replays


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/from"),
        ({"event_ids": []}, "#/event_ids"),
        ({"event_ids": ["evt_1"]}, "#/event_ids/0"),
        ({"event_ids": ["evt_" + "0" * 32] * 1001}, "#/event_ids"),
        ({"event_ids": ["evt_" + "0" * 32], "events": ["message.*"]}, "#/events"),
        ({"from": "yesterday"}, "#/from"),
        ({"from": "2030-01-01T00:00:00Z"}, "#/to"),
        ({"from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z"}, "#/to"),
        ({"from": "2020-01-01T00:00:00Z", "events": ["message.eaten"]}, "#/events/0"),
        ({"from": "2020-01-01T00:00:00Z", "states": ["eaten"]}, "#/states/0"),
        ({"from": "2020-01-01T00:00:00Z", "limit": 5}, "#/limit"),
    ],
)
async def test_a_wrong_replay_is_pointed_at(shop: Tenant, body: Any, pointer: str) -> None:
    made = await _create(shop)
    answer = await shop.client.post(f"/v1/webhooks/{made['id']}/replays", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_of_many_faults_the_first_are_told(shop: Tenant) -> None:
    made = await _create(shop)
    answer = await shop.client.post(f"/v1/webhooks/{made['id']}/replays", json={"event_ids": ["evt_1"] * 1000})
    assert (answer.status_code, answer.json()["detail"]) == (422, "1000 fields are wrong.")
    assert len(answer.json()["errors"]) == MOST_FIELD_ERRORS


async def test_one_replay_at_a_time_and_it_can_be_ended(shop: Tenant, rival: Tenant) -> None:
    made = await _create(shop)
    path = f"/v1/webhooks/{made['id']}/replays"
    body = {"from": "2020-01-01T00:00:00Z", "events": ["message.*"], "states": ["bounced"]}
    first = await shop.client.post(path, json=body)
    assert first.status_code == 202
    assert (first.json()["state"], first.json()["events"], first.json()["states"]) == ("running", ["message.*"], ["bounced"])
    assert (await shop.client.post(path, json=body)).status_code == 409
    assert (await rival.client.get(path)).status_code == 404
    assert (await rival.client.post(path, json=body)).status_code == 404
    assert (await rival.client.delete(f"{path}/{first.json()['id']}")).status_code == 404
    ended = (await shop.client.delete(f"{path}/{first.json()['id']}")).json()
    assert ended["state"] == "cancelled"
    assert (await shop.client.delete(f"{path}/{public_id('rpl', new_id())}")).status_code == 404
    named = await shop.client.post(path, json={"event_ids": [public_id("evt", new_id())]})
    assert named.status_code == 202
    assert (await shop.client.get(path)).json() == {"replays": [named.json(), ended]}


@pytest.mark.parametrize("action", ["rotate", "test", "replays"])
async def test_another_tenant_can_do_nothing(shop: Tenant, rival: Tenant, action: str) -> None:
    made = await _create(shop)
    answer = await rival.client.post(
        f"/v1/webhooks/{made['id']}/{action}", json={"from": "2020-01-01T00:00:00Z"} if action == "replays" else {}
    )
    assert answer.status_code == 404
