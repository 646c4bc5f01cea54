"""doctor and the world around: each check on its good side and on its failing ones."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.config import Settings
from app.resolver import Resolver
from app.watch import reach
from app.watch.findings import Finding
from tests.delivery.test_route import without_ipv6
from tests.doubles.certificate import a_certificate
from tests.doubles.dns import DnsServer
from tests.doubles.sink import Sink

HELO = "mail.ours.test"
ZONES: dict[str, Any] = {
    "": {},
    "known.test": {"MX": [[10, "mx.known.test"]]},
    "mx.known.test": {"A": ["127.0.0.1"]},
    "down.test": {"MX": [[10, "mx.down.test"]]},
    "mx.down.test": {"A": ["127.0.0.2"]},
    "broken.test": "SERVFAIL",
    HELO: {"A": ["203.0.113.5"], "AAAA": ["2001:db8::5"]},
    "5.113.0.203.in-addr.arpa": {"PTR": [HELO]},
    "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": ["other.test", HELO]},
    "half.ours.test": {"A": ["203.0.113.5", "203.0.113.6"]},
    "6.113.0.203.in-addr.arpa": {"PTR": ["dyn-6.hoster.test"]},
    "bare.ours.test": {"A": ["203.0.113.7"]},
    "bounces.test": {"MX": [[10, HELO]], "TXT": ["google-site-verification=1", "v=spf1 a:mail.ours.test -all"]},
    "nospf.test": {"MX": [[10, HELO]]},
    "twospf.test": {"MX": [[10, HELO]], "TXT": ["v=spf1 -all", "v=spf1 mx -all"]},
    "one._domainkey.shop.test": {"TXT": ["v=DKIM1; k=rsa; p=AAAA"]},
    "old._domainkey.shop.test": {"TXT": ["v=DKIM1; k=rsa; p=BBBB"]},
    "lost._domainkey.shop.test": "SERVFAIL",
}


def settings(**changes: Any) -> Settings:
    return Settings(**({"helo_name": HELO, "return_path_domain": "bounces.test"} | changes))


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer(ZONES, validates=True) as server:
        yield server


@pytest.fixture
def resolver(dns: DnsServer) -> Resolver:
    return Resolver([dns.address], longest_query_seconds=2.0)


def verdicts(findings: list[Finding]) -> list[str]:
    assert all(bool(finding.todo) == (finding.verdict in ("warn", "fail")) for finding in findings)
    return [finding.verdict for finding in findings]


async def test_the_resolver(dns: DnsServer, resolver: Resolver) -> None:
    assert verdicts(await reach.check_resolver(resolver, "known.test")) == ["ok"]
    dns.validates = False
    assert verdicts(await reach.check_resolver(resolver, "known.test")) == ["warn"]
    assert verdicts(await reach.check_resolver(resolver, "broken.test")) == ["fail"]
    assert verdicts(await reach.check_resolver(Resolver(["127.0.0.1:1"], longest_query_seconds=0.5), "known.test")) == ["fail"]


def test_our_addresses_on_a_kernel_that_makes_no_ipv6_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = reach.local_addresses()
    without_ipv6(monkeypatch)
    assert reach.local_addresses() == [address for address in usual if ":" not in address]


async def test_port_25(resolver: Resolver) -> None:
    async with Sink() as sink:
        assert verdicts(await reach.check_smtp(resolver, settings(smtp_port=sink.port), "known.test")) == ["ok"]
        (closed,) = await reach.check_smtp(resolver, settings(smtp_port=sink.port), "down.test")
        assert (closed.check, closed.verdict) == ("port 25", "fail")
        assert "hosters" in closed.todo
        assert verdicts(await reach.check_smtp(resolver, settings(smtp_port=sink.port), "broken.test")) == ["warn"]
        smart = settings(smarthost=f"127.0.0.1:{sink.port}")
        assert [finding.check for finding in await reach.check_smtp(resolver, smart, "broken.test")] == ["smarthost"]
    assert verdicts(await reach.check_smtp(resolver, smart, "broken.test")) == ["fail"], "it has gone"


async def test_a_server_that_refuses_our_address(resolver: Resolver) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 203.0.113.5 is on our list\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        (finding,) = await reach.check_smtp(resolver, settings(smtp_port=server.sockets[0].getsockname()[1]), "known.test")
    assert (finding.verdict, "554 5.7.1" in finding.what, "block list" in finding.todo) == ("fail", True, True)


async def test_a_silent_server_ends_in_time(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.2)
    over = asyncio.Event()

    async def wait(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        (finding,) = await reach.check_smtp(resolver, settings(smtp_port=server.sockets[0].getsockname()[1]), "known.test")
        over.set()
    assert (finding.verdict, "timed out" in finding.what) == ("fail", True)


@pytest.mark.parametrize(
    ("changes", "ours", "expected"),
    [
        ({}, [], "ok"),
        ({}, ["203.0.113.5", "10.0.0.7", "fe80::1"], "ok"),
        ({}, ["8.8.8.8"], "warn"),  # mail leaves from an address that the name does not name
        ({"helo_name": "localhost"}, [], "fail"),
        ({"helo_name": "broken.test"}, [], "warn"),  # nobody knows: no record is to be changed for it
        ({"helo_name": "nowhere.test"}, [], "fail"),
        ({"helo_name": "half.ours.test"}, [], "fail"),  # one of two addresses says another name
        ({"helo_name": "bare.ours.test"}, [], "fail"),  # no PTR at all
        ({"helo_name": "localhost", "smarthost": "relay.test:25"}, [], "skip"),
    ],
)
async def test_the_name_we_say(resolver: Resolver, changes: dict[str, Any], ours: list[str], expected: str) -> None:
    assert verdicts(await reach.check_helo(resolver, settings(**changes), ours)) == [expected]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [("bounces.test", "ok"), ("nospf.test", "warn"), ("twospf.test", "fail"), ("nowhere.test", "fail"), ("broken.test", "warn")],
)
async def test_the_return_path(resolver: Resolver, domain: str, expected: str) -> None:
    assert verdicts(await reach.check_return_path(resolver, settings(return_path_domain=domain))) == [expected]


def _key(selector: str, record: str = "v=DKIM1; k=rsa; p=AAAA", *, signing: bool = True) -> Any:
    return SimpleNamespace(name="shop.test", selector=selector, public_record=record, signing=signing)


async def test_published_keys(resolver: Resolver) -> None:
    assert verdicts(await reach.check_dkim(resolver, [])) == ["ok"]
    assert verdicts(await reach.check_dkim(resolver, [_key("one"), _key("none", signing=False), _key("lost")])) == ["warn"]
    assert verdicts(await reach.check_dkim(resolver, [_key("one"), _key("none", signing=False)])) == ["ok"]
    (finding,) = await reach.check_dkim(resolver, [_key("one"), _key("old"), _key("none")])
    assert finding.verdict == "fail"
    assert "2 of 3" in finding.what
    assert "old._domainkey.shop.test is another key; none._domainkey.shop.test is not published" in finding.what


@contextlib.asynccontextmanager
async def _web(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("days", "expected"), [(60, "ok"), (5, "warn"), (1, "fail"), (-1, "fail")])
async def test_certificates(tmp_path: Path, days: int, expected: str) -> None:
    authority, serving = a_certificate(tmp_path, "localhost", days)
    async with _web(b"", serving) as port:
        url = settings(public_url=f"https://localhost:{port}")
        assert verdicts(await reach.check_certificate(url, authority)) == [expected]
        assert verdicts(await reach.check_certificate(url)) == ["fail"], "nobody else trusts that authority"
    assert verdicts(await reach.check_certificate(url, authority)) == ["warn"], "nobody listens"
    assert verdicts(await reach.check_certificate(settings(public_url="http://mail.ours.test"))) == ["warn"]


@pytest.mark.parametrize(("ahead", "expected"), [(0, "ok"), (-10, "warn"), (10, "warn"), (-300, "fail"), (None, "skip")])
async def test_the_date_of_an_answer(ahead: int | None, expected: str) -> None:
    date = "" if ahead is None else f"Date: {email.utils.formatdate(time.time() - ahead, usegmt=True)}\r\n"
    async with _web(f"HTTP/1.1 200 OK\r\n{date}\r\n".encode()) as port:
        assert verdicts(await reach.check_far_clock(f"http://127.0.0.1:{port}")) == [expected]
    (finding,) = await reach.check_far_clock(f"http://127.0.0.1:{port}")
    assert (finding.verdict, "not compared" in finding.what) == ("skip", True)
