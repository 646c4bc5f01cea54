"""Tenants apart: every route with another tenant's ids is as if they were not there; keys allow what they say and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.accounts.credentials import SCOPES, create_key
from tests.api.conftest import client_of


async def test_another_tenants_ids_are_not_there(shop: Any, rival: Any, count_rows: Any) -> None:
    ours = await shop.send()
    before = await count_rows()
    key = (await shop.client.get("/v1/keys")).json()["keys"][0]["id"]
    for method, path in (
        ("GET", f"/v1/messages/{ours['id']}"),
        ("POST", f"/v1/messages/{ours['id']}/cancel"),
        ("DELETE", f"/v1/keys/{key}"),
        ("GET", f"/v1/messages/{ours['recipients'][0]['id'].replace('rcp', 'msg')}"),
    ):
        assert (await rival.client.request(method, path)).status_code == 404
    assert await count_rows() == before
    assert (await shop.client.get(f"/v1/messages/{ours['id']}")).json()["recipients"][0]["state"] == "ready"
    assert (await shop.client.get("/v1/keys")).status_code == 200


async def test_lists_hold_ones_own_alone(shop: Any, rival: Any) -> None:
    ours, theirs = await shop.send(), await rival.send()
    for mine, other, tenant in ((ours, theirs, shop), (theirs, ours, rival)):
        listed = [each["id"] for each in (await tenant.client.get("/v1/messages?limit=200")).json()["messages"]]
        assert mine["id"] in listed
        assert other["id"] not in listed
        told = {each["message_id"] for each in (await tenant.client.get("/v1/events?limit=1000")).json()["events"]}
        assert mine["id"] in told
        assert other["id"] not in told
        assert [each["name"] for each in (await tenant.client.get("/v1/domains")).json()["domains"]] == [tenant.domain]


async def test_cursors_of_another_tenant_are_only_places(shop: Any, rival: Any) -> None:
    for _ in range(3):
        await shop.send()
    events = (await shop.client.get("/v1/events?limit=1")).json()["next"]
    messages = (await shop.client.get("/v1/messages?limit=1")).json()["next"]
    mine = {each["id"] for each in (await rival.client.get("/v1/messages?limit=200")).json()["messages"]}
    page = (await rival.client.get(f"/v1/messages?cursor={messages}")).json()
    assert {each["id"] for each in page["messages"]} <= mine
    assert all(each["message_id"] in mine for each in (await rival.client.get(f"/v1/events?after={events}&limit=1000")).json()["events"])


@pytest.mark.parametrize(
    "sender",
    [
        *(
            "a@rival.example.test",
            "a@example.test",
            "a@sub.shop.example.test",
            "a@shop.example.test.evil.com",
            "a@xn--shp-2na.example.test",
        ),
        *("a@shop-example.test", '"a@shop.example.test" <a@rival.example.test>', "a@shøp.example.test"),
    ],
)
async def test_mail_from_a_domain_that_is_not_ones_own(shop: Any, count_rows: Any, sender: str) -> None:
    before = await count_rows()
    answer = await shop.client.post("/v1/messages", json=shop.message(**{"from": sender}))
    assert answer.status_code == 403
    assert answer.json()["code"] == "sender_not_allowed"
    assert answer.json()["errors"][0]["pointer"] == "#/from"
    assert await count_rows() == before


ROUTES = {
    ("POST", "/v1/messages"): "messages:send",
    ("POST", "/v1/messages/batch"): "messages:send",
    ("POST", "/v1/messages/msg_x/cancel"): "messages:send",
    ("GET", "/v1/messages"): "messages:read",
    ("GET", "/v1/messages/msg_x"): "messages:read",
    ("GET", "/v1/events"): "events:read",
    ("GET", "/v1/domains"): "domains:read",
    ("GET", "/v1/templates"): "templates:read",
    ("GET", "/v1/templates/x"): "templates:read",
    ("GET", "/v1/templates/x/versions/1"): "templates:read",
    ("POST", "/v1/templates/x/preview"): "templates:read",
    ("POST", "/v1/templates"): "templates:write",
    ("POST", "/v1/templates/x/versions"): "templates:write",
    ("POST", "/v1/templates/x/publish"): "templates:write",
    ("DELETE", "/v1/templates/x"): "templates:write",
    ("POST", "/v1/erasures"): "erasures:write",
    ("GET", "/v1/erasures/x"): "erasures:write",
    ("GET", "/v1/inbound-routes"): "inbound:read",
    ("GET", "/v1/inbound-routes/x"): "inbound:read",
    ("POST", "/v1/inbound-routes"): "inbound:write",
    ("DELETE", "/v1/inbound-routes/x"): "inbound:write",
    ("GET", "/v1/inbound-messages"): "inbound:read",
    ("GET", "/v1/inbound-messages/x"): "inbound:read",
    ("GET", "/v1/inbound-messages/x/raw"): "inbound:read",
    ("GET", "/v1/inbound-messages/x/attachments/1"): "inbound:read",
    ("GET", "/v1/keys"): "keys:read",
    ("POST", "/v1/keys"): "keys:write",
    ("DELETE", "/v1/keys/x"): "keys:write",
}


async def test_every_route_asks_for_its_scope(house: Any, shop: Any) -> None:
    for scope in SCOPES:
        async with house.database.transaction() as connection:
            _, token = await create_key(connection, house.keyring, shop.account_id, name=scope, scopes=[scope])
        async with client_of(house.app, token) as client:
            for (method, path), needed in ROUTES.items():
                answer = await client.request(method, path, content=b"{", headers={"Content-Type": "application/json"})
                assert (answer.status_code == 403) == (scope != needed), (scope, method, path, answer.status_code)
                assert answer.status_code != 401


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer stf_x",
        "stf_abc",
        "Bearer " + "a" * 10_000,
        "Bearer \xff\xfe",
        "Bearer  ",
        "bearer:x",
    ],
)
async def test_without_a_key(house: Any, authorization: str | None) -> None:
    async with client_of(house.app, None) as client:
        headers = {b"Authorization": authorization.encode("latin-1")} if authorization is not None else {}
        for method, path in ROUTES:
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthenticated"


async def test_a_paused_account_reads_but_does_not_send(house: Any, rival: Any) -> None:
    async with house.database.hot() as connection:
        await connection.execute("UPDATE accounts SET paused_at = now() WHERE id = $1", rival.account_id)
    house.app.state.house.authenticator.forget(rival.token.split("_")[1])
    try:
        answer = await rival.client.post("/v1/messages", json=rival.message())
        assert answer.status_code == 403
        problem = answer.json()
        assert "paused" in problem["detail"]
        assert (problem["code"], problem["title"]) == ("account_paused", "The account is paused")
        assert (await rival.client.get("/v1/messages")).status_code == 200
    finally:
        async with house.database.hot() as connection:
            await connection.execute("UPDATE accounts SET paused_at = NULL WHERE id = $1", rival.account_id)
        house.app.state.house.authenticator.forget(rival.token.split("_")[1])


async def test_no_canary_leaks_into_an_answer_or_a_log(house: Any, shop: Any, capfd: pytest.CaptureFixture[str]) -> None:
    canaries = ["canary-subject", "canary-body", "canary.address@example.com", "canary-name", shop.token]
    good = shop.message(subject=canaries[0], text=canaries[1], to={"email": canaries[2], "name": canaries[3]})
    bad = good | {"stream": "canary-stream", "tags": ["canary-tag\n"], "headers": {"X-A": "canary-header\n"}, "cc": "canary-cc"}
    answers = await asyncio.gather(*(shop.client.post("/v1/messages", json=body) for body in (good, bad, [bad], bad | {"to": "canary-to"})))
    for answer in answers[1:]:
        assert answer.status_code == 422
        assert "canary" not in answer.text
        assert shop.token not in answer.text
    output = "".join(capfd.readouterr())
    assert "canary" not in output
    assert shop.token not in output
