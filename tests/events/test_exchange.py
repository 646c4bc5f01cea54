"""One post over a connection: what is written, what is read of the answer, and when the connection is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from app.events.egress import GuardedClient


@asynccontextmanager
async def _serving(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[URL]:
    """A receiver that does what `talk` says with each connection."""

    async def talk_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk_and_close, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=%20value")
    finally:
        server.close()
        await server.wait_closed()


async def test_what_a_receiver_never_reads_is_not_kept_for_it() -> None:
    """After its time the post is gone, although most of it still waits to be sent."""
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    body = b"x" * (32 << 20)

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        seen = b""
        try:
            while chunk := await reader.read(1 << 20):
                seen += chunk
        except ConnectionError:
            pass
        arrived.set_result(seen)

    client = GuardedClient(allow_private=True, timeout_seconds=0.2)
    async with _serving(talk) as url:
        answer = await client.post(url, body, {})
        assert answer.error == "no answer within 0.2 s"
        assert len(await asyncio.wait_for(arrived, 10)) < len(body)
    await client.close()


async def test_an_answer_before_the_whole_post_counts_and_ends_the_connection() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much")
        await reader.read()

    client = GuardedClient(allow_private=True, timeout_seconds=5)
    async with _serving(talk) as url:
        for _ in range(2):
            answer = await client.post(url, b"x" * (32 << 20), {})
            assert (answer.status, answer.excerpt) == (413, "too much")
    await client.close()
    assert connections == 2


async def test_an_unkind_answer_stands_although_its_body_does_not_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nlater")
        await reader.read()

    client = GuardedClient(allow_private=True, timeout_seconds=0.2)
    async with _serving(talk) as url:
        answer = await client.post(url, b"{}", {})
    await client.close()
    assert (answer.status, answer.retry_after, answer.excerpt, answer.error) == (503, "7", "later", None)


async def test_a_request_is_one_write_of_what_was_given_and_the_least_besides() -> None:
    heads: list[list[bytes]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[:-1])
            assert await reader.readexactly(2) == b"{}"
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    client = GuardedClient(allow_private=True, timeout_seconds=5)
    async with _serving(talk) as url:
        for _ in range(2):
            assert (await client.post(url, b"{}", {"User-Agent": "Staffetta-Webhooks/1", "webhook-id": "evt_1"})).success
    assert (await client.post(url, b"{}", {"webhook-id": "evt_1\r\nX: y"})).status is None
    await client.close()
    assert heads[0] == heads[1]
    assert heads[0][0] == b"POST /hook?key=%20value HTTP/1.1"
    assert set(heads[0][1:]) == {
        f"Host: {url.host}:{url.port}".encode(),
        b"Accept: */*",
        b"Accept-Encoding: identity",
        b"Content-Length: 2",
        b"User-Agent: Staffetta-Webhooks/1",
        b"webhook-id: evt_1",
    }


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "ws://127.0.0.1/", "/hook"])
async def test_only_http_is_spoken(url: str) -> None:
    client = GuardedClient(allow_private=True, timeout_seconds=5)
    answer = await client.post(URL(url), b"{}", {})
    await client.close()
    assert answer.status is None
    assert answer.error
