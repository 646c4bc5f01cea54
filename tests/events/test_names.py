"""Where the names of webhook receivers lead: nobody waits for another's name, and the hosts file holds."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from yarl import URL

from app.config import Settings
from app.events.egress import GuardedClient, client_of
from app.events.names import Names
from app.resolver import Resolver
from tests.doubles.dns import DnsServer
from tests.doubles.hooks import HookReceiver

ZONES = {"hooks.test": {"A": ["127.0.0.1"]}, "six.test": {"AAAA": ["::1"]}} | {f"dead{n}.test": "TIMEOUT" for n in range(20)}


def _settings(server: DnsServer) -> Settings:
    return Settings(webhook_allow_private=True, webhook_timeout_seconds=2.0, dns_servers=(server.address,))


async def test_names_whose_servers_are_silent_keep_no_other_waiting() -> None:
    async with DnsServer(ZONES) as server, HookReceiver() as hooks:
        client = client_of(_settings(server))
        silent = [asyncio.create_task(client.post(URL(f"http://dead{n}.test:{hooks.port}/"), b"{}", {})) for n in range(20)]
        await asyncio.sleep(0.1)
        answer = await client.post(URL(f"http://hooks.test:{hooks.port}/"), b"{}", {})
        assert answer.success, answer
        assert not any(task.done() for task in silent)
        # Nobody of the process waits for those names either: libc, which asyncpg asks, is not asked.
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 5432), 1)
        assert {(await task).status for task in silent} == {None}
        await client.close()


async def test_a_name_that_leads_nowhere_is_told_in_words() -> None:
    async with DnsServer(ZONES) as server:
        client = client_of(_settings(server))
        answer = await client.post(URL("http://nobody.test/"), b"{}", {})
        await client.close()
    assert answer.error == "nobody.test does not exist"


async def test_a_question_is_asked_once() -> None:
    async with DnsServer(ZONES) as server:
        names = Names(Resolver([server.address]))
        for _ in range(3):
            assert [(each["host"], each["family"]) for each in await names.resolve("Hooks.TEST.", 80)] == [("127.0.0.1", socket.AF_INET)]
        assert server.queries[("hooks.test", "A")] == 1
        assert [each["host"] for each in await names.resolve("six.test", 80)] == ["::1"]
        assert await names.resolve("six.test", 80, socket.AF_INET) == []


async def test_the_hosts_file_goes_before_dns_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# names\n192.0.2.7 inner.test hooks.test # both\nno-address hooks.test\n2001:db8::7 hooks.test\n", encoding="utf-8")
    async with DnsServer(ZONES) as server:
        names = Names(Resolver([server.address]), hosts_file=hosts)
        assert [each["host"] for each in await names.resolve("hooks.test", 80)] == ["192.0.2.7", "2001:db8::7"]
        assert [each["host"] for each in await names.resolve("localhost", 80)] == ["127.0.0.1", "::1"]
        hosts.unlink()
        assert [each["host"] for each in await names.resolve("hooks.test", 80)] == ["127.0.0.1"]
        with pytest.raises(OSError, match=r"inner\.test does not exist"):
            await names.resolve("inner.test", 80)


async def test_a_hosts_file_leads_nobody_inside(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 hooks.example.com\n", encoding="utf-8")
    client = GuardedClient(allow_private=False, timeout_seconds=2, resolver=Names(Resolver(), hosts_file=hosts))
    answer = await client.post(URL("http://hooks.example.com/"), b"{}", {})
    await client.close()
    assert answer.error is not None
    assert answer.error.startswith("refused: ")


async def test_in_development_a_receiver_on_this_machine_is_found_by_its_usual_names() -> None:
    client = client_of(Settings(webhook_allow_private=True))
    async with HookReceiver() as hooks:
        for host in ("127.0.0.1", "localhost", "hooks.localhost"):
            assert (await client.post(URL(f"http://{host}:{hooks.port}/"), b"{}", {})).success, host
    await client.close()
