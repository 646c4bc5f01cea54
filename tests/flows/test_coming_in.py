"""A customer answers a sent mail: it comes in by port 25, is read, told by webhook, and linked to what was sent."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import dkim
import pytest

from app import store
from app.accounts.credentials import ALL, Sender
from app.feedback import inbound_reading
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.mail.dkim import generate_signing_key
from app.store.ids import parse_public_id, public_id
from tests.flows.arriving import bring, port_25
from tests.flows.conftest import DOMAIN, House, other_account, until

REPLY = f"reply.{DOMAIN}"
ADDRESS = f"support@{REPLY}"
PDF = b"%PDF-1.4 \x00\xff picture of a broken cup"


@pytest.fixture
async def route(house: House) -> str:
    answer = await house.api.post("/v1/inbound-routes", json={"address": ADDRESS})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def an_answer(to_id: str, *, author: str = "Ada <ada@x.test>", fields: str = "", message_id: str = "<1@x.test>") -> bytes:
    """The octets of an answer with a file, as a mail program writes it."""
    file = base64.b64encode(PDF).decode()
    return (
        (
            f"From: {author}\nTo: Shop <{ADDRESS}>\nSubject: Re: Your =?utf-8?q?order_=E2=82=AC?=\nMessage-ID: {message_id}\n"
            f"Date: Mon, 5 Jan 2026 10:00:00 +0100\nIn-Reply-To: {to_id}\nReferences: {to_id}\n{fields}MIME-Version: 1.0\n"
            'Content-Type: multipart/mixed; boundary="m"\n\n'
            '--m\nContent-Type: multipart/alternative; boundary="a"\n\n'
            "--a\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
            "The cup is broken, schöne Grüße.\n\nOn Mon, 5 Jan 2026 at 09:00, Shop <orders@shop.example.test> wrote:\n> Thank you.\n\n"
            '--a\nContent-Type: text/html; charset=utf-8\n\n<p>The cup is broken</p><div class="gmail_quote">Thank you.</div>\n--a--\n'
            "--m\nContent-Type: application/pdf; name=cup.pdf\nContent-Transfer-Encoding: base64\n"
            f'Content-Disposition: attachment; filename="cup.pdf"\n\n{file}\n--m--\n'
        )
        .replace("\n", "\r\n")
        .encode()
    )


async def sent(house: House, **fields: Any) -> tuple[str, str, str]:
    """(id, Message-ID, recipient's id) of a sent message."""
    message = await house.send("ada@x.test", **fields)
    await house.until_states(message["id"], "delivered")
    rfc_id = (await house.message(message["id"]))["message_id"]
    return message["id"], f"<{rfc_id.strip('<>')}>", message["recipients"][0]["id"]


async def mails(house: House) -> list[dict[str, Any]]:
    answer = await house.api.get("/v1/inbound-messages")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["inbound_messages"]
    return found


async def read_mails(house: House, count: int = 1) -> list[dict[str, Any]]:
    """What came in, newest first, once so many are there and read."""
    found: list[dict[str, Any]] = await until(
        lambda: mails(house), lambda now: len(now) == count and all(one["state"] != "received" for one in now)
    )
    return found


async def test_a_customer_answers(house: House, route: str) -> None:
    assert (await house.api.post("/v1/webhooks", json={"url": house.hooks.url})).status_code == 201
    pem, record = generate_signing_key("rsa-sha256")
    zones: Any = house.dns.zones
    zones["x.test"] |= {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]}
    zones["k1._domainkey.x.test"] = {"TXT": [record]}
    zones["_dmarc.x.test"] = {"TXT": ["v=DMARC1; p=reject"]}
    message_id, rfc_id, recipient_id = await sent(house, metadata={"order": "1001"})
    raw = an_answer(rfc_id)
    raw = dkim.sign(raw, b"k1", b"x.test", pem, include_headers=[b"from", b"to"]) + raw
    async with port_25(house) as port:
        assert await bring(port, ADDRESS.upper(), raw, "ada@x.test") == (250, "2.0.0 Thank you")
        (mail,) = await read_mails(house)

    assert (mail["state"], mail["email"], mail["subject"], mail["route_id"]) == ("read", "ada@x.test", "Re: Your order €", route)
    assert mail["in_reply_to"] == {"message_id": message_id, "recipient_id": recipient_id}
    assert (mail["automatic"], mail["attachment_count"], mail["envelope"]["client_ip"]) == (False, 1, "127.0.0.1")
    seen = mail["authentication"]
    assert seen["spf"] == {"result": "pass", "domain": "x.test"}
    assert seen["dkim"]["signatures"] == [{"result": "pass", "domain": "x.test", "selector": "k1", "reason": ""}]
    assert seen["dmarc"] == {"result": "pass", "domain": "x.test", "policy": "reject"}

    content = (await house.api.get(f"/v1/inbound-messages/{mail['id']}")).json()["content"]
    assert content["reply_text"] == "The cup is broken, schöne Grüße."
    assert content["from"] == [{"email": "ada@x.test", "name": "Ada"}]
    assert "<p>The cup" in content["html"] and "Thank you." in content["text"]
    (file,) = content["attachments"]
    assert (file["name"], file["content_type"], file["size_bytes"]) == ("cup.pdf", "application/pdf", len(PDF))
    downloaded = await house.api.get(file["url"])
    assert downloaded.content == PDF
    assert downloaded.headers["content-type"] == "application/octet-stream"
    kept = (await house.api.get(f"/v1/inbound-messages/{mail['id']}/raw")).content
    assert kept.startswith(b"Return-Path: <ada@x.test>\r\nReceived: from mx.provider.example ([127.0.0.1])\r\n") and kept.endswith(raw)

    post = (await until(lambda: [p for p in house.hooks.posts if b'"inbound.received"' in p.body], bool))[0].json["data"]
    assert (post["message_id"], post["recipient_id"], post["email"]) == (None, None, None)
    facts = post["facts"]
    assert (facts["inbound_id"], facts["reply_text"], facts["truncated"]) == (mail["id"], content["reply_text"], [])
    assert (facts["authentication"], facts["in_reply_to"]) == (seen, mail["in_reply_to"])
    replied = (await until(lambda: [p for p in house.hooks.posts if b'"message.replied"' in p.body], bool))[0].json["data"]
    assert (replied["message_id"], replied["recipient_id"], replied["email"]) == (message_id, recipient_id, "ada@x.test")
    assert (replied["metadata"], replied["facts"]["reply_text"]) == ({"order": "1001"}, content["reply_text"])
    timeline = (await house.message(message_id))["timeline"]
    assert [event["type"] for event in timeline][-1] == "message.replied"


@pytest.mark.parametrize(
    ("spf", "dmarc", "expected"),
    [
        (["v=spf1 ip4:192.0.2.1 -all"], ["v=DMARC1; p=quarantine"], ("fail", "none", "fail", "quarantine")),
        ("SERVFAIL", ["v=DMARC1; p=none"], ("temperror", "none", "temperror", "none")),
        (["v=spf1 +all"], [], ("pass", "none", "none", None)),
        (["v=spf1 bad:term"], "SERVFAIL", ("permerror", "none", "temperror", None)),
    ],
)
async def test_who_it_is_from_is_judged_and_refuses_nothing(house: House, route: str, spf: Any, dmarc: Any, expected: Any) -> None:
    zones: Any = house.dns.zones
    zones["y.test"] = spf if isinstance(spf, str) else {"TXT": spf}
    zones["_dmarc.y.test"] = dmarc if isinstance(dmarc, str) else {"TXT": dmarc}
    async with port_25(house) as port:
        assert (await bring(port, ADDRESS, an_answer("<nobody@y.test>", author="bob@y.test"), "bob@y.test"))[0] == 250
        (mail,) = await read_mails(house)
    seen = mail["authentication"]
    assert (seen["spf"]["result"], seen["dkim"]["result"], seen["dmarc"]["result"], seen["dmarc"]["policy"]) == expected
    assert mail["in_reply_to"] is None


async def test_what_is_nobodys_is_refused_in_the_dialogue(house: House, route: str) -> None:
    async with port_25(house) as port:
        for to in (f"nobody@{REPLY}", f"support@{DOMAIN}", "ada@x.test", f"supportive@{REPLY}"):
            code, words = await bring(port, to, b"Subject: x\r\n\r\nx\r\n", "ada@x.test")
            assert (code, words[:5]) == (550, "5.1.1"), to
        for to in (f"support+1001@{REPLY}", f"postmaster@{REPLY}"):
            assert (await bring(port, to, b"Subject: x\r\n\r\nx\r\n", "ada@x.test"))[0] == 250, to
    assert len(await read_mails(house, 2)) == 2


async def test_an_account_sees_its_own_mail_alone(house: House, route: str) -> None:
    other = await other_account(house, "other", "other.example.test")
    assert (await house.api.post("/v1/inbound-routes", json={"address": "*@other.example.test"})).status_code == 403
    async with port_25(house) as port:
        assert (await bring(port, ADDRESS, an_answer("<x@y>"), "ada@x.test"))[0] == 250
        (mail,) = await read_mails(house)
    inbound_id = parse_public_id("inb", mail["id"])
    assert inbound_id is not None
    async with house.database.hot() as connection:
        assert await store.inbound.find_inbound(connection, other, inbound_id) is None
        assert await store.inbound.list_inbound(connection, other, None, 10) == []


async def test_a_mail_that_comes_twice_is_taken_once(house: House, route: str) -> None:
    async with port_25(house) as port:
        raw = an_answer("<x@y>")
        assert {(await bring(port, ADDRESS, raw, "ada@x.test"))[0] for _ in range(2)} == {250}
        at_once = await asyncio.gather(*(bring(port, ADDRESS, an_answer("<x@y>", message_id="<2@x.test>"), "") for _ in range(4)))
        assert {code for code, _ in at_once} == {250}
        # Without a Message-ID nothing says that they are the same.
        for _ in range(2):
            assert (await bring(port, ADDRESS, b"Subject: x\r\n\r\nx\r\n", "ada@x.test"))[0] == 250
        assert len(await read_mails(house, 4)) == 4


async def test_an_answer_to_a_mail_that_brought_its_message_id_is_linked(house: House, route: str) -> None:
    rival = await other_account(house, "rival", "rival.example.test")
    for account_id, domain in ((house.account_id, DOMAIN), (rival, "rival.example.test")):
        letter = f"From: a@{domain}\r\nTo: ada@x.test\r\nSubject: Invoice\r\nMessage-ID: <from-outlook@pc.local>\r\n\r\nThank you.\r\n"
        sender = Sender(account_id, "house", frozenset({ALL}))
        receipt = await house.intake.submit_raw(sender, RawSubmission(letter.encode(), f"a@{domain}", (EnvelopeRecipient("ada@x.test"),)))
        if account_id == house.account_id:
            ours = receipt
    async with port_25(house) as port:
        assert (await bring(port, ADDRESS, an_answer("<unknown@x.test> <from-outlook@pc.local>"), "ada@x.test"))[0] == 250
        (mail,) = await read_mails(house)
    recipient_id = public_id("rcp", ours.recipients[0].id)
    assert mail["in_reply_to"] == {"message_id": public_id("msg", ours.message_id), "recipient_id": recipient_id}


async def test_an_autoreply_is_linked_and_no_answer(house: House, route: str) -> None:
    message_id, rfc_id, recipient_id = await sent(house)
    async with port_25(house) as port:
        raw = an_answer(rfc_id, fields="Auto-Submitted: auto-replied\n")
        assert (await bring(port, ADDRESS, raw))[0] == 250
        (mail,) = await read_mails(house)
    assert (mail["automatic"], mail["in_reply_to"]["recipient_id"]) == (True, recipient_id)
    assert "message.replied" not in [event["type"] for event in (await house.message(message_id))["timeline"]]


async def test_mail_that_goes_in_circles_is_refused(house: House, route: str) -> None:
    async with port_25(house) as port:
        raw = b"Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\r\n" * 101 + b"Subject: x\r\n\r\nx\r\n"
        code, words = await bring(port, ADDRESS, raw, "ada@x.test")
        assert (code, words[:5]) == (554, "5.4.6")
    assert await mails(house) == []


async def test_without_a_database_the_host_comes_again(house: House, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with port_25(house) as port:
        with monkeypatch.context() as patch:
            patch.setattr(store.inbound_routes, "list_routes_at", _away)
            code, words = await bring(port, ADDRESS, an_answer("<x@y>"), "ada@x.test")
            assert (code, words[:5]) == (451, "4.3.0")
        with monkeypatch.context() as patch:
            patch.setattr(store.inbound, "insert_inbound", _away)
            code, words = await bring(port, ADDRESS, an_answer("<x@y>"), "ada@x.test")
            assert (code, words[:5]) == (451, "4.3.0")
        assert (await bring(port, ADDRESS, an_answer("<x@y>"), "ada@x.test"))[0] == 250
        await read_mails(house)


async def test_a_reader_that_dies_is_followed_by_another(house: House, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events and what was read are one transaction; what nobody can read is handed on as it came."""
    tries = 0

    async def die(*_: Any) -> None:
        nonlocal tries
        tries += 1
        raise OSError("killed")

    monkeypatch.setattr(inbound_reading, "TAKEN_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(inbound_reading, "record", die)
        async with port_25(house) as port:
            assert (await bring(port, ADDRESS, an_answer("<x@y>"), "ada@x.test"))[0] == 250
        await until(lambda: tries, lambda now: now >= 2)
        assert (await mails(house))[0]["state"] == "received"
    (mail,) = await read_mails(house)
    async with house.database.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE type = 'inbound.received'") == 1
        assert await connection.fetchval("SELECT count(*) FROM inbound_waiting") == 0
    assert mail["state"] in ("read", "unreadable")


async def _away(*_: Any) -> Any:
    raise OSError("the database is away")
