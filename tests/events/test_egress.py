"""The egress guard: whatever a URL or a name server says, nothing inside is connected."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.events.egress import EgressError, Guard, GuardedClient, read_own_networks
from app.events.names import Names
from app.events.urls import check_url
from app.ip import refusal_of
from app.resolver import Resolver
from tests.doubles.dns import DnsServer
from tests.doubles.hooks import HookReceiver, Rule
from tests.doubles.sink_cli import self_signed

CASES = Path(__file__).parent / "cases"


def _read(name: str) -> list[str]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]


LITERALS = _read("inside_hosts.txt")
ANSWERS = _read("inside_answers.txt")

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450:4001::1"]


class ScriptedResolver(AbstractResolver):
    """Answers in turn, the last for ever; counts what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=a,
                port=port,
                family=socket.AF_INET6 if ":" in a else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for a in answer
        ]

    async def close(self) -> None:
        return None


class Listener:
    """A socket on every address of this machine, IPv4 and IPv6, that counts who connects."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.connects = 0

    async def count(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self.socket)
            self.connects += 1
            connection.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    counting = Listener()
    task = asyncio.create_task(counting.count())
    await asyncio.sleep(0)
    yield counting
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    counting.socket.close()


@pytest.fixture
async def any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the guard judge addresses alone: the listener's port is neither 80 nor 443."""
    monkeypatch.setattr("app.events.egress.PORTS", frozenset(range(65536)))


def test_the_tables_are_long_enough() -> None:
    assert len(set(LITERALS)) >= 215
    assert len(set(ANSWERS)) >= 20


@pytest.mark.parametrize("asks", ["libc", "our own"])
async def test_no_spelling_of_an_inside_address_is_connected(listener: Listener, any_port: None, asks: str) -> None:
    """Libc reads more spellings of addresses than anybody; ours is what is used."""
    async with DnsServer({}) as server:
        names = aiohttp.ThreadedResolver() if asks == "libc" else Names(Resolver([server.address]))
        await _try_literals(GuardedClient(allow_private=False, timeout_seconds=5, resolver=names), listener)


async def _try_literals(client: GuardedClient, listener: Listener) -> None:
    tried = 0
    for host in LITERALS:
        try:
            url = URL(f"http://{host}:{listener.port}/hook")
        except ValueError:
            continue
        tried += 1
        answer = await client.post(url, b"{}", {})
        assert answer.status is None, host
    await client.close()
    assert tried >= 215
    await asyncio.sleep(0.05)
    assert listener.connects == 0
    # The listener counts: without the guard the first of them is connected.
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await reader.read()
    writer.close()
    assert listener.connects == 1


@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_answer_of_a_name_server_leads_inside(listener: Listener, any_port: None, answer: str) -> None:
    client = GuardedClient(allow_private=False, timeout_seconds=5, resolver=ScriptedResolver([answer]))
    result = await client.post(URL(f"http://hooks.example.com:{listener.port}/"), b"{}", {})
    await client.close()
    assert result.status is None
    assert "refused: " in (result.error or "")
    assert listener.connects == 0


async def test_a_mixture_of_answers_connects_none_of_the_inside_ones(listener: Listener, any_port: None) -> None:
    client = GuardedClient(allow_private=False, timeout_seconds=5, resolver=ScriptedResolver(ANSWERS))
    result = await client.post(URL(f"http://hooks.example.com:{listener.port}/"), b"{}", {})
    await client.close()
    assert result.status is None
    assert listener.connects == 0


async def test_a_name_that_changes_its_answer_is_judged_when_it_is_connected(listener: Listener, any_port: None) -> None:
    """Rebinding: public when the URL is registered, loopback when it is used."""
    url = check_url("https://rebind.example.com/")
    client = GuardedClient(allow_private=False, timeout_seconds=5, resolver=ScriptedResolver(["127.0.0.1"], ["::1"], ["0.0.0.0"]))
    for _ in range(4):
        assert (await client.post(URL(url).with_scheme("http").with_port(listener.port), b"{}", {})).status is None
    await client.close()
    assert listener.connects == 0


async def test_no_place_that_a_redirect_names_is_connected(listener: Listener, any_port: None) -> None:
    """Whatever stands in Location: the answer is a failure, and nothing else happens."""
    client = GuardedClient(allow_private=True, timeout_seconds=5)
    rule = Rule("307")
    async with HookReceiver([rule]) as hooks:
        for host in LITERALS:
            rule.location = f"http://{host}:{listener.port}/".encode("ascii", "ignore").decode()
            assert (await client.post(URL(hooks.url), b"{}", {})).status == 307
    await client.close()
    assert listener.connects == 0


async def test_redirects_are_answers_and_never_followed(listener: Listener) -> None:
    client = GuardedClient(allow_private=True, timeout_seconds=5)
    for status in ("301", "302", "303", "307", "308"):
        rule = Rule(status, location=f"http://127.0.0.1:{listener.port}/inside")
        async with HookReceiver([rule]) as hooks:
            answer = await client.post(URL(hooks.url), b"{}", {})
            assert answer.status == int(status)
            assert not answer.success
    await client.close()
    assert listener.connects == 0


@pytest.mark.parametrize("port", [22, 25, 6379, 5432, 8080, 11211])
async def test_other_ports_are_refused_on_public_addresses(port: int) -> None:
    with pytest.raises(EgressError, match="port"):
        Guard(allow_private=False)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", port)))


def test_public_addresses_pass() -> None:
    for address in PUBLIC:
        assert refusal_of(address) is None, address
    with Guard(allow_private=False)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443))) as made:
        assert made.family == socket.AF_INET


def test_the_servers_own_addresses_and_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal_of("1.1.1.77", own_networks=[ipaddress.ip_network("1.1.1.0/24")]) is not None
    assert refusal_of("1.1.2.77", own_networks=[ipaddress.ip_network("1.1.1.0/24")]) is None
    # Loopback stands in for a public address of this machine: the kernel would choose it as source too.
    monkeypatch.setattr("app.events.egress.refusal_of", lambda *_args, **_options: None)
    with pytest.raises(EgressError, match="this server itself"):
        Guard(allow_private=False)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443)))
    assert all(network.prefixlen >= 8 for network in read_own_networks())


def test_development_lifts_private_addresses_but_not_metadata_servers() -> None:
    for address in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd12::1", "::ffff:127.0.0.1"):
        assert refusal_of(address, allow_private=True) is None, address
    for address in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "2002:a9fe:a9fe::",
        "2001:0:808:808::5601:5601",
        "2001:db8::5efe:a9fe:a9fe",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "224.0.0.1",
        "0.0.0.0",
        "::",
    ):
        assert refusal_of(address, allow_private=True) is not None, address


@pytest.mark.parametrize("host", LITERALS)
def test_a_url_with_such_a_host_is_refused_when_it_is_registered(host: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_url(f"https://{host}/hook")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "javascript:alert(1)",
        "//hooks.example.com/",
        "https:///path",
        "https://",
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com:8443/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com/#part",
        "hooks.example.com",
        "https://intranet/",
        "https://db.internal/",
        "https://printer.local/",
        "https://nas.lan/",
        "https://router.home.arpa/",
        "https://a\\b.example.com/",
        "https://127.0.0.1\\@hooks.example.com/",
        "https://[::1/",
        "https://hooks.example.com\x00/",
        "https://hooks.example.com\x7f/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com/" + "a" * 2100,
        "",
        " ",
    ],
)
def test_what_is_no_webhook_url_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_url(url)


def test_good_urls_are_kept() -> None:
    assert check_url("https://hooks.example.com/path?key=%20value") == "https://hooks.example.com/path?key=%20value"
    assert check_url("https://hooks.example.com:443/") == "https://hooks.example.com/"
    assert check_url("https://münchen.example/x") == "https://xn--mnchen-3ya.example/x"
    assert check_url("http://127.0.0.1:9000/hook", allow_private=True) == "http://127.0.0.1:9000/hook"
    assert check_url("https://1.1.1.1/hook") == "https://1.1.1.1/hook"


async def test_an_unverified_certificate_is_a_failure() -> None:
    client = GuardedClient(allow_private=True, timeout_seconds=5)
    async with HookReceiver(tls=self_signed("hooks.test")) as hooks:
        answer = await client.post(URL(hooks.url), b"{}", {})
    await client.close()
    assert answer.status is None
    assert "certificate" in (answer.error or "").lower()
    assert hooks.posts == []


async def test_tls_is_verified_against_the_name() -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = True
    server = self_signed("hooks.test")
    client = GuardedClient(allow_private=True, timeout_seconds=5, tls_context=trusting, resolver=ScriptedResolver(["127.0.0.1"]))
    async with HookReceiver(tls=server) as hooks:
        answer = await client.post(URL(f"https://other.test:{hooks.port}/"), b"{}", {})
    await client.close()
    assert answer.status is None


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (Rule("huge", size=1 << 26), 200),
        (Rule("drip", seconds=0.05), 200),
        (Rule("inflate"), 200),
        (Rule("500", body="x" * 1_000_000), 500),
        (Rule("204"), 204),
        (Rule("hang"), None),
        (Rule("drop"), None),
        (Rule("garbage"), None),
        (Rule("endless", seconds=0.01), None),
    ],
    ids=lambda value: value.answer if isinstance(value, Rule) else str(value),
)
async def test_odd_answers_are_bounded_in_size_and_time(rule: Rule, status: int | None) -> None:
    client = GuardedClient(allow_private=True, timeout_seconds=3)
    async with HookReceiver([rule]) as hooks:
        began = time.monotonic()
        answer = await client.post(URL(hooks.url), b"{}", {})
        assert time.monotonic() - began < 4
        assert answer.status == status
        assert len(answer.excerpt) <= 300
    await client.close()


async def test_the_environments_proxy_and_cookies_are_not_used(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    client = GuardedClient(allow_private=True, timeout_seconds=5)
    async with HookReceiver() as hooks:
        assert (await client.post(URL(hooks.url), b"{}", {})).success
        assert "cookie" not in hooks.posts[0].headers
    await client.close()
    assert listener.connects == 0
