"""Look-ups against a real DNS server: what is found, what is missing and why, and how often is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from app import resolver as rooms
from app.resolver import Found, Lack, Missing, Resolver
from tests.doubles.dns import DnsServer

ZONES = {
    "shop.test": {"MX": [[20, "MX2.shop.test"], [10, "mx1.shop.test"]], "TXT": ["v=spf1 -all", "x" * 300], "ttl": 60},
    "mx1.shop.test": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
    "six.test": {"AAAA": ["2001:db8::6"]},
    "null.test": {"MX": [[0, "."]]},
    "alias.test": {"CNAME": "shop.test"},
    "restless.test": {"A": ["192.0.2.9"], "ttl": 0},
    "soa.test": {"SOA": 60},
    "broken.test": "SERVFAIL",
    "refused.test": "REFUSED",
    "silent.test": "TIMEOUT",
    "*.sites.test": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"]},
}


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer(ZONES) as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> Resolver:
    return Resolver([server.address], longest_query_seconds=0.5)


def records(answer: Found | Missing) -> tuple:
    assert isinstance(answer, Found), answer
    return answer.records


async def test_mx_records_are_found(resolver: Resolver) -> None:
    assert set(records(await resolver.mx("shop.test"))) == {(20, "mx2.shop.test"), (10, "mx1.shop.test")}
    assert records(await resolver.mx("a.sites.test")) == ((10, "mx.a.sites.test"),)
    assert set(records(await resolver.mx("alias.test"))) == set(records(await resolver.mx("shop.test")))


async def test_a_null_mx_is_an_empty_host(resolver: Resolver) -> None:
    assert records(await resolver.mx("null.test")) == ((0, ""),)


async def test_addresses_of_both_kinds_ipv4_first(resolver: Resolver) -> None:
    found = records(await resolver.addresses("mx1.shop.test"))
    assert set(found[:2]) == {"192.0.2.1", "192.0.2.2"}
    assert found[2:] == ("2001:db8::1",)
    assert records(await resolver.addresses("six.test")) == ("2001:db8::6",)


async def test_texts_are_joined(resolver: Resolver) -> None:
    assert set(records(await resolver.txt("shop.test"))) == {"v=spf1 -all", "x" * 300}


@pytest.mark.parametrize(
    ("domain", "lack"),
    [
        ("gone.test", Lack.NO_SUCH_DOMAIN),
        ("mx1.shop.test", Lack.NO_RECORDS),
        ("broken.test", Lack.FAILED),
        ("refused.test", Lack.FAILED),
        ("silent.test", Lack.FAILED),
        ("a..test", Lack.NO_SUCH_DOMAIN),
        ("x" * 64 + ".test", Lack.NO_SUCH_DOMAIN),
    ],
)
async def test_what_is_missing_says_why(resolver: Resolver, domain: str, lack: Lack) -> None:
    answer = await resolver.mx(domain)
    assert isinstance(answer, Missing)
    assert answer.lack is lack
    assert domain in answer.text


@pytest.mark.parametrize(("name", "most"), [("soa.test", 60), ("gone.soa.test", 60), ("gone.test", 300), ("broken.test", 5)])
async def test_what_is_missing_is_kept_as_long_as_its_zone_says(resolver: Resolver, name: str, most: float) -> None:
    before = time.monotonic()
    answer = await resolver.mx(name)
    assert isinstance(answer, Missing)
    assert answer.expires_at <= time.monotonic() + most
    assert answer.expires_at >= before + 5


async def test_answers_are_kept_and_the_same_question_is_asked_once(server: DnsServer, resolver: Resolver) -> None:
    server.delay_seconds = 0.05
    await asyncio.gather(*(resolver.mx("shop.test") for _ in range(50)))
    await resolver.mx("shop.test")
    assert server.queries["shop.test", "MX"] == 1
    resolver.forget()
    await resolver.mx("shop.test")
    assert server.queries["shop.test", "MX"] == 2


async def test_an_asker_who_gives_up_leaves_the_answer_to_the_others(server: DnsServer, resolver: Resolver) -> None:
    server.delay_seconds = 0.1
    first = asyncio.create_task(resolver.mx("shop.test"))
    second = asyncio.create_task(resolver.mx("shop.test"))
    await asyncio.sleep(0.02)
    first.cancel()
    assert len(records(await second)) == 2


async def test_answers_expire_within_bounds(server: DnsServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    await resolver.addresses("restless.test")
    await resolver.addresses("restless.test")
    assert server.queries["restless.test", "A"] == 1  # a TTL of 0 is not a query per message
    monkeypatch.setattr(rooms, "TTL_SECONDS", (0.0, 0.0))
    resolver.forget()
    await resolver.addresses("restless.test")
    await resolver.addresses("restless.test")
    assert server.queries["restless.test", "A"] == 3


async def test_the_least_used_are_forgotten_first(server: DnsServer, resolver: Resolver) -> None:
    resolver._kept.most = 3
    for name in ("a", "b", "c"):
        await resolver.mx(f"{name}.sites.test")
    await resolver.mx("a.sites.test")
    await resolver.mx("d.sites.test")
    await resolver.mx("a.sites.test")
    await resolver.mx("b.sites.test")
    assert server.queries["a.sites.test", "MX"] == 1
    assert server.queries["b.sites.test", "MX"] == 2


@pytest.mark.parametrize(
    ("server", "address", "port"),
    [
        ("192.0.2.53", "192.0.2.53", 53),
        ("192.0.2.53:5353", "192.0.2.53", 5353),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
    ],
)
def test_servers_are_read(server: str, address: str, port: int) -> None:
    made = rooms._name_server(server)
    assert (made.address, made.port) == (address, port)
