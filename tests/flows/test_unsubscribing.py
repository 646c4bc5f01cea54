"""A reader leaves a newsletter by the button of his mail program; the next issue does not go to him, his order confirmation does."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import dkim
import httpx2

from tests.flows.conftest import House, until
from tests.flows.test_order_confirmation import dkim_key

NEWS = {"stream": "bulk", "subject": "News", "html": "<p>News</p>", "text": "News", "tags": ["april"]}


async def received_by(house: House, address: str, number: int = 1) -> tuple[bytes, EmailMessage]:
    """The newest mail to an address, once there are so many."""

    def look() -> list[bytes]:
        return [raw for raw in house.sink.messages if message_from_bytes(raw)["to"] == address]

    raws = await until(look, lambda found: len(found) >= number)
    read: Any = message_from_bytes(raws[-1], policy=policy.default)
    return raws[-1], read


async def assert_sealed(house: House, raw: bytes, *fields: bytes) -> None:
    """The signature covers these fields: without one, or with a second one, it does not verify any more."""
    keys = await dkim_key(house)

    def is_verified(octets: bytes) -> bool:
        return bool(dkim.verify(octets, dnsfunc=lambda name, timeout=5: keys.get(name)))

    assert is_verified(raw)
    for field in fields:
        found = re.search(rb"^" + field + rb":[^\r]*\r\n(?:[ \t][^\r]*\r\n)*", raw, re.MULTILINE)
        assert found is not None, field
        assert not is_verified(raw.replace(found[0], b"")), field
    for field in (b"List-Unsubscribe", b"List-Unsubscribe-Post"):
        assert not is_verified(field + b": <https://evil.example/>\r\n" + raw)


def click(house: House, url: str) -> Any:
    """What a mail program does: no cookie, no key, no following."""
    path = url.removeprefix(house.settings.public_url)
    assert path.startswith("/u/")
    transport: Any = house.api._transport
    client = httpx2.AsyncClient(transport=transport, base_url="http://relay.test")
    return client.post(path, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)


async def test_one_click_ends_the_news_and_nothing_else(house: House) -> None:
    first = await house.send("ada@x.test", **NEWS)
    await house.until_states(first["id"], "delivered")
    raw, mail = await received_by(house, "ada@x.test")
    await assert_sealed(house, raw, b"List-Unsubscribe", b"List-Unsubscribe-Post", b"List-Id", b"Feedback-ID")
    assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert mail["list-id"] == "News <bulk.shop.example.test>"
    campaign, stream, account, sender = mail["feedback-id"].split(":")
    assert (campaign, stream, account) == ("april", "bulk", str(house.account_id))
    assert 5 <= len(sender) <= 15
    url = mail["list-unsubscribe"].strip("<>")

    answer = await click(house, url)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    second = await house.send(["Ada@x.test", "bob@x.test"], **NEWS)
    assert [(one["state"], one["reason"]) for one in second["recipients"]] == [("suppressed", "unsubscribe"), ("ready", None)]
    order = await house.send("ada@x.test")
    await house.until_states(order["id"], "delivered")
    await house.until_states(second["id"], "suppressed", "delivered")
    _, confirmation = await received_by(house, "ada@x.test", 2)
    assert confirmation["subject"] == "Your order"
    assert confirmation["list-unsubscribe"] is None
    assert confirmation["list-id"] is None
    assert confirmation["feedback-id"].startswith(":transactional:")
    assert [event["type"] for event in (await house.message(first["id"]))["timeline"]][-1] == "message.unsubscribed"


async def test_each_reader_has_a_link_of_his_own(house: House) -> None:
    sent = await house.send(["ada@x.test", "bob@x.test"], **NEWS)
    await house.until_states(sent["id"], "delivered", "delivered")
    urls = {message_from_bytes(raw)["list-unsubscribe"] for raw in house.sink.messages}
    assert len(urls) == 2
    await click(house, min(urls).strip("<>"))
    again = await house.send(["ada@x.test", "bob@x.test"], **NEWS)
    assert sorted(one["state"] for one in again["recipients"]) == ["ready", "suppressed"]


async def test_a_senders_own_way_to_leave_stays_the_only_one(house: House) -> None:
    own = "<https://shop.example.test/leave?u=1>, <mailto:leave@shop.example.test>"
    sent = await house.send("ada@x.test", **NEWS, headers={"List-Unsubscribe": own})
    await house.until_states(sent["id"], "delivered")
    raw, mail = await received_by(house, "ada@x.test")
    assert mail.get_all("list-unsubscribe") == [own]
    assert mail["list-unsubscribe-post"] is None
    await assert_sealed(house, raw, b"List-Unsubscribe")


async def test_a_verified_tracking_host_stands_in_the_link(house: House) -> None:
    asked = await house.api.put("/v1/domains/shop.example.test/tracking", json={"host": "click.shop.example.test"})
    assert asked.json()["tracking"]["verified_at"] is None
    house.dns.zones["click.shop.example.test"] = {"CNAME": "localhost"}
    house.api._transport.app.state.house.resolver.forget()  # type: ignore[attr-defined]
    asked = await house.api.put("/v1/domains/shop.example.test/tracking", json={"host": "click.shop.example.test"})
    assert asked.json()["problem"] is None
    sent = await house.send("ada@x.test", **NEWS)
    await house.until_states(sent["id"], "delivered")
    _, mail = await received_by(house, "ada@x.test")
    assert mail["list-unsubscribe"].startswith("<https://click.shop.example.test/u/")
