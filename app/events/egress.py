"""The egress guard: posts go to the public internet or nowhere.

Rules:
* Judged is the socket address that is about to be connected, after all resolving (the connector's socket factory): no spelling
  of an address, no DNS answer and no change of an answer between check and use gets round it.
* The machine's own addresses and the networks it is directly on are refused too, public or not.
* No redirect is followed, no proxy of the environment is used, no cookie is kept, certificates are verified.
* At most 64 KB of an answer are read. An answer of 2xx stands however slowly or badly its body comes.

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
from yarl import URL

from app.events.addresses import PORTS, Network, refusal_of

MOST_ANSWER_BYTES = 64 * 1024
_SUCCESS_BODY_SECONDS = 2.0
_EXCERPT_BYTES = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a post. `status` None: no answer, and `error` says why. `excerpt`: the beginning of an unkind answer."""

    status: int | None
    retry_after: str | None = None
    excerpt: str = ""
    error: str | None = None

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
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=Guard(allow_private=allow_private),
                ssl=tls_context or ssl.create_default_context(),
                resolver=resolver,
                limit=0,  # callers bound what they have in flight; a shared bound would let one slow receiver starve the others
                keepalive_timeout=30,
                ttl_dns_cache=10,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # a bounded read must not become an unbounded inflate
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        )

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                excerpt = await self._read_bounded(response)
                return Answer(response.status, response.headers.get("Retry-After"), excerpt)
        except TimeoutError:
            return Answer(None, error=f"no answer within {self._timeout_seconds:g} s")
        except aiohttp.ClientConnectorError as error:
            return Answer(None, error=_one_line(error.os_error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, error=_one_line(error))

    async def close(self) -> None:
        await self._session.close()

    async def _read_bounded(self, response: aiohttp.ClientResponse) -> str:
        """Read what is there, so that the connection can be kept; give the connection up when there is too much of it."""
        good = 200 <= response.status < 300
        if response.content.is_eof():
            return "" if good else _excerpt(await response.content.read(_EXCERPT_BYTES))
        first, size = b"", 0
        try:
            async with asyncio.timeout(_SUCCESS_BODY_SECONDS if good else None):
                while chunk := await response.content.readany():
                    first, size = first or chunk, size + len(chunk)
                    if size > MOST_ANSWER_BYTES:
                        response.close()
                        break
        except (TimeoutError, aiohttp.ClientError, OSError):
            response.close()
        return "" if good else _excerpt(first)


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
        return f"{sockaddr[0]} is this server itself" if _is_own_address(family, sockaddr) else None


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


def _is_own_address(family: int, sockaddr: tuple[Any, ...]) -> bool:
    """Whether the kernel would talk to itself. Connecting a datagram socket sends nothing; it chooses the source address."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(sockaddr)
        except OSError:
            return False
        return bool(probe.getsockname()[0] == sockaddr[0])


def _excerpt(body: bytes) -> str:
    text = body[:_EXCERPT_BYTES].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
