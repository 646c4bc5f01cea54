"""Which names may be a domain's tracking host, and when one leads here."""

from __future__ import annotations

from typing import Any

import pytest

from app import store
from app.accounts.domains import DomainBook, add_domain, list_domains
from app.accounts.tracking_hosts import Seen, check_host, find_problem, look_at_host, public_host, set_tracking_host
from app.errors import Conflict, InvalidRequest, NotFound
from app.keyring import Keyring
from app.resolver import Resolver
from tests.doubles.dns import DnsServer

ZONES: dict[str, Any] = {
    "relay.test": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "alias.shop.test": {"CNAME": "relay.test"},
    "six.shop.test": {"AAAA": ["2001:0db8:0:0::1"]},
    "elsewhere.shop.test": {"A": ["192.0.2.9"]},
    "broken.shop.test": "SERVFAIL",
}


@pytest.mark.parametrize(
    ("host", "words", "passing"),
    [
        ("alias.shop.test", None, False),
        ("six.shop.test", None, False),
        ("elsewhere.shop.test", "must be an alias (CNAME) of relay.test", False),
        ("none.shop.test", "does not exist", False),
        ("broken.shop.test", "failed", True),
    ],
)
async def test_where_a_host_leads(host: str, words: str | None, passing: bool) -> None:
    async with DnsServer(ZONES) as server:
        problem = await find_problem(Resolver((server.address,)), host, "relay.test")
    if words is None:
        assert problem is None
    else:
        assert problem is not None and words in problem.text and problem.passing is passing


async def test_the_house_may_be_named_by_address() -> None:
    async with DnsServer(ZONES) as server:
        resolver = Resolver((server.address,))
        assert await find_problem(resolver, "alias.shop.test", "192.0.2.1") is None
        assert await find_problem(resolver, "elsewhere.shop.test", "192.0.2.1") is not None


@pytest.mark.parametrize(
    "host", ["shop.test", "click.other.test", "evilshop.test", "a b.shop.test", "", "click.shop.test/x", "*.shop.test"]
)
async def test_hosts_that_cannot_be_one(host: str) -> None:
    with pytest.raises(InvalidRequest):
        await look_at_host(Resolver(("127.0.0.1:1",)), "shop.test", host, "https://relay.test")


def test_a_host_is_kept_in_one_spelling() -> None:
    assert check_host("shop.test", " Click.SHOP.test. ") == "click.shop.test"
    assert public_host("https://Relay.test:8443/x") == "relay.test"


async def test_from_setting_to_use(database: store.db.Database, tmp_path: Any) -> None:
    keyring = Keyring.create(tmp_path / "keyring.json")
    async with database.transaction() as connection:
        ours, theirs = [await store.accounts.insert_account(connection, name) for name in ("ours", "theirs")]
        domain = await add_domain(connection, keyring, ours, "shop.test", ("ed25519-sha256",))
        await add_domain(connection, keyring, theirs, "sub.shop.test", ("ed25519-sha256",))
    async with DnsServer(ZONES) as server:
        resolver = Resolver((server.address,))
        bad, good, broken = [
            await look_at_host(resolver, "shop.test", f"{name}.shop.test", "https://relay.test")
            for name in ("elsewhere", "alias", "broken")
        ]

    async def use() -> str | None:
        return (await DomainBook(database, keyring).signing(domain.id)).tracking_host

    async def give(seen: Seen | None, account_id: int = ours, name: str = "shop.test") -> Any:
        async with database.transaction() as connection:
            return await set_tracking_host(connection, account_id, name, seen)

    assert (await give(bad)).verified_at is None
    assert await use() is None
    assert (await give(good)).verified_at is not None
    assert await use() == "alias.shop.test"
    # What cannot be looked up right now stays as it is; what was never seen is not used.
    assert (await give(Seen(good.host, broken.problem))).verified_at is not None
    assert (await give(broken)).verified_at is None
    await give(good)
    async with database.reading() as connection:
        ((_, records),) = await list_domains(connection, ours, "relay.test")
    assert (records[-1].type, records[-1].name, records[-1].value) == ("CNAME", "alias.shop.test", "relay.test.")
    with pytest.raises(NotFound):
        await give(good, theirs)
    with pytest.raises(Conflict):
        await give(good, theirs, "sub.shop.test")
    assert await give(None) is None
    assert await use() is None
