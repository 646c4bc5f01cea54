"""Host names of webhook receivers, for the connector: the hosts file, then the house's own resolver.

aiohttp's own would ask libc, under uvloop two names at a time for the whole process: one account's dead names would keep everybody's
waiting, the database's too. Here each name waits for itself alone, answers are kept for their TTL, and STAFFETTA_DNS_SERVERS holds.

What a name leads to is not judged here: `egress` judges the address that is about to be connected. Names are looked up as they
are written; no search list is tried.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from app.resolver import Missing, Resolver

HOSTS_FILE = Path("/etc/hosts")
_LOOPBACK = ("127.0.0.1", "::1")


class Names(AbstractResolver):
    """Raises OSError, with a sentence, for a name that leads nowhere."""

    def __init__(self, resolver: Resolver, *, hosts_file: Path = HOSTS_FILE) -> None:
        self._resolver = resolver
        self._hosts_file = hosts_file

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        found = [(_family_of(address), address) for address in await self._addresses(host.rstrip(".").lower())]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in found
            if family in {socket.AF_UNSPEC, kind}
        ]

    async def close(self) -> None:
        return None

    async def _addresses(self, name: str) -> Sequence[str]:
        written = _read_hosts(self._hosts_file).get(name)
        if written is not None:
            return written
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 §6.3: nobody is asked for these
            return _LOOPBACK
        answer = await self._resolver.addresses(name)
        if isinstance(answer, Missing):
            raise OSError(answer.text)
        return answer.records


def _family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _read_hosts(path: Path) -> Mapping[str, Sequence[str]]:
    """The names of a hosts file as it is now."""
    try:
        return _parse_hosts(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError):
        return {}


@lru_cache(maxsize=2)
def _parse_hosts(path: Path, _changed_at: int) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            found.setdefault(name.rstrip(".").lower(), []).append(address)
    return found
