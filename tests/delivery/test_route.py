"""Routes from a real DNS server: the order of hops, the name of the site, and every way of having none."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config import Settings
from app.delivery.conversation import Hop, Tls
from app.delivery.providers import Provider, Providers
from app.delivery.route import LONGEST_SITE_NAME, Route, RouteFailure, Router
from app.resolver import Resolver
from tests.doubles.dns import DnsServer

PUBLIC = "8.8.4.4"
OURS = "9.9.9.9"  # what relay.test resolves to: this server, seen from outside
ZONES: dict[str, Any] = {
    "shop.test": {"MX": [[20, "back.mx.test"], [10, "MX1.mx.test"]]},
    "office.test": {"MX": [[5, "mx1.mx.test"], [7, "back.mx.test"]]},
    "mx1.mx.test": {"A": [PUBLIC], "AAAA": ["2606:4700::1"]},
    "back.mx.test": {"A": ["8.8.8.8"]},
    "plain.test": {"A": [PUBLIC]},
    "six.test": {"AAAA": ["2606:4700::1"]},
    "null.test": {"MX": [[0, "."]]},
    "empty.test": {"TXT": ["nothing else"]},
    "broken.test": "SERVFAIL",
    "silent.test": "TIMEOUT",
    "lame.test": {"MX": [[10, "nowhere.test"]]},
    "shaky.test": {"MX": [[10, "nowhere.test"], [20, "broken.test"]]},
    "half.test": {"MX": [[10, "broken.test"], [20, "back.mx.test"]]},
    "loopback.test": {"MX": [[10, "local.mx.test"]]},
    "local.mx.test": {"A": ["127.0.0.1", "10.0.0.1"], "AAAA": ["::1", "fd00::1", "::ffff:127.0.0.1"]},
    "mixed.test": {"MX": [[10, "local.mx.test"], [20, "back.mx.test"]]},
    "wild.test": {"MX": [[10, "any.mx.test"]]},
    "any.mx.test": {"A": ["0.0.0.0"]},
    "self.test": {"MX": [[10, "relay.test"], [20, "back.mx.test"]]},
    "backed.test": {"MX": [[10, "mx1.mx.test"], [20, "relay.test"], [30, "back.mx.test"]]},
    "relay.test": {"A": [OURS]},
    "twin.mx.test": {"A": ["1.0.0.1", OURS]},
    "looped.test": {"MX": [[10, "twin.mx.test"], [20, "back.mx.test"]]},
    "half-looped.test": {"MX": [[10, "mx1.mx.test"], [20, "twin.mx.test"], [30, "back.mx.test"]]},
    "literal.test": {"MX": [[10, PUBLIC]]},
    "half-literal.test": {"MX": [[10, PUBLIC], [20, "back.mx.test"]]},
    "cname.test": {"MX": [[10, "other-name.mx.test"]]},
    "other-name.mx.test": {"CNAME": "back.mx.test"},
    "bank.test": {"MX": [[10, "back.mx.test"]]},
    "limited.test": {"MX": [[10, "a.big.test"], [10, "b.big.test"]]},
    "*.big.test": {"A": [PUBLIC]},
    "half-limited.test": {"MX": [[10, "a.big.test"], [20, "back.mx.test"]]},
    "crowd.test": {"MX": [[10, f"mx{number}.crowd.test"] for number in range(50)]},
    "*.crowd.test": {"A": [PUBLIC, "8.8.8.8", "1.1.1.1"]},
    "alias.test": {"CNAME": "shop.test"},
    "*.sites.test": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"]},
    "shop-a.test": {"MX": [[0, "shopa-test.mail.protection.outlook.com"]]},
    "shop-b.test": {"MX": [[0, "shopb-test.mail.protection.outlook.com"]]},
    "*.outlook.com": {"A": [PUBLIC]},
    "g1.test": {"MX": [[1, "aspmx.l.google.com"], [5, "alt1.aspmx.l.google.com"]]},
    "g2.test": {"MX": [[1, "smtp.google.com"]]},
    "g3.test": {"MX": [[1, "aspmx.l.google.com"], [5, "aspmx2.googlemail.com"]]},
    "web.test": {"MX": [[1, "www.google.com"]]},
    "shop-c.test": {"MX": [[0, "shopc-test.n-v1.mx.microsoft"]]},
    "*.mx.microsoft": {"A": [PUBLIC]},
    "*.googlemail.com": {"A": [PUBLIC]},
    "*.google.com": {"A": [PUBLIC]},
    "strange.test": {"MX": [[10, "mx.one.test"], [10, "mx.two.example"]]},
    "mx.one.test": {"A": [PUBLIC]},
    "mx.two.example": {"A": [PUBLIC]},
}


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer(ZONES) as running:
        yield running


def router(server: DnsServer, *, seed: int = 1, ipv6: bool = True, providers: Providers | None = None, **settings: Any) -> Router:
    resolver = Resolver([server.address], longest_query_seconds=0.4)
    return Router(resolver, Settings(helo_name="relay.test", **settings), seed=seed, has_ipv6=lambda: ipv6, providers=providers)


def without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel with ipv6.disable=1."""

    class OnlyIpv4(socket.socket):
        def __init__(self, family: int = -1, *given: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *given, **named)

    monkeypatch.setattr(socket, "socket", OnlyIpv4)


async def route(server: DnsServer, domain: str, **settings: Any) -> Route:
    found = await router(server, **settings).resolve(domain)
    assert isinstance(found, Route), found
    return found


async def test_the_lower_preference_comes_first_and_ipv4_before_ipv6(server: DnsServer) -> None:
    assert (await route(server, "shop.test")).hops == (
        Hop("mx1.mx.test", PUBLIC, 25),
        Hop("mx1.mx.test", "2606:4700::1", 25),
        Hop("back.mx.test", "8.8.8.8", 25),
    )


async def test_without_mx_the_domain_itself_is_the_host(server: DnsServer) -> None:
    assert await route(server, "plain.test") == Route("plain.test", (Hop("plain.test", PUBLIC, 25),))
    assert (await route(server, "six.test")).hops == (Hop("six.test", "2606:4700::1", 25),)


async def test_equal_hosts_are_drawn_anew_for_each_worker(server: DnsServer) -> None:
    orders = {tuple(hop.host for hop in (await route(server, "crowd.test", seed=seed)).hops) for seed in range(5)}
    assert len(orders) == 5
    assert await route(server, "crowd.test", seed=1) == await route(server, "crowd.test", seed=1)


async def test_a_crowd_of_hosts_is_bounded(server: DnsServer) -> None:
    found = await route(server, "crowd.test")
    assert len(found.hops) == 16
    assert server.queries.total() <= 1 + 2 * 8 + 2  # MX, the addresses of eight hosts, and our own
    assert len(found.site) <= LONGEST_SITE_NAME + 2


@pytest.mark.parametrize(
    ("domain", "permanent", "enhanced"),
    [
        ("gone.test", True, "5.1.2"),
        ("not..a.domain", True, "5.1.2"),
        ("null.test", True, "5.1.10"),
        ("empty.test", True, "5.4.4"),
        ("lame.test", True, "5.4.4"),
        ("loopback.test", True, "5.4.6"),
        ("wild.test", True, "5.4.6"),
        ("self.test", True, "5.4.6"),
        ("looped.test", True, "5.4.6"),
        ("literal.test", True, "5.4.4"),
        ("broken.test", False, "4.4.3"),
        ("silent.test", False, "4.4.3"),
        ("shaky.test", False, "4.4.3"),
    ],
)
async def test_there_is_no_route(server: DnsServer, domain: str, permanent: bool, enhanced: str) -> None:
    failure = await router(server).resolve(domain)
    assert isinstance(failure, RouteFailure)
    assert (failure.permanent, failure.enhanced) == (permanent, enhanced)
    assert failure.text


async def test_what_cannot_be_used_is_left_out(server: DnsServer) -> None:
    only_back = (Hop("back.mx.test", "8.8.8.8", 25),)
    assert (await route(server, "half.test")).hops == only_back
    assert (await route(server, "mixed.test")).hops == only_back
    assert (await route(server, "half-literal.test")).hops == only_back
    assert {hop.host for hop in (await route(server, "backed.test")).hops} == {"mx1.mx.test"}
    assert {hop.host for hop in (await route(server, "half-looped.test")).hops} == {"mx1.mx.test"}


async def test_a_host_may_be_another_name_of_one(server: DnsServer) -> None:
    assert (await route(server, "cname.test")).hops == (Hop("other-name.mx.test", "8.8.8.8", 25),)


async def test_without_ipv6_only_hosts_that_have_nothing_else_are_tried_by_it(server: DnsServer) -> None:
    assert [hop.address for hop in (await route(server, "shop.test", ipv6=False)).hops] == [PUBLIC, "8.8.8.8"]
    assert [hop.address for hop in (await route(server, "six.test", ipv6=False)).hops] == ["2606:4700::1"]


async def test_a_kernel_that_makes_no_ipv6_sockets_has_the_ipv4_route(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipv6(monkeypatch)
    asking = Router(Resolver([server.address], longest_query_seconds=0.4), Settings(helo_name="relay.test"))
    found = await asking.resolve("shop.test")
    assert isinstance(found, Route)
    assert [hop.address for hop in found.hops] == [PUBLIC, "8.8.8.8"]


async def test_a_route_carries_the_limits_of_its_site_and_the_tls_of_its_domain(server: DnsServer) -> None:
    big = Provider("big", mx=(".big.test",), connections=2, deliveries_per_connection=7, tls=Tls.REQUIRED)
    bank = Provider("bank", domains=("bank.test",), tls=Tls.VERIFY)
    asking = router(server, providers=Providers([big, bank]))
    limited, other, banking = [await asking.resolve(domain) for domain in ("limited.test", "half-limited.test", "bank.test")]
    assert isinstance(limited, Route) and isinstance(other, Route) and isinstance(banking, Route)
    assert (limited.provider, {(hop.tls, hop.deliveries) for hop in limited.hops}) == (big, {(Tls.REQUIRED, 7)})
    assert (other.provider, {(hop.tls, hop.deliveries) for hop in other.hops}) == (None, {(Tls.OPPORTUNISTIC, 0)})
    assert (banking.provider, {hop.tls for hop in banking.hops}) == (None, {Tls.VERIFY})


async def test_private_hops_are_allowed_when_the_operator_says_so(server: DnsServer) -> None:
    found = await route(server, "a.sites.test", allow_private_next_hops=True, smtp_port=2525)
    assert found == Route("mx.a.sites.test", (Hop("mx.a.sites.test", "127.0.0.1", 2525),))
    assert isinstance(await router(server, allow_private_next_hops=True).resolve("wild.test"), RouteFailure)


@pytest.mark.parametrize(
    ("domain", "site"),
    [
        ("shop.test", "(back|mx1).mx.test"),
        ("office.test", "(back|mx1).mx.test"),
        ("alias.test", "(back|mx1).mx.test"),
        ("shop-a.test", "outlook.com"),
        ("shop-b.test", "outlook.com"),
        ("g1.test", "google.com"),
        ("g2.test", "google.com"),
        ("g3.test", "google.com"),
        ("web.test", "www.google.com"),
        ("shop-c.test", "outlook.com"),
        ("strange.test", "(mx.one.test|mx.two.example)"),
    ],
)
async def test_the_site_is_named_by_its_hosts(server: DnsServer, domain: str, site: str) -> None:
    assert (await route(server, domain)).site == site


async def test_a_smarthost_takes_everything(server: DnsServer) -> None:
    assert await route(server, "gone.test", smarthost="mail.provider.test:587") == Route(
        "smarthost:mail.provider.test", (Hop("mail.provider.test", "mail.provider.test", 587),)
    )
    assert (await route(server, "gone.test", smarthost="[::1]:25")).hops == (Hop("::1", "::1", 25),)
    assert not server.queries


async def test_routes_are_kept_with_no_further_question(server: DnsServer) -> None:
    kept = router(server)
    first = await kept.resolve("shop.test")
    asked = server.queries.total()
    assert await kept.resolve("shop.test") is first
    assert server.queries.total() == asked


@pytest.mark.parametrize("domain", ["shop.test", "plain.test", "empty.test", "lame.test", "shop-a.test"])
async def test_the_site_is_told_by_mx_alone(server: DnsServer, domain: str) -> None:
    asking = router(server)
    site = await asking.site_of(domain)
    assert {kind for _, kind in server.queries} == {"MX"}
    assert site is not None
    found = await asking.resolve(domain)
    assert isinstance(found, RouteFailure) or found.site == site


@pytest.mark.parametrize("domain", ["gone.test", "null.test", "broken.test", "self.test"])
async def test_there_is_no_site_where_there_is_no_way(server: DnsServer, domain: str) -> None:
    assert await router(server).site_of(domain) is None


async def test_with_a_smarthost_there_is_one_site(server: DnsServer) -> None:
    assert await router(server, smarthost="mail.provider.test:587").site_of("shop.test") == "smarthost:mail.provider.test"
