"""DNS look-ups: MX, addresses, aliases, TXT. The only importer of dnspython.

Rules. An answer is a value: `Found`, or `Missing` with its kind (no such domain, no records, failed for now); nothing is
raised. Answers are kept for their TTL within bounds, the least used go first; so is what is missing, for as long as its zone
says (RFC 2308 §5) and a few minutes at most; a failure for seconds. The same
question asked by many at once is one query. A kept answer costs a dict access.

What an answer means for mail is `delivery.route`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

from app.recent import Recent

Record = TypeVar("Record")

TTL_SECONDS = (5.0, 3600.0)  # a TTL of 0 would be a query per message
MISSING_SECONDS = 300.0
FAILED_SECONDS = 5.0
LONGEST_QUERY_SECONDS = 5.0
ONE_TRY_SECONDS = 2.0
MOST_KEPT = 50_000


class Lack(StrEnum):
    NO_SUCH_DOMAIN = "no_such_domain"  # NXDOMAIN, or no name at all
    NO_RECORDS = "no_records"  # the name exists, but nothing of this type
    FAILED = "failed"  # SERVFAIL, timeout, no resolver: ask again later


@dataclass(frozen=True, slots=True)
class Found(Generic[Record]):
    """Records, and until when they hold, on the monotonic clock."""

    records: tuple[Record, ...]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Missing:
    """No records, and why."""

    lack: Lack
    text: str
    expires_at: float


class Resolver:
    """Asks `servers` ("ip" or "ip:port", "[ipv6]:port"), or those of the system when there are none."""

    def __init__(self, servers: Sequence[str] = (), *, longest_query_seconds: float = LONGEST_QUERY_SECONDS) -> None:
        self._dns = _make_resolver(servers, longest_query_seconds)
        self._kept: Recent[tuple[str, str], Found[Any] | Missing] = Recent(MOST_KEPT)
        self._asked: dict[tuple[str, str], asyncio.Task[Found[Any] | Missing]] = {}

    async def mx(self, domain: str) -> Found[tuple[int, str]] | Missing:
        """(preference, host) pairs in no order. The host is lower case without final dot; "" in a null MX (RFC 7505)."""
        return await self._look_up(domain, "MX")

    async def addresses(self, host: str) -> Found[str] | Missing:
        """IPv4 addresses, then IPv6."""
        four, six = await asyncio.gather(self._look_up(host, "A"), self._look_up(host, "AAAA"))
        if isinstance(four, Missing) and isinstance(six, Missing):
            return six if six.lack is Lack.FAILED else four
        found = [answer for answer in (four, six) if isinstance(answer, Found)]
        return Found(tuple(address for answer in found for address in answer.records), min(answer.expires_at for answer in found))

    async def cname(self, host: str) -> Found[str] | Missing:
        """The name that `host` is an alias of, lower case without final dot."""
        return await self._look_up(host, "CNAME")

    async def txt(self, name: str) -> Found[str] | Missing:
        """Texts, the strings of each joined (RFC 7208 §3.3)."""
        return await self._look_up(name, "TXT")

    async def names(self, address: str) -> Found[str] | Missing:
        """The names that an IP address is said to have (PTR), lower case without final dot."""
        return await self._look_up(dns.reversename.from_address(address).to_text(), "PTR")

    async def validates(self) -> bool:
        """Whether the resolver checks DNSSEC: asked for it, it says that what it knows of the root, which is signed, is authentic."""
        if self._dns is None:
            return False
        asking = copy.copy(self._dns)
        asking.set_flags(dns.flags.RD | dns.flags.AD)
        try:
            answer = await asking.resolve(dns.name.root, "SOA", raise_on_no_answer=False)
        except (dns.exception.DNSException, OSError):
            return False
        return bool(answer.response.flags & dns.flags.AD)

    def forget(self) -> None:
        """Ask anew for everything, as when a domain owner has just changed a record."""
        self._kept.clear()

    async def _look_up(self, name: str, kind: str) -> Found[Any] | Missing:
        key = (name, kind)
        kept = self._kept.get(key)
        if kept is not None and kept.expires_at > time.monotonic():
            self._kept.move_to_end(key)
            return kept
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(self._ask_and_keep(key))
        # Shielded: one asker who gives up does not take the answer from the others.
        return await asyncio.shield(asked)

    async def _ask_and_keep(self, key: tuple[str, str]) -> Found[Any] | Missing:
        try:
            answer = self._kept[key] = await self._ask(*key)
        finally:
            del self._asked[key]
        return answer

    async def _ask(self, name: str, kind: str) -> Found[Any] | Missing:
        if self._dns is None:
            return _missing(Lack.FAILED, "no DNS resolver is configured")
        try:
            absolute = dns.name.from_text(name.rstrip(".") + ".")
        except (dns.exception.DNSException, UnicodeError):
            return _missing(Lack.NO_SUCH_DOMAIN, f"{name} is not a domain name")
        try:
            answer = await self._dns.resolve(absolute, kind, search=False)
        except dns.resolver.NXDOMAIN as error:
            return _missing(Lack.NO_SUCH_DOMAIN, f"{name} does not exist", error.kwargs["responses"].get(absolute))
        except dns.resolver.NoAnswer as error:
            return _missing(Lack.NO_RECORDS, f"{name} has no {kind} record", error.kwargs["response"])
        except (dns.exception.DNSException, OSError) as error:
            return _missing(Lack.FAILED, f"the {kind} look-up of {name} failed: {_shortly(error)}")
        shortest, longest = TTL_SECONDS
        expires_at = time.monotonic() + min(max(answer.chaining_result.minimum_ttl, shortest), longest)  # CNAMEs on the way count too
        return Found(tuple(_READERS[kind](record) for record in answer), expires_at)


def _make_resolver(servers: Sequence[str], longest_query_seconds: float) -> dns.asyncresolver.Resolver | None:
    try:
        made = dns.asyncresolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        return None
    if servers:
        made.nameservers = [_name_server(server) for server in servers]
    made.timeout = min(ONE_TRY_SECONDS, longest_query_seconds)
    made.lifetime = longest_query_seconds
    made.use_edns(0, 0, 1232)  # large answers without TCP, below what fragments
    return made


def _name_server(server: str) -> dns.nameserver.Nameserver:
    if server.startswith("["):
        address, _, port = server[1:].partition("]")
        port = port.removeprefix(":")
    elif server.count(":") == 1:
        address, _, port = server.partition(":")
    else:
        address, port = server, ""
    return dns.nameserver.Do53Nameserver(address, int(port or 53))


def _missing(lack: Lack, text: str, response: Any = None) -> Missing:
    seconds = FAILED_SECONDS if lack is Lack.FAILED else MISSING_SECONDS
    if response is not None:  # RFC 2308 §5: the lesser of the SOA record's TTL and its MINIMUM field, where it is sent along
        with contextlib.suppress(dns.exception.DNSException):
            seconds = max(TTL_SECONDS[0], min(seconds, response.resolve_chaining().minimum_ttl))
    return Missing(lack, text, time.monotonic() + seconds)


def _shortly(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "timed out"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the server failed"
    return type(error).__name__


_READERS: dict[str, Callable[[Any], Any]] = {
    "MX": lambda record: (record.preference, record.exchange.to_text(omit_final_dot=True).lower().rstrip(".")),
    "PTR": lambda record: record.target.to_text(omit_final_dot=True).lower(),
    "A": lambda record: record.address,
    "AAAA": lambda record: record.address,
    "CNAME": lambda record: record.target.to_text(omit_final_dot=True).lower(),
    "TXT": lambda record: b"".join(record.strings).decode("utf-8", "replace"),
}
