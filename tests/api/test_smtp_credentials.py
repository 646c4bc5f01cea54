"""/v1/smtp-credentials."""

from __future__ import annotations

from typing import Any

import pytest

from app import store
from app.accounts.smtp_credentials import SmtpCredentialBook
from app.api.smtp_credentials import CreatedSmtpCredential, SmtpCredentialList
from tests.api.conftest import client_of


async def test_a_password_is_shown_once_and_opens_until_it_is_revoked(house: Any, shop: Any, rival: Any) -> None:
    wish = {"name": "Ada", "allowed_from": ["Ada@Shop.Example.Test"], "networks": ["192.0.2.7", "2001:DB8::/32"], "stream": "bulk"}
    answer = await shop.client.post("/v1/smtp-credentials", json=wish)
    assert answer.status_code == 201, answer.text
    made = CreatedSmtpCredential.model_validate_json(answer.content)
    assert made.allowed_from == ["ada@shop.example.test"]
    assert made.networks == ["192.0.2.7/32", "2001:db8::/32"]
    assert (made.stream, made.tells_failures, made.recipients_per_minute) == ("bulk", True, None)
    listed = await shop.client.get("/v1/smtp-credentials")
    SmtpCredentialList.model_validate_json(listed.content)
    assert made.user_name in listed.text and made.password not in listed.text
    assert (await rival.client.get("/v1/smtp-credentials")).json() == {"smtp_credentials": []}

    book = SmtpCredentialBook(house.database, house.keyring)
    found = await book.verify(made.user_name, made.password)
    assert found is not None and found.sender.account_id == shop.account_id
    assert await book.verify(made.user_name, made.password + "x") is None
    assert await book.verify("smtp-000000000000", made.password) is None
    assert await book.verify("nobody's\0name", "") is None

    assert (await rival.client.delete(f"/v1/smtp-credentials/{made.user_name}")).status_code == 404
    assert (await shop.client.delete(f"/v1/smtp-credentials/{made.user_name}")).status_code == 204
    assert (await shop.client.delete("/v1/smtp-credentials/smtp-%00")).status_code == 404
    assert await SmtpCredentialBook(house.database, house.keyring).verify(made.user_name, made.password) is None
    (kept,) = (await shop.client.get("/v1/smtp-credentials")).json()["smtp_credentials"]
    assert kept["revoked_at"] is not None and kept["last_used_at"] is not None


async def test_who_may_not_send_makes_no_way_to(shop: Any, house: Any) -> None:
    made = await shop.client.post("/v1/keys", json={"name": "k", "scopes": ["keys:write", "keys:read"]})
    async with client_of(house.app, made.json()["key"]) as client:
        assert (await client.get("/v1/smtp-credentials")).status_code == 200
        assert (await client.post("/v1/smtp-credentials", json={"name": "x"})).status_code == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": ""}, "#/name"),
        ({"name": "a\n"}, "#/name"),
        ({"name": "a", "allowed_from": ["no address@"]}, "#/allowed_from/0"),
        ({"name": "a", "allowed_from": ["x.test", "localhost"]}, "#/allowed_from/1"),
        ({"name": "a", "allowed_from": ["x.test"] * 101}, "#/allowed_from"),
        ({"name": "a", "networks": ["192.0.2.0/33"]}, "#/networks/0"),
        ({"name": "a", "recipients_per_minute": 0}, "#/recipients_per_minute"),
        ({"name": "a", "stream": "nowhere"}, "#/stream"),
        ({"name": "a", "password": "mine"}, "#/password"),
        ({"name": "a", "tells_failures": "yes"}, "#/tells_failures"),
    ],
)
async def test_what_cannot_be(shop: Any, body: dict[str, Any], pointer: str) -> None:
    answer = await shop.client.post("/v1/smtp-credentials", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_an_account_has_so_many_and_revoked_ones_give_way_unless_their_mail_is_held(
    house: Any, rival: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.smtp_credentials, "MOST_SMTP_CREDENTIALS", 3)

    async def make() -> Any:
        return await rival.client.post("/v1/smtp-credentials", json={"name": "n"})

    made = [(await make()).json()["user_name"] for _ in range(3)]
    full = await make()
    assert (full.status_code, full.json()["code"]) == (409, "conflict")
    for name in made[:2]:
        await rival.client.delete(f"/v1/smtp-credentials/{name}")
    async with house.database.hot() as connection:
        await connection.execute(
            "INSERT INTO incidents (id, account_id, credential, reason) VALUES ($1, $2, $3, 'volume')",
            store.ids.new_id(),
            rival.account_id,
            made[0],
        )
    assert (await make()).status_code == 201
    names = {each["user_name"] for each in (await rival.client.get("/v1/smtp-credentials")).json()["smtp_credentials"]}
    assert made[0] in names and made[1] not in names and len(names) == 3
    assert (await make()).status_code == 409
