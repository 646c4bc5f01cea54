"""/v1/webhooks: endpoints of an account, their secrets shown once, their state told as it is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import store
from app.accounts.credentials import create_key
from app.events.posts import SECRET_PURPOSE
from app.store.ids import parse_public_id
from app.store.webhooks import MOST_COUNTED_IN_LIST, MOST_ENDPOINTS
from tests.api.conftest import OpenHouse, Tenant, client_of

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


async def test_an_endpoint_is_made_and_its_secret_shown_once(house: OpenHouse, shop: Tenant) -> None:
    answer = await shop.client.post("/v1/webhooks", json={"url": URL, "events": ["message.bounced", "message.delivered"]})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    secret = base64.b64decode(made["secret"].removeprefix("whsec_"))
    assert len(secret) == 32
    assert (made["url"], made["state"], made["batch_size"]) == (URL, "active", 1)
    seen = (await shop.client.get(f"/v1/webhooks/{made['id']}")).json()
    assert seen == {name: value for name, value in made.items() if name != "secret"}
    assert (await shop.client.get("/v1/webhooks")).json() == {"webhooks": [seen]}
    async with house.database.hot() as connection:
        sealed = await connection.fetchval("SELECT secret FROM webhook_endpoints")
    assert secret not in sealed
    assert house.keyring.open(sealed, account_id=shop.account_id, purpose=SECRET_PURPOSE) == secret


async def test_a_list_counts_what_is_behind_less_far_than_a_single_one(house: OpenHouse, shop: Tenant) -> None:
    """All are counted at once, on the connections that keys are checked with."""
    ids = [(await _create(shop, url=f"{URL}/{n}"))["id"] for n in range(2)]
    behind = MOST_COUNTED_IN_LIST + 200
    async with house.database.hot() as connection:
        await connection.execute(
            "INSERT INTO events (account_id, id, about, type, number, facts)"
            " SELECT $1, x, x, 'message.delivered', 1, '{}' FROM unnest($2::uuid[]) x",
            shop.account_id,
            [store.ids.new_id() for _ in range(behind)],
        )
    listed = (await shop.client.get("/v1/webhooks")).json()["webhooks"]
    assert [each["lag"]["events"] for each in listed] == [MOST_COUNTED_IN_LIST] * 2
    assert (await shop.client.get(f"/v1/webhooks/{ids[0]}")).json()["lag"]["events"] == behind


async def test_twenty_endpoints_and_not_one_more(shop: Tenant, rival: Tenant) -> None:
    made = [await _create(shop, url=f"{URL}/{n}") for n in range(MOST_ENDPOINTS)]
    answer = await shop.client.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert "20 webhook endpoints" in answer.json()["detail"]
    assert len((await shop.client.get("/v1/webhooks")).json()["webhooks"]) == 20
    await _create(rival)
    assert (await shop.client.delete(f"/v1/webhooks/{made[7]['id']}")).status_code == 204
    await _create(shop)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"url": "http://hooks.example.com/"}, "#/url"),
        ({"url": "https://127.0.0.1/"}, "#/url"),
        ({"url": "https://2130706433/"}, "#/url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "#/url"),
        ({"url": "https://localhost/"}, "#/url"),
        ({"url": "https://hooks.example.com:8080/"}, "#/url"),
        ({"url": "https://user:pass@hooks.example.com/"}, "#/url"),
        ({"url": "https://hooks.example.com/\r\nX: y"}, "#/url"),
        ({"url": "https://hooks.example.com/\u0000"}, "#/url"),
        ({"url": "https://" + "a" * 3000}, "#/url"),
        ({"url": ""}, "#/url"),
        ({"url": 7}, "#/url"),
        ({"url": None}, "#/url"),
        ({"events": []}, "#/events"),
        ({"events": ["message.eaten"]}, "#/events/0"),
        ({"events": ["message.bounced", "messages.*"]}, "#/events/1"),
        ({"events": ["*"]}, "#/events/0"),
        ({"events": ["message.bounced*"]}, "#/events/0"),
        ({"events": "message.bounced"}, "#/events"),
        ({"streams": []}, "#/streams"),
        ({"streams": ["a\u0000"]}, "#/streams/0"),
        ({"streams": ["bulk", "bluk"]}, "#/streams/1"),
        ({"tags": [""]}, "#/tags/0"),
        ({"tags": "order"}, "#/tags"),
        ({"batch_size": 0}, "#/batch_size"),
        ({"batch_size": 501}, "#/batch_size"),
        ({"batch_size": "5"}, "#/batch_size"),
        ({"batch_size": True}, "#/batch_size"),
        ({"secret": "whsec_mine"}, "#/secret"),
        ({"account_id": 1}, "#/account_id"),
        ({"owner": 1}, "#/owner"),
    ],
)
async def test_a_wrong_field_is_pointed_at(shop: Tenant, fields: dict[str, Any], pointer: str) -> None:
    made = await _create(shop)
    for answer in (
        await shop.client.post("/v1/webhooks", json={"url": URL} | fields),
        await shop.client.patch(f"/v1/webhooks/{made['id']}", json=fields),
    ):
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_changes_leave_out_what_is_not_named(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop, events=["message.bounced"], batch_size=10)
    path = f"/v1/webhooks/{made['id']}"
    changed = (await shop.client.patch(path, json={"batch_size": 100})).json()
    assert (changed["events"], changed["url"], changed["batch_size"]) == (["message.bounced"], URL, 100)
    changed = (await shop.client.patch(path, json={"events": None, "url": "https://other.example.com/"})).json()
    assert (changed["events"], changed["url"], changed["batch_size"]) == (None, "https://other.example.com/", 100)
    changed = (await shop.client.patch(path, json={"enabled": False})).json()
    assert (changed["state"], changed["enabled"]) == ("disabled", False)
    assert changed["disabled_reason"] == "Disabled by its account."
    assert changed["disabled_at"] is not None
    assert (await shop.client.patch(path, json={})).json() == changed


async def test_filters_are_kept_as_they_were_asked_for(shop: Tenant) -> None:
    made = await _create(shop, events=["webhook.*", "message.bounced", "webhook.*"], streams=["bulk"], tags=["order", "news"])
    assert (made["events"], made["streams"], made["tags"]) == (["message.bounced", "webhook.*"], ["bulk"], ["news", "order"])
    changed = (await shop.client.patch(f"/v1/webhooks/{made['id']}", json={"events": ["message.*"], "tags": None})).json()
    assert (changed["events"], changed["streams"], changed["tags"]) == (["message.*"], ["bulk"], None)


async def test_enabling_goes_on_from_the_cursor_or_from_now_as_asked(shop: Tenant) -> None:
    made = await _create(shop, events=["message.accepted"])
    path = f"/v1/webhooks/{made['id']}"
    await shop.client.patch(path, json={"enabled": False})
    for _ in range(3):
        await shop.send()
    assert (await shop.client.patch(path, json={"enabled": True})).json()["lag"]["events"] == 3
    assert (await shop.client.patch(path, json={"enabled": False})).json()["lag"]["events"] == 3
    assert (await shop.client.patch(path, json={"enabled": True, "resume": "now"})).json()["lag"]["events"] == 0
    answer = await shop.client.patch(path, json={"resume": "yesterday"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/resume"


async def test_state_and_lag_are_told_and_enabling_begins_afresh(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop, events=["message.accepted"])
    path = f"/v1/webhooks/{made['id']}"
    for _ in range(3):
        await shop.send()
    endpoint_id = parse_public_id("whk", made["id"])
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    async with house.database.hot() as connection:
        await connection.execute(
            "UPDATE webhook_endpoints SET failures = 40, down_since = $2, resume_at = now() + interval '5 minutes', given_up = 7,"
            " last_error = 'answered 500', last_error_at = now(), enabled = false,"
            " disabled_reason = 'The receiver answered 410 Gone.' WHERE id = $1",
            endpoint_id,
            hour_ago,
        )
        await connection.execute(
            "INSERT INTO webhook_retries (endpoint_id, webhook_id, account_id, batch, event_xids, event_ids, attempts, due_at)"
            " VALUES ($1, 'evt_1', $2, false, '{1}', ARRAY[gen_random_uuid()], 1, now() + interval '1 hour')",
            endpoint_id,
            shop.account_id,
        )
    seen = (await shop.client.get(path)).json()
    assert (seen["state"], seen["failures"], seen["given_up_events"], seen["last_error"]) == ("disabled", 40, 7, "answered 500")
    assert seen["lag"]["events"] == 3
    assert 0 <= seen["lag"]["seconds"] < 60
    assert seen["lag"]["waiting_posts"] == 1
    fresh = (await shop.client.patch(path, json={"enabled": True})).json()
    assert (fresh["state"], fresh["failures"], fresh["down_since"], fresh["resumes_at"], fresh["disabled_reason"]) == (
        "active",
        0,
        None,
        None,
        None,
    )
    assert fresh["lag"]["events"] == 3
    assert datetime.fromisoformat(fresh["lag"]["next_retry_at"]) < datetime.now(UTC) + timedelta(minutes=1)


async def test_an_endpoint_is_deleted_with_what_waited(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop)
    assert (await shop.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert (await shop.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 404
    assert (await shop.client.get("/v1/webhooks")).json() == {"webhooks": []}
    await _create(shop)


@pytest.mark.parametrize("wrong", ["nobody", "whk_", "whk_" + "0" * 32, "msg_" + "0" * 32, "%00", "whk_" + "g" * 32])
async def test_an_unknown_endpoint_is_not_found(shop: Tenant, wrong: str) -> None:
    assert (await shop.client.get(f"/v1/webhooks/{wrong}")).status_code == 404
    assert (await shop.client.patch(f"/v1/webhooks/{wrong}", json={"enabled": True})).status_code == 404
    assert (await shop.client.delete(f"/v1/webhooks/{wrong}")).status_code == 404


async def test_another_tenants_endpoint_is_not_there(shop: Tenant, rival: Tenant) -> None:
    made = await _create(shop)
    path = f"/v1/webhooks/{made['id']}"
    assert (await rival.client.get(path)).status_code == 404
    assert (await rival.client.patch(path, json={"url": "https://rival.example.com/"})).status_code == 404
    assert (await rival.client.delete(path)).status_code == 404
    assert (await rival.client.get("/v1/webhooks")).json() == {"webhooks": []}
    assert (await shop.client.get(path)).json()["url"] == URL


async def test_scopes_decide(house: OpenHouse, shop: Tenant) -> None:
    made = await _create(shop)
    path = f"/v1/webhooks/{made['id']}"
    tokens = {}
    async with house.database.transaction() as connection:
        for scope in ("webhooks:read", "webhooks:write", "messages:send"):
            _, tokens[scope] = await create_key(connection, house.keyring, shop.account_id, name=scope, scopes=[scope])
    for scope, statuses in {"webhooks:read": (200, 403), "webhooks:write": (403, 200), "messages:send": (403, 403)}.items():
        async with client_of(house.app, tokens[scope]) as client:
            assert (await client.get(path)).status_code == statuses[0]
            assert (await client.patch(path, json={"batch_size": 2})).status_code == statuses[1]


async def test_requests_at_once_make_no_more_than_there_may_be(house: OpenHouse, shop: Tenant) -> None:
    for n in range(MOST_ENDPOINTS - 1):
        await _create(shop, url=f"{URL}/{n}")
    answers = await asyncio.gather(*(shop.client.post("/v1/webhooks", json={"url": URL}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    async with house.database.reading() as connection:
        assert len(await store.webhooks.list_endpoints(connection, shop.account_id)) == MOST_ENDPOINTS
