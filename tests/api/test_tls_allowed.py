"""For which names the TLS proxy may get certificates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import client_of


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost", 200),  # the host of public_url
        ("LOCALHOST.", 200),
        ("verified.example.test", 200),
        ("Verified.Example.Test", 200),
        ("shop.example.test", 404),  # an account's, but nobody has shown that it leads here
        ("deep.verified.example.test", 404),
        ("stranger.example.net", 404),
        ("", 404),
        ("\x00", 404),
        ("x" * 300, 422),
    ],
)
async def test_known_names_alone(house: Any, name: str, status: int) -> None:
    async with house.database.hot() as connection:
        await connection.execute(
            "INSERT INTO domains (account_id, name, verified_at) SELECT min(id), 'verified.example.test', now() FROM accounts"
            " ON CONFLICT DO NOTHING"
        )
    async with client_of(house.app, None) as client:
        answer = await client.get("/internal/tls-allowed", params={"domain": name})
        assert answer.status_code == status
        proxied = await client.get("/internal/tls-allowed", params={"domain": name}, headers={"X-Forwarded-For": "192.0.2.1"})
        assert proxied.status_code == (422 if status == 422 else 404)
