"""The egress guard: posts go to the public internet or nowhere.

Rules:
* Judged is the socket address that is about to be connected, after all resolving (the connector's socket factory): no spelling
  of an address, no DNS answer and no change of an answer between check and use gets round it.
* The machine's own addresses and the networks it is directly on are refused too, public or not.
* No redirect is followed, no proxy of the environment is used, no cookie is kept, certificates are verified.
* At most 64 KB of an answer are read. An answer stands however slowly or badly its body comes; that of 2xx is waited for less.
* A connection is kept only when the post went out whole and its answer was read whole.

Connecting, TLS, keeping, writing and parsing are aiohttp's; its session, request and response objects stand above them for
what a post never has (cookies, redirects, uploads, compression, tracing) and cost more than the rest, so they are left out.
A failure, a refusal included, is a value (`Answer` without a status), never an exception. What it means is left to the caller.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from yarl import URL

from app.config import Settings
from app.events.names import Names
from app.events.urls import PORTS
from app.ip import Network, is_this_machine, refusal_of
from app.resolver import Resolver

MOST_ANSWER_BYTES = 64 * 1024
_SUCCESS_BODY_SECONDS = 2.0
_KEPT_BYTES = 1024
_EXCERPT_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a post. `status` None: no answer, and `error` says why. `body`: the first kilobyte of the answer's."""

    status: int | None
    retry_after: str | None = None
    body: bytes = b""
    error: str | None = None

    @property
    def text(self) -> str:
        """The body as text that may be shown and stored: lines stay, other marks of control do not."""
        return "".join(c if c.isprintable() or c in "\n\t" else " " for c in self.body.decode("utf-8", "replace")).strip()

    @property
    def excerpt(self) -> str:
        """The beginning of it, on one line."""
        return " ".join(self.text[:_EXCERPT_LETTERS].split())

    @property
    def success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class EgressError(OSError):
    """This address or port is not to be connected. An OSError, so that the connector takes it for a failure to connect."""


class GuardedClient:
    """Posts over kept connections, each of them guarded. Within a running event loop; `close()` when done."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_seconds: float,
        resolver: AbstractResolver | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._connect_timeout = aiohttp.ClientTimeout(connect=timeout_seconds)
        self._connector = aiohttp.TCPConnector(
            socket_factory=Guard(allow_private=allow_private),
            ssl=tls_context or ssl.create_default_context(),
            resolver=resolver or Names(Resolver()),
            limit=0,  # callers bound what they have in flight; a shared bound would let one slow receiver starve the others
            keepalive_timeout=30,
            use_dns_cache=False,  # the resolver keeps what it was told
        )
        self._loop = asyncio.get_running_loop()
        self._request_to = lru_cache(maxsize=1024)(self._make_request)

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            return await self._exchange(self._request_to(url), body, headers)
        except TimeoutError:
            return Answer(None, error=f"no answer within {self._timeout_seconds:g} s")
        except aiohttp.ClientConnectorError as error:
            return Answer(None, error=_one_line(error.os_error))
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            return Answer(None, error=_one_line(error))

    async def close(self) -> None:
        await self._connector.close()

    def _make_request(self, url: URL) -> aiohttp.ClientRequest:
        """What all posts to a URL have in common: whom to connect, and the headers that are always the same."""
        if url.scheme not in {"http", "https"}:
            raise aiohttp.NonHttpUrlClientError(url)
        return aiohttp.ClientRequest("POST", url, headers={"Accept-Encoding": "identity"}, loop=self._loop)

    async def _exchange(self, request: aiohttp.ClientRequest, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One post and its answer, on a kept or a new connection."""
        deadline = self._loop.time() + self._timeout_seconds
        connection = await self._connector.connect(request, [], self._connect_timeout)
        done = False
        try:
            head, content = await self._converse(connection, request, body, headers, deadline)
            first, done = await _read_bounded(head.code, content, deadline)
            return Answer(head.code, head.headers.get("Retry-After"), first)
        finally:
            if done:
                _give_back(connection)
            else:
                _abandon(connection)

    async def _converse(
        self, connection: Connection, request: aiohttp.ClientRequest, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        """Write the post in one piece; returns the answer's head, and its body to be read."""
        protocol = connection.protocol
        assert protocol is not None
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)  # a bounded read must not become an unbounded inflate
        all_headers = request.headers.copy()
        all_headers.update(headers)
        all_headers["Content-Length"] = str(len(body))
        writer = StreamWriter(protocol, self._loop)
        await writer.write_headers(f"POST {request.url.raw_path_qs} HTTP/1.1", all_headers)
        await writer.write(body, drain=False)  # the answer may come before everything was read
        late = self._loop.call_at(deadline, protocol.set_exception, TimeoutError())  # a third of what asyncio.timeout costs
        try:
            while True:
                head, content = await protocol.read()
                if head.code >= 200 or head.code == 101:
                    return head, content
        finally:
            late.cancel()


async def _read_bounded(status: int, content: aiohttp.StreamReader, deadline: float) -> tuple[bytes, bool]:
    """The beginning of an answer's body, and whether the body was read to its end."""
    if content.is_eof():
        return content.read_nowait(_KEPT_BYTES), True
    if 200 <= status < 300:
        deadline = min(deadline, asyncio.get_running_loop().time() + _SUCCESS_BODY_SECONDS)
    first, size = b"", 0
    try:
        async with asyncio.timeout_at(deadline):
            while size <= MOST_ANSWER_BYTES and (chunk := await content.readany()):
                first += chunk[: _KEPT_BYTES - len(first)]
                size += len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return first, content.at_eof()


def _give_back(connection: Connection) -> None:
    """Keep a connection for the next post, unless a part of this one still waits to be sent."""
    transport = connection.transport
    if transport is None or transport.get_write_buffer_size():
        _abandon(connection)
    else:
        connection.release()


def _abandon(connection: Connection) -> None:
    """End a connection at once: a mere close would wait, for ever, until what was written is read."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def client_of(settings: Settings) -> GuardedClient:
    """The client as the house is set."""
    return GuardedClient(
        allow_private=settings.webhook_allow_private,
        timeout_seconds=settings.webhook_timeout_seconds,
        resolver=Names(Resolver(settings.dns_servers)),
    )


class Guard:
    """The socket factory: sees every socket address just before it is connected."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._own_networks = () if allow_private else read_own_networks()
        # The verdict on an address does not change, and receivers are connected again and again.
        self._refusal = lru_cache(maxsize=4096)(self._judge)

    def __call__(self, addr_info: Any) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        refusal = self._refusal(family, sockaddr)
        if refusal is not None:
            raise EgressError(f"refused: {refusal}")
        return socket.socket(family, kind, protocol)

    def _judge(self, family: int, sockaddr: tuple[Any, ...]) -> str | None:
        if family not in {socket.AF_INET, socket.AF_INET6}:
            return "not an internet address"
        refusal = refusal_of(sockaddr[0], allow_private=self._allow_private, own_networks=self._own_networks)
        if refusal is not None or self._allow_private:
            return refusal
        if sockaddr[1] not in PORTS:
            return f"port {sockaddr[1]} is neither 443 nor 80"
        return f"{sockaddr[0]} is this server itself" if is_this_machine(sockaddr[0]) else None


def read_own_networks() -> tuple[Network, ...]:
    """The networks that this machine is directly on, by Linux's tables; elsewhere none (its own addresses are found anyway)."""
    found: set[Network] = set()
    for line in _lines("/proc/net/route")[1:]:
        fields = line.split()
        destination, gateway, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 2, 7))
        # A tunnel may have half the internet "directly" on it.
        if gateway == 0 and mask.bit_count() >= 8:
            found.add(ipaddress.IPv4Network((destination, mask.bit_count()), strict=False))
    for line in _lines("/proc/net/if_inet6"):
        digits, _, prefix = line.split()[:3]
        if int(prefix, 16) >= 16:
            found.add(ipaddress.IPv6Network((int(digits, 16), int(prefix, 16)), strict=False))
    return tuple(found)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
