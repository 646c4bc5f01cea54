"""Where mail for a domain goes: its hops in order, and the site they make up.

With a smarthost everything goes there. Else the domain's MX records, the lower preference first, equals in an order that
each worker draws for itself (RFC 5321 §5.1); without MX the domain's own address. A site is one receiving system: domains
with the same set of MX hosts are one site, and so are all domains of the few receivers that give every customer host
names of his own.

    no such domain            550 5.1.2     the definite answers are permanent: they do not change while mail waits
    null MX (RFC 7505)        550 5.1.10
    no MX host has an address 550 5.4.4     nor has one that is an address itself: an MX names a host (RFC 5321 §5.1)
    only private addresses    550 5.4.6     loopback, private and special ones, and this server itself: a loop, or a
                                            domain that wants no mail
    SERVFAIL, timeout         450 4.4.3     everything else may be mended

This server is known by its HELO name, by the addresses of that name, and by the kernel, which knows its own.

A route carries what the providers' file says of its site (limits) and of its domain (TLS). Routes are kept by domain for the shortest TTL
met: on the hot path a route is a dict access. Which hop is tried, and what a failure means for the message, is `deliver`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.config import Settings
from app.delivery.conversation import Hop
from app.delivery.providers import Provider, Providers, fits
from app.ip import is_this_machine, refusal_of, source_for
from app.resolver import Found, Lack, Missing, Resolver

MOST_ROUTES = 50_000
MOST_HOSTS = 8  # of an MX set: some list fifty
MOST_HOPS = 16
LONGEST_SITE_NAME = 200

# Receivers whose customers' MX names differ though the system behind them is one (as in the providers' file: with a dot in front all that
# end so). Mail hosts alone: a site is shared, so anything else of theirs that somebody names as his MX must not lie in its lane.
_FAMILIES = {
    "google.com": (
        "smtp.google.com",
        *(host for name in ("aspmx", "gmail-smtp-in", "gmr-smtp-in") for host in (f"{name}.l.google.com", f".{name}.l.google.com")),
        *(f"aspmx{number}.googlemail.com" for number in range(2, 6)),
    ),
    "outlook.com": (".mail.protection.outlook.com", ".olc.protection.outlook.com", ".mx.microsoft"),
}


@dataclass(frozen=True, slots=True)
class Route:
    """The hops to try in order, and the name of the site they are."""

    site: str
    hops: tuple[Hop, ...]
    provider: Provider | None = None


@dataclass(frozen=True, slots=True)
class RouteFailure:
    """Why there is no route. `enhanced` is an RFC 3463 code."""

    permanent: bool
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class _Targets:
    """What MX records say: the site, its hosts in the order to try with their preferences, and what is known of it."""

    site: str
    hosts: dict[str, int]
    provider: Provider | None
    expires_at: float


class Router:
    """Resolves and keeps routes. `seed` decides the order of equal MX hosts; `has_ipv6` tells whether this machine can use IPv6."""

    def __init__(
        self,
        resolver: Resolver,
        settings: Settings,
        *,
        providers: Providers | None = None,
        seed: int | None = None,
        has_ipv6: Callable[[], bool] | None = None,
    ) -> None:
        self._resolver = resolver
        self._settings = settings
        self._providers = providers if providers is not None else Providers.load(settings.providers_file)
        self._has_ipv6 = has_ipv6 or _has_ipv6
        self._seed = random.getrandbits(64) if seed is None else seed
        self._routes: dict[str, tuple[Route | RouteFailure, float]] = {}
        self._smarthost = self._smarthost_route(settings.smarthost) if settings.smarthost else None

    def kept(self, domain: str) -> Route | RouteFailure | None:
        """The route of a domain (lower-case A-labels), if it was resolved not long ago."""
        if self._smarthost is not None:
            return self._smarthost
        kept = self._routes.get(domain)
        return kept[0] if kept is not None and kept[1] > time.monotonic() else None

    async def resolve(self, domain: str) -> Route | RouteFailure:
        """The route of a domain (lower-case A-labels)."""
        kept = self.kept(domain)
        if kept is not None:
            return kept
        route, expires_at = await self._look_up(domain)
        self._routes.pop(domain, None)
        self._routes[domain] = route, expires_at
        if len(self._routes) > MOST_ROUTES:
            del self._routes[next(iter(self._routes))]  # the one that was looked up longest ago
        return route

    async def site_of(self, domain: str) -> str | None:
        """The site of a domain by its MX records alone; None when mail for it has no way now."""
        if self._smarthost is not None:
            return self._smarthost.site
        targets = await self._targets(domain)
        return targets.site if isinstance(targets, _Targets) else None

    async def _look_up(self, domain: str) -> tuple[Route | RouteFailure, float]:
        targets = await self._targets(domain)
        if not isinstance(targets, _Targets):
            return targets
        answers = dict(zip(targets.hosts, await asyncio.gather(*map(self._resolver.addresses, targets.hosts)), strict=True))
        expires_at = min(targets.expires_at, *(each.expires_at for each in answers.values()))
        hosts = await self._without_own(targets.hosts, answers)
        if not hosts:
            return _leads_back(domain), expires_at
        hops = self._hops(domain, targets.provider, {host: answers[host] for host in hosts})
        found = list(answers.values())
        return (Route(targets.site, hops, targets.provider) if hops else _no_hop(domain, found)), expires_at

    async def _targets(self, domain: str) -> _Targets | tuple[RouteFailure, float]:
        answer = await self._resolver.mx(domain)
        if isinstance(answer, Found):
            records, site = answer.records, _site_of(host for _, host in answer.records)
        elif answer.lack is Lack.NO_RECORDS:
            records, site = ((0, domain),), domain  # RFC 5321 §5.1: the implicit MX
        else:
            return _failure_of(answer), answer.expires_at
        if all(not host for _, host in records):
            return RouteFailure(True, "5.1.10", f"{domain} accepts no mail (null MX)"), answer.expires_at
        named = [record for record in records if record[1] and not _is_address(record[1])]
        if not named:
            return RouteFailure(True, "5.4.4", f"the MX of {domain} is an address, where a host name must stand"), answer.expires_at
        hosts = self._in_order(named)
        if not hosts:
            return _leads_back(domain), answer.expires_at
        return _Targets(site, hosts, self._providers.of_site(host for _, host in named), answer.expires_at)

    def _in_order(self, records: Sequence[tuple[int, str]]) -> dict[str, int]:
        """Hosts to try. This server and what is not preferred to it are left out: they would send it back (RFC 5321 §5.1)."""
        own = self._settings.helo_name.lower()
        limit = min((preference for preference, host in records if host == own), default=None)
        nearer = [record for record in records if limit is None or record[0] < limit]
        ranked = sorted(nearer, key=lambda record: (record[0], self._draw(record[1])), reverse=True)
        hosts = {host: preference for preference, host in ranked}  # of a host that is named twice the better place counts
        return dict(sorted(hosts.items(), key=lambda item: (item[1], self._draw(item[0])))[:MOST_HOSTS])

    async def _without_own(self, hosts: dict[str, int], answers: Mapping[str, Found[str] | Missing]) -> list[str]:
        """The same by address: a host that is this server under another name ends the list too."""
        if self._settings.allow_private_next_hops:  # everything is on this machine
            return list(hosts)
        named = await self._resolver.addresses(self._settings.helo_name)
        ours = frozenset(named.records if isinstance(named, Found) else ())

        def is_own(address: str) -> bool:
            # Loopback addresses are everybody's own: a host that has one says that it wants no mail, and nothing of us.
            return address in ours or (refusal_of(address) is None and is_this_machine(address))

        own = [host for host in hosts if isinstance(answer := answers[host], Found) and any(map(is_own, answer.records))]
        limit = min((hosts[host] for host in own), default=None)
        return [host for host, preference in hosts.items() if limit is None or preference < limit]

    def _draw(self, host: str) -> bytes:
        # The same for all domains of a site, so that they share connections; another one in each worker.
        return hashlib.blake2b(f"{self._seed} {host}".encode(), digest_size=8).digest()

    def _hops(self, domain: str, provider: Provider | None, answers: Mapping[str, Found[str] | Missing]) -> tuple[Hop, ...]:
        usable = [
            (host, address)
            for host, answer in answers.items()
            if isinstance(answer, Found)
            for address in sorted(answer.records, key=lambda address: (":" in address, self._draw(address)))
            if refusal_of(address, allow_private=self._settings.allow_private_next_hops) is None
        ]
        if any(":" in address for _, address in usable) and not self._has_ipv6():
            usable = [one for one in usable if ":" not in one[1]] or usable  # IPv6 alone: the attempt will say what is missing
        return tuple(self._hop(host, address, self._settings.smtp_port, domain, provider) for host, address in usable[:MOST_HOPS])

    def _hop(self, host: str, address: str, port: int, domain: str, provider: Provider | None) -> Hop:
        deliveries = provider.deliveries_per_connection if provider is not None else 0
        return Hop(host, address, port, tls=self._providers.tls_of(domain, provider), deliveries=deliveries)

    def _smarthost_route(self, smarthost: str) -> Route:
        host, _, port = smarthost.rpartition(":")
        host = host.strip("[]")
        provider = self._providers.of_site([host.lower()])
        return Route(f"smarthost:{host}", (self._hop(host, host, int(port), host.lower(), provider),), provider)


def _leads_back(domain: str) -> RouteFailure:
    return RouteFailure(True, "5.4.6", f"the mail for {domain} leads back to this server")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_ipv6() -> bool:
    return source_for("2001:4860:4860::8888") is not None


def _failure_of(answer: Missing) -> RouteFailure:
    if answer.lack is Lack.NO_SUCH_DOMAIN:
        return RouteFailure(True, "5.1.2", answer.text)
    return RouteFailure(False, "4.4.3", answer.text)


def _no_hop(domain: str, answers: Sequence[Found[str] | Missing]) -> RouteFailure:
    failed = next((answer for answer in answers if isinstance(answer, Missing) and answer.lack is Lack.FAILED), None)
    if failed is not None:
        return _failure_of(failed)
    if any(isinstance(answer, Found) for answer in answers):
        return RouteFailure(True, "5.4.6", f"the mail servers of {domain} have no public address")
    return RouteFailure(True, "5.4.4", f"no mail server of {domain} has an address")


def _site_of(hosts: Iterable[str]) -> str:
    """A name for a set of MX hosts, the same whatever their order: "(alt1|alt2).mx.example" by what they end with alike."""
    names = sorted({host for host in hosts if host})
    families = {family for name in names if (family := _family_of(name))}
    if len(families) == 1 and all(_family_of(name) for name in names):
        return families.pop()
    if len(names) < 2:
        return names[0] if names else ""
    labels = [name.split(".") for name in names]
    shared = 0
    while all(len(parts) > shared + 1 for parts in labels) and len({parts[-shared - 1] for parts in labels}) == 1:
        shared += 1
    tail = "." + ".".join(labels[0][len(labels[0]) - shared :]) if shared else ""
    heads = "|".join(".".join(parts[: len(parts) - shared]) for parts in labels)
    if len(heads) + len(tail) > LONGEST_SITE_NAME:
        heads = hashlib.blake2b(heads.encode(), digest_size=8).hexdigest()
    return f"({heads}){tail}"


def _family_of(host: str) -> str | None:
    return next((family for family, hosts in _FAMILIES.items() if fits(host, hosts)), None)
