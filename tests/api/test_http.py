"""The HTTP around the resources: paths and methods that are not, request ids, servers that are away, bodies that do not come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import uvicorn

from app.accounts.credentials import Sender, _checksum
from app.api import body as bodies
from app.config import Settings
from app.keyring import Keyring
from app.main import build_app
from tests.api.conftest import client_of


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/messages/", 404),
        ("POST", "/v1/messages/batch/", 404),
        ("GET", "/v1/messages/msg_1/attempts", 404),
        ("GET", "/%00", 404),
        ("GET", "/%ff%fe", 404),
        ("GET", "/docs", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("PUT", "/v1/messages", 405),
        ("DELETE", "/v1/messages", 405),
        ("HEAD", "/v1/messages", 405),
        ("TRACE", "/v1/messages", 405),
        ("OPTIONS", "/v1/messages", 405),
        ("GET", "/v1/messages/msg_1/cancel", 405),
        ("POST", "/v1/events", 405),
        ("PATCH", "/v1/keys/x", 405),
        ("POST", "/healthz", 405),
    ],
)
async def test_paths_and_methods_that_are_not(shop: Any, method: str, path: str, status: int) -> None:
    answer = await shop.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        assert answer.json()["status"] == status
        assert answer.json()["code"] == {404: "not_found", 405: "method_not_allowed"}[status]
    if status == 405:
        assert answer.headers["allow"]


async def test_every_answer_has_its_own_request_id(shop: Any) -> None:
    answers = [await shop.client.get(path, headers={"X-Request-Id": "mine"}) for path in ("/healthz", "/healthz", "/v1/events", "/nothing")]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 4
    assert "mine" not in ids


async def test_what_nobody_foresaw_is_a_problem(house: Any, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_given: Any) -> None:
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(house.app.state.house.intake, "submit", broken)
    answer = await shop.client.post("/v1/messages", json=shop.message())
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text


async def test_the_type_of_a_problem_leads_to_its_description(shop: Any) -> None:
    problem = (await shop.client.get("/nothing")).json()
    answer = await shop.client.get(problem["type"])
    assert answer.status_code == 200
    assert problem["title"] in answer.text
    assert (await shop.client.get("/problems/none")).status_code == 404


async def test_health(shop: Any, house: Any) -> None:
    async with client_of(house.app, None) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        async with house.database.hot() as connection:
            revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        cases = (("0000", "0000", 503), ("9999", revision, 200), ("9999", "9998", 503), ("other", revision, 503))
        for there, floor, status in cases:
            async with house.database.hot() as connection:
                await connection.execute("UPDATE alembic_version SET version_num = $1", there)
                before = await connection.fetchval("UPDATE schema_floor SET oldest_revision = $1 RETURNING old.oldest_revision", floor)
            try:
                ready = await client.get("/readyz")
                assert ready.status_code == status, (there, floor)
                assert ready.json()["database"] == ("ok" if status == 200 else "wrong_schema")
            finally:
                async with house.database.hot() as connection:
                    await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
                    await connection.execute("UPDATE schema_floor SET oldest_revision = $1", before)


async def test_without_postgresql_503_with_retry_after(tmp_path: Any) -> None:
    settings = Settings(
        database_url="postgresql://staffetta@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0", keyring_path=tmp_path / "k.json"
    )
    Keyring.create(settings.keyring_path)
    app = build_app(settings)
    async with app.router.lifespan_context(app), client_of(app, _wellformed_token()) as client:
        # A key that has the form cannot be asked about; one that was seen a moment ago is let in, and meets the rest.
        assert (await client.get("/v1/keys")).status_code == 503
        app.state.house.authenticator.cached = lambda _token: Sender(1, "k", frozenset("*"))
        message = {"from": "a@shop.example.test", "to": "b@example.com", "subject": "s", "text": "t"}
        requests = [
            ("GET", "/v1/messages", None),
            ("GET", "/v1/messages/msg_" + "0" * 32, None),
            ("GET", "/v1/events", None),
            ("GET", "/v1/domains", None),
            ("GET", "/v1/keys", None),
            ("POST", "/v1/keys", {"name": "a", "scopes": ["*"]}),
            ("DELETE", "/v1/keys/x", None),
            ("POST", "/v1/messages", message),
            ("POST", "/v1/messages/batch", {"messages": [message, message]}),
            ("POST", "/v1/messages/msg_" + "0" * 32 + "/cancel", None),
        ]
        for method, path, body in requests:
            answer = await client.request(method, path, json=body)
            assert answer.status_code == 503, (method, path, answer.text)
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["code"] == "unavailable"
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["database"]) == (503, "away")
        assert (await client.get("/healthz")).status_code == 200


def _wellformed_token() -> str:
    unchecked = "stf_" + "0" * 12 + "_" + "0" * 36
    return unchecked + _checksum(unchecked)


@pytest.fixture
async def server(house: Any) -> AsyncIterator[tuple[str, int]]:
    """The application of `house` behind a real HTTP server."""
    config = uvicorn.Config(house.app, host="127.0.0.1", port=0, lifespan="off", http="httptools", ws="none", log_level="warning")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
    yield running.servers[0].sockets[0].getsockname()
    running.should_exit = True
    await task


async def _talk(address: tuple[str, int], *pieces: bytes, wait: float = 5.0) -> tuple[int, bytes]:
    """Send the pieces, then read one answer: its status and body."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(wait):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            return int(head.split(b" ")[1]), await reader.readexactly(length)
    finally:
        writer.close()


def _head(token: str, *lines: str) -> bytes:
    given = ["POST /v1/messages HTTP/1.1", "Host: relay.test", f"Authorization: Bearer {token}", "Content-Type: application/json", *lines]
    return ("\r\n".join(given) + "\r\n\r\n").encode()


async def test_a_large_body_is_refused_before_it_is_sent(server: Any, shop: Any) -> None:
    status, body = await _talk(server, _head(shop.token, "Content-Length: 1000000000000"))
    assert (status, json.loads(body)["code"]) == (413, "message_too_large")
    status, _ = await _talk(server, _head(shop.token, "Content-Length: 99999999999999999999999999999999"))
    assert status in (400, 413)


async def test_a_body_in_pieces_is_refused_when_it_passes_the_bound(server: Any, shop: Any) -> None:
    piece = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
    status, body = await _talk(server, _head(shop.token, "Transfer-Encoding: chunked"), *[piece] * 5)
    assert (status, json.loads(body)["code"]) == (413, "message_too_large")


async def test_a_body_in_small_pieces_is_read(server: Any, shop: Any) -> None:
    whole = json.dumps(shop.message()).encode()
    pieces = [whole[start : start + 20] for start in range(0, len(whole), 20)]
    status, _ = await _talk(server, _head(shop.token, f"Content-Length: {len(whole)}"), *pieces)
    assert status == 202


async def test_a_body_that_stops_coming(server: Any, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.2)
    status, body = await _talk(server, _head(shop.token, "Content-Length: 100"), b'{"from":')
    assert (status, json.loads(body)["code"]) == (408, "request_timeout")
    assert bodies._bytes_under_way == 0


async def test_a_body_that_never_begins_to_come(server: Any, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.2)
    for lines in (["Content-Length: 100"], ["Transfer-Encoding: chunked"]):
        status, body = await _talk(server, _head(shop.token, *lines))
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")


async def test_a_client_that_goes_away_before_its_body_leaves_nothing(server: Any, shop: Any, capfd: pytest.CaptureFixture[str]) -> None:
    _, writer = await asyncio.open_connection(*server)
    writer.write(_head(shop.token, "Content-Length: 1000"))
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await asyncio.sleep(0.2)
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_without_a_key_no_body_is_read(server: Any) -> None:
    status, _ = await _talk(server, _head("stf_none", "Content-Length: 1000000"))
    assert status == 401


async def test_a_client_that_goes_away_leaves_nothing(server: Any, shop: Any, count_rows: Any, capfd: pytest.CaptureFixture[str]) -> None:
    before = await count_rows()
    _, writer = await asyncio.open_connection(*server)
    writer.write(_head(shop.token, "Content-Length: 1000") + b'{"from":')
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.2)
    assert await count_rows() == before
    assert "Traceback" not in "".join(capfd.readouterr())
    assert bodies._bytes_under_way == 0


async def test_over_a_real_connection(server: Any, shop: Any) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{server[0]}:{server[1]}", headers={"Authorization": f"Bearer {shop.token}"}) as client:
        for _ in range(3):
            answer = await client.post("/v1/messages", json=shop.message())
            assert answer.status_code == 202
            assert (await client.get(f"/v1/messages/{answer.json()['id']}")).status_code == 200
