"""A reader opens a mail and follows a link of it; the shop is told, and can tell people from machines."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import Any

import dkim
import httpx2

from tests.flows.conftest import House, until
from tests.flows.test_order_confirmation import dkim_key

HTML = """<html><body><p>Grazie, Ada.</p>
<a href="https://shop.example/orders/1042?from=mail&amp;x=1">Il tuo ordine</a>
<a href="https://shop.example/terms" data-staffetta-track="off">Condizioni</a>
<a href="mailto:help@shop.example">Scrivici</a></body></html>"""
PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"}
SCANNER = {"User-Agent": "Barracuda Sentinel (EE)"}


def reader_of(house: House) -> httpx2.AsyncClient:
    """A mail program: without key, cookie or following."""
    transport: Any = house.api._transport
    return httpx2.AsyncClient(transport=transport, base_url="http://relay.test")


async def html_received(house: House, number: int = 1) -> str:
    await until(lambda: len(house.sink.messages), lambda count: count >= number)
    raw = house.sink.messages[-1]
    keys = await dkim_key(house)
    assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
    mail: Any = message_from_bytes(raw, policy=policy.default)
    found: str = mail.get_body(("html",)).get_content()
    return found


def tracked_paths(house: House, html: str) -> tuple[list[str], list[str]]:
    base = re.escape(house.settings.public_url)
    return re.findall(rf'href="{base}(/c/[\w-]+)"', html), re.findall(rf'src="{base}(/o/[\w-]+\.gif)"', html)


async def told(house: House, kind: str, number: int) -> list[Any]:
    async def look() -> list[Any]:
        return [e for e in (await house.api.get("/v1/events")).json()["events"] if e["type"] == kind]

    return list(await until(look, lambda found: len(found) >= number))


async def test_opens_and_clicks_are_told_with_who_did_them(house: House) -> None:
    sent = await house.send("ada@x.test", html=HTML)
    await house.until_states(sent["id"], "delivered")
    html = await html_received(house)
    (click,), (pixel,) = tracked_paths(house, html)
    assert '<a href="https://shop.example/terms" data-staffetta-track="off">' in html
    assert "mailto:help@shop.example" in html
    assert html.index("/o/") < html.index("</body>")

    reader = reader_of(house)
    scanned = await reader.get(click, headers=SCANNER, follow_redirects=False)
    assert scanned.headers["location"] == "https://shop.example/orders/1042?from=mail&x=1"
    await told(house, "message.clicked", 1)
    assert (await reader.head(click, headers=PERSON)).status_code == 302
    for path, kind, number in ((pixel, "message.opened", 1), (click, "message.clicked", 2), (click, "message.clicked", 3)):
        await reader.get(path, headers=PERSON, follow_redirects=False)
        await told(house, kind, number)
    opened = await told(house, "message.opened", 1)
    clicked = await told(house, "message.clicked", 3)
    assert [(e["facts"]["by"], e["facts"]["first"]) for e in opened] == [("person", True)]
    assert [(e["facts"]["by"], e["facts"]["first"]) for e in clicked] == [("machine", False), ("person", True), ("person", False)]
    assert clicked[0]["facts"]["machine_reason"] == "agent"
    assert {e["facts"]["url"] for e in clicked} == {"https://shop.example/orders/1042?from=mail&x=1"}
    timeline = [event["type"] for event in (await house.message(sent["id"]))["timeline"]]
    assert timeline.count("message.clicked") == 3


async def test_each_recipient_has_tokens_of_his_own(house: House) -> None:
    sent = await house.send(["ada@x.test", "bob@x.test"], html=HTML)
    await house.until_states(sent["id"], "delivered", "delivered")
    bodies = {raw.partition(b"\r\n\r\n")[2] for raw in house.sink.messages}
    assert len(bodies) == 2


async def test_a_message_and_a_stream_can_go_untracked(house: House) -> None:
    await house.send("ada@x.test", html=HTML, track={"opens": False, "clicks": False})
    assert tracked_paths(house, await html_received(house)) == ([], [])
    await house.send("ada@x.test", html=HTML, track={"opens": False})
    clicks, pixels = tracked_paths(house, await html_received(house, 2))
    assert (len(clicks), pixels) == (1, [])
    answer = await house.api.patch("/v1/streams/transactional", json={"track_clicks": False})
    assert answer.status_code == 200, answer.text
    await house.send("ada@x.test", html=HTML)
    clicks, pixels = tracked_paths(house, await html_received(house, 3))
    assert (clicks, len(pixels)) == ([], 1)
