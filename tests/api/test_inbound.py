"""/v1/inbound-routes and /v1/inbound-messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app import store
from app.accounts.domains import add_domain, remove_domain
from app.accounts.inbound_routes import InboundRouteBook
from app.api.inbound_messages import InboundPage, ReadInboundMessage
from app.api.inbound_routes import InboundRoute, InboundRouteList
from app.feedback.erasure import erase
from app.feedback.inbound_reading import read_waiting
from app.resolver import Resolver
from app.store.inbound import NewInbound, Waiting
from tests.doubles.dns import DnsServer

MAIL = (
    b"From: Ada <ada@x.test>\r\nSubject: A cup\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nIt is broken.\r\n"
    b'--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename="a\\"b \xe2\x82\xac.html"\r\n\r\n<script>\r\n--b--\r\n'
)


async def receive(house: Any, account_id: int, raw: bytes = MAIL, *, sender: str = "ada@x.test", read: bool = True) -> str:
    """A mail that came in, and was read; its id as it is shown."""
    now = datetime.now(UTC)
    new = NewInbound(
        account_id, store.ids.new_message_id(), UUID(int=7), sender, "support@shop.example.test", "192.0.2.1", "mx.x.test", None,
        (now + timedelta(days=30)).date(), raw,
    )  # fmt: skip
    async with house.database.hot() as connection, connection.transaction():
        assert await store.inbound.insert_inbound(connection, new, store.ids.floor_of(now))
    while read:
        async with house.database.hot() as connection:
            waiting = await store.inbound.take_waiting(connection, 60)
        assert waiting is not None
        await read_one(house, waiting)
        read = waiting.id != new.id
    return store.ids.public_id("inb", new.id)


async def read_one(house: Any, waiting: Waiting) -> None:
    async with DnsServer({}) as dns:
        await read_waiting(house.database, Resolver([dns.address]), house.app.state.house.wakes, waiting)


async def create(tenant: Any, address: str) -> Any:
    return await tenant.client.post("/v1/inbound-routes", json={"address": address})


async def test_a_route_is_made_shown_listed_and_deleted(shop: Any, rival: Any) -> None:
    answer = await create(shop, "Support@Reply.Shop.Example.Test")
    assert answer.status_code == 201, answer.text
    made = InboundRoute.model_validate_json(answer.content)
    assert made.address == "support@reply.shop.example.test"
    every = await create(shop, "*@reply.shop.example.test")
    assert every.status_code == 201, every.text
    listed = InboundRouteList.model_validate_json((await shop.client.get("/v1/inbound-routes")).content)
    assert made in listed.inbound_routes
    assert (await shop.client.get(f"/v1/inbound-routes/{made.id}")).json() == answer.json()
    assert (await create(shop, "support@reply.shop.example.test")).status_code == 409
    for method in ("GET", "DELETE"):
        assert (await rival.client.request(method, f"/v1/inbound-routes/{made.id}")).status_code == 404
        assert (await shop.client.request(method, "/v1/inbound-routes/rte_x")).status_code == 404
    assert made.address not in (await rival.client.get("/v1/inbound-routes")).text
    for one in (made.id, every.json()["id"]):
        assert (await shop.client.delete(f"/v1/inbound-routes/{one}")).status_code == 204


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("x@rival.example.test", 403, "domain_not_owned"),
        ("x@sub.rival.example.test", 403, "domain_not_owned"),
        ("*@example.test", 403, "domain_not_owned"),
        ("x@shop.example.test.evil.test", 403, "domain_not_owned"),
        ("x@notshop.example.test", 403, "domain_not_owned"),
        ("no address", 422, "invalid_address"),
        ("*@", 422, "invalid_address"),
        ("*", 422, "invalid_address"),
        ("a@b@shop.example.test", 422, "invalid_address"),
        ("Support <support@shop.example.test>", 422, "invalid_address"),
        ("x\0@shop.example.test", 422, "invalid_address"),
        (7, 422, "wrong_type"),
    ],
)
async def test_what_is_no_address_of_the_account(shop: Any, rival: Any, address: Any, status: int, code: str) -> None:
    answer = await create(shop, address)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"], answer.json()["errors"][0]["code"]) == (status, "#/address", code)
    if status == 403:
        assert (answer.json()["code"], answer.json()["title"]) == ("domain_not_owned", "The domain is not one of the account's")


async def test_the_nearest_domain_decides_and_a_domain_that_goes_takes_its_routes(house: Any, shop: Any, rival: Any) -> None:
    assert (await create(shop, "*@near.shop.example.test")).status_code == 201
    book = InboundRouteBook(house.database)
    found = await book.find("x@near.shop.example.test")
    assert found is not None and found.account_id == shop.account_id
    async with house.database.transaction() as connection:
        await add_domain(connection, house.keyring, rival.account_id, "near.shop.example.test")
    assert await InboundRouteBook(house.database).find("x@near.shop.example.test") is None
    assert (await create(shop, "y@near.shop.example.test")).status_code == 403
    assert (await create(rival, "y@near.shop.example.test")).status_code == 201
    async with house.database.transaction() as connection:
        await remove_domain(connection, rival.account_id, "near.shop.example.test")
    assert (await rival.client.get("/v1/inbound-routes")).json()["inbound_routes"] == []


async def test_which_route_a_mailbox_goes_by(house: Any, shop: Any) -> None:
    ids = {name: (await create(shop, f"{name}@pick.shop.example.test")).json()["id"] for name in ("support", "support+vip", "*")}
    only = (await create(shop, "support@only.shop.example.test")).json()["id"]
    book = InboundRouteBook(house.database)
    for mailbox, route_id in (
        ("SUPPORT@pick.shop.example.test", ids["support"]),
        ("support+1001@pick.shop.example.test", ids["support"]),
        ("support+vip@pick.shop.example.test", ids["support+vip"]),
        ("anybody@pick.shop.example.test", ids["*"]),
        ("postmaster@pick.shop.example.test", ids["*"]),
        ("postmaster@only.shop.example.test", only),
        ("anybody@only.shop.example.test", None),
        ("support@deep.only.shop.example.test", None),
        ("postmaster@shop.example.test", None),
    ):
        found = await book.find(mailbox)
        assert (store.ids.public_id("rte", found.id) if found is not None else None) == route_id, mailbox


async def test_mail_is_listed_shown_and_downloaded_by_its_account_alone(house: Any, shop: Any, rival: Any) -> None:
    first, second = await receive(house, shop.account_id), await receive(house, shop.account_id)
    page = InboundPage.model_validate_json((await shop.client.get("/v1/inbound-messages?limit=1")).content)
    assert [one.id for one in page.inbound_messages] == [second] and page.next is not None
    after = InboundPage.model_validate_json((await shop.client.get(f"/v1/inbound-messages?cursor={page.next}&limit=1")).content)
    assert [one.id for one in after.inbound_messages] == [first]
    shown = ReadInboundMessage.model_validate_json((await shop.client.get(f"/v1/inbound-messages/{first}")).content)
    assert shown.content is not None and shown.content.reply_text == "It is broken."
    assert shown.envelope.from_ == "ada@x.test" and shown.authentication is not None

    file = await shop.client.get(f"/v1/inbound-messages/{first}/attachments/1")
    assert (file.content, file.headers["content-type"]) == (b"<script>", "application/octet-stream")
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22b%20%E2%82%AC.html"
    raw = await shop.client.get(f"/v1/inbound-messages/{first}/raw")
    assert (raw.content, raw.headers["x-content-type-options"]) == (MAIL, "nosniff")
    for path in ("", "/raw", "/attachments/1"):
        assert (await rival.client.get(f"/v1/inbound-messages/{first}{path}")).status_code == 404
    nowhere = (f"/{first}/attachments/2", f"/{first}/attachments/0", f"/{first}/attachments/x", "/inb_x", f"/{first.replace('inb', 'msg')}")
    for path in nowhere:
        assert (await shop.client.get(f"/v1/inbound-messages{path}")).status_code == 404
    assert first not in (await rival.client.get(f"/v1/inbound-messages?cursor={page.next}")).text
    assert (await shop.client.get("/v1/inbound-messages?cursor=x")).status_code == 422


async def test_what_is_not_read_yet_is_shown_as_that(house: Any, shop: Any) -> None:
    inbound_id = await receive(house, shop.account_id, read=False)
    shown = (await shop.client.get(f"/v1/inbound-messages/{inbound_id}")).json()
    assert (shown["state"], shown["content"], shown["authentication"], shown["email"]) == ("received", None, None, None)
    assert (await shop.client.get(f"/v1/inbound-messages/{inbound_id}/raw")).content == MAIL
    assert (await shop.client.get(f"/v1/inbound-messages/{inbound_id}/attachments/1")).status_code == 404


async def test_who_is_erased_is_taken_out_of_what_came_in(house: Any, shop: Any, rival: Any) -> None:
    kept = await receive(house, shop.account_id, MAIL.replace(b"ada@", b"eve@"), sender="eve@x.test")
    theirs = await receive(house, rival.account_id)
    waits = await receive(house, shop.account_id, read=False)
    gone = await receive(house, shop.account_id, sender="bounce+1@lists.test")
    assert (await erase(house.database, shop.account_id, "ADA@x.test")).inbound >= 2
    for inbound_id in (gone, waits):
        shown = await shop.client.get(f"/v1/inbound-messages/{inbound_id}")
        assert shown.json()["content"] is None and "ada" not in shown.text.lower() and "cup" not in shown.text
        assert (await shop.client.get(f"/v1/inbound-messages/{inbound_id}/raw")).status_code == 404
    told = await shop.client.get("/v1/events?types=inbound.received&limit=1000")
    assert "ada@x.test" not in told.text and gone in told.text
    assert (await shop.client.get(f"/v1/inbound-messages/{kept}")).json()["content"] is not None
    assert (await rival.client.get(f"/v1/inbound-messages/{theirs}")).json()["content"] is not None


async def test_what_nobody_could_read_is_handed_on(house: Any, shop: Any) -> None:
    inbound_id = await receive(house, shop.account_id, read=False)
    for _ in range(10):
        async with house.database.hot() as connection:
            waiting = await store.inbound.take_waiting(connection, -1)
        assert waiting is not None
        if waiting.takes > 3 and store.ids.public_id("inb", waiting.id) == inbound_id:
            await read_one(house, waiting)
            break
    shown = (await shop.client.get(f"/v1/inbound-messages/{inbound_id}")).json()
    assert (shown["state"], shown["content"]) == ("unreadable", None)
    assert (await shop.client.get(f"/v1/inbound-messages/{inbound_id}/raw")).content == MAIL
