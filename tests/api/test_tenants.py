"""Tenants apart: every route with another tenant's ids is as if they were not there; keys allow what they say and no more."""

from __future__ import annotations

import asyncio
import re
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


# Every operation, as the document has it, and the scopes that it asks for: all of them.
ROUTES = {
    ("GET", "/v1/messages"): "messages:read",
    ("POST", "/v1/messages"): "messages:send",
    ("POST", "/v1/messages/batch"): "messages:send",
    ("POST", "/v1/messages/{id}/cancel"): "messages:send",
    ("POST", "/v1/messages/raw"): "messages:send",
    ("GET", "/v1/messages/{id}"): "messages:read",
    ("GET", "/v1/events"): "events:read",
    ("GET", "/v1/streams"): "streams:read",
    ("POST", "/v1/streams"): "streams:write",
    ("GET", "/v1/streams/{name}"): "streams:read",
    ("PATCH", "/v1/streams/{name}"): "streams:write",
    ("GET", "/v1/suppressions/export"): "suppressions:read",
    ("POST", "/v1/suppressions/import"): "suppressions:write",
    ("GET", "/v1/suppressions"): "suppressions:read",
    ("POST", "/v1/suppressions"): "suppressions:write",
    ("GET", "/v1/suppressions/{email}"): "suppressions:read",
    ("DELETE", "/v1/suppressions/{email}"): "suppressions:write",
    ("GET", "/v1/templates"): "templates:read",
    ("POST", "/v1/templates"): "templates:write",
    ("GET", "/v1/templates/{id}"): "templates:read",
    ("DELETE", "/v1/templates/{id}"): "templates:write",
    ("GET", "/v1/templates/{id}/versions/{version}"): "templates:read",
    ("POST", "/v1/templates/{id}/versions"): "templates:write",
    ("POST", "/v1/templates/{id}/publish"): "templates:write",
    ("POST", "/v1/templates/{id}/preview"): "templates:read",
    ("GET", "/v1/webhooks"): "webhooks:read",
    ("POST", "/v1/webhooks"): "webhooks:write",
    ("GET", "/v1/webhooks/{id}"): "webhooks:read",
    ("PATCH", "/v1/webhooks/{id}"): "webhooks:write",
    ("DELETE", "/v1/webhooks/{id}"): "webhooks:write",
    ("POST", "/v1/webhooks/{id}/test"): "webhooks:write",
    ("GET", "/v1/webhooks/{id}/replays"): "webhooks:read",
    ("POST", "/v1/webhooks/{id}/replays"): "webhooks:write",
    ("DELETE", "/v1/webhooks/{id}/replays/{replay_id}"): "webhooks:write",
    ("POST", "/v1/webhooks/{id}/rotate"): "webhooks:write",
    ("GET", "/v1/webhooks/{id}/attempts"): "webhooks:read",
    ("GET", "/v1/webhooks/{id}/attempts/{attempt_id}"): "webhooks:read",
    ("GET", "/v1/erasures/{id}"): "erasures:write",
    ("POST", "/v1/erasures"): "erasures:write",
    ("GET", "/v1/domains"): "domains:read",
    ("PUT", "/v1/domains/{name}/tracking"): "domains:write",
    ("GET", "/v1/keys"): "keys:read",
    ("POST", "/v1/keys"): "keys:write",
    ("DELETE", "/v1/keys/{id}"): "keys:write",
    ("GET", "/v1/smtp-credentials"): "keys:read",
    ("POST", "/v1/smtp-credentials"): "keys:write messages:send",
    ("DELETE", "/v1/smtp-credentials/{user_name}"): "keys:write",
    ("POST", "/v1/smtp-credentials/{user_name}/password"): "keys:write messages:send",
    ("POST", "/v1/smtp-credentials/{user_name}/release"): "keys:write messages:send",
    ("POST", "/v1/smtp-credentials/{user_name}/discard"): "keys:write messages:send",
    ("GET", "/v1/inbound-routes"): "inbound:read",
    ("POST", "/v1/inbound-routes"): "inbound:write",
    ("GET", "/v1/inbound-routes/{id}"): "inbound:read",
    ("DELETE", "/v1/inbound-routes/{id}"): "inbound:write",
    ("GET", "/v1/inbound-messages"): "inbound:read",
    ("GET", "/v1/inbound-messages/{id}"): "inbound:read",
    ("GET", "/v1/inbound-messages/{id}/raw"): "inbound:read",
    ("GET", "/v1/inbound-messages/{id}/attachments/{number}"): "inbound:read",
}


def test_every_route_stands_in_this_list(house: Any) -> None:
    paths = house.app.openapi()["paths"]
    assert {(method.upper(), path) for path in paths for method in paths[path] if path.startswith("/v1/")} == ROUTES.keys()


async def test_every_route_asks_for_its_scopes(house: Any, shop: Any) -> None:
    for scopes in {*SCOPES, *ROUTES.values()}:
        async with house.database.transaction() as connection:
            _, token = await create_key(connection, house.keyring, shop.account_id, name="one", scopes=scopes.split())
        async with client_of(house.app, token) as client:
            for (method, path), needed in ROUTES.items():
                answer = await client.request(method, _filled(path), content=b"{", headers={"Content-Type": "application/json"})
                refused = not set(needed.split()).issubset(scopes.split())
                assert (answer.status_code == 403) == refused, (scopes, method, path, answer.status_code)
                assert answer.status_code != 401


def _filled(path: str) -> str:
    """The path with the id of nothing."""
    return re.sub(r"\{\w+\}", "x", path.replace("{number}", "1"))


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
            answer = await client.request(method, _filled(path), headers=headers)
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
