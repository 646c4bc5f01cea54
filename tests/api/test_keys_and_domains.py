"""/v1/keys and /v1/domains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import store
from app.accounts.domains import find_dkim_record
from app.api.domains import DomainList
from app.api.keys import CreatedKey, KeyList
from tests.api.conftest import client_of


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(house: Any, shop: Any) -> None:
    answer = await shop.client.post("/v1/keys", json={"name": "backend", "scopes": ["messages:send", "messages:send"]})
    assert answer.status_code == 201
    made = CreatedKey.model_validate_json(answer.content)
    assert made.scopes == ["messages:send"]
    listed = await shop.client.get("/v1/keys")
    KeyList.model_validate_json(listed.content)
    assert made.key.split("_")[2] not in listed.text
    async with client_of(house.app, made.key) as client:
        assert (await client.post("/v1/messages", json=shop.message())).status_code == 202
        assert (await shop.client.delete(f"/v1/keys/{made.id}")).status_code == 204
        assert (await client.post("/v1/messages", json=shop.message())).status_code == 401
    assert (await shop.client.delete(f"/v1/keys/{made.id}")).status_code == 204
    (kept,) = [each for each in (await shop.client.get("/v1/keys")).json()["keys"] if each["id"] == made.id]
    assert kept["revoked_at"] is not None
    assert kept["last_used_at"] is not None


async def test_a_key_gives_no_scope_that_it_lacks(house: Any, shop: Any) -> None:
    maker = (await shop.client.post("/v1/keys", json={"name": "m", "scopes": ["keys:write", "messages:read"]})).json()["key"]
    async with client_of(house.app, maker) as client:
        assert (await client.post("/v1/keys", json={"name": "a", "scopes": ["messages:read"]})).status_code == 201
        for scopes in (["*"], ["messages:send"], ["messages:read", "messages:send"]):
            assert (await client.post("/v1/keys", json={"name": "a", "scopes": scopes})).status_code == 403


async def test_a_key_expires(house: Any, shop: Any) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    made = (await shop.client.post("/v1/keys", json={"name": "short", "scopes": ["*"], "expires_at": soon})).json()
    async with house.database.hot() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", made["id"])
    async with client_of(house.app, made["key"]) as client:
        assert (await client.get("/v1/messages")).status_code == 401


async def test_an_account_has_so_many_keys_and_those_that_are_over_give_way(
    house: Any, rival: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.accounts, "MOST_KEYS", 4)

    async def make() -> Any:
        return await rival.client.post("/v1/keys", json={"name": "n", "scopes": ["*"]})

    made = [(await make()).json()["id"] for _ in range(3)]
    full = await make()
    assert (full.status_code, full.json()["code"]) == (409, "conflict")
    await rival.client.delete(f"/v1/keys/{made[1]}")
    async with house.database.hot() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = now() - interval '1 day' WHERE id = $1", made[0])
    assert (await make()).status_code == 201
    names = [each["id"] for each in (await rival.client.get("/v1/keys")).json()["keys"]]
    assert len(names) == 4
    assert made[0] not in names and made[1] in names, "the one that has been over for longest went"
    assert (await make()).status_code == 201
    assert (await make()).status_code == 409


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": "", "scopes": ["*"]}, "#/name"),
        ({"name": "a\n", "scopes": ["*"]}, "#/name"),
        ({"name": "a", "scopes": []}, "#/scopes"),
        ({"name": "a", "scopes": "*"}, "#/scopes"),
        ({"name": "a", "scopes": ["*", "root"]}, "#/scopes/1"),
        ({"name": "a", "scopes": ["*"], "account_id": 2}, "#/account_id"),
        ({"name": "a", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"name": "a", "scopes": ["*"], "expires_at": "tomorrow"}, "#/expires_at"),
        ({"name": "a", "scopes": ["*"], "expires_at": "9999-12-31T23:59:59-23:59"}, "#/expires_at"),
    ],
)
async def test_wrong_keys(shop: Any, body: Any, pointer: str) -> None:
    answer = await shop.client.post("/v1/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("some_id", ["x", "%00", "%ff", "é", "a" * 1000])
async def test_revoking_what_is_not_there(shop: Any, some_id: str) -> None:
    assert (await shop.client.delete(f"/v1/keys/{some_id}")).status_code == 404


async def test_domains_show_the_record_that_verifies(house: Any, shop: Any) -> None:
    answer = await shop.client.get("/v1/domains")
    (domain,) = DomainList.model_validate_json(answer.content).domains
    dkim = domain.records[0]
    assert dkim.required
    selector, _, rest = dkim.name.partition("._domainkey.")
    assert rest == domain.name == shop.domain
    assert dkim.value == await find_dkim_record(house.database, selector, rest.upper() + ".")
    assert dkim.value.startswith("v=DKIM1; k=ed25519; p=")
