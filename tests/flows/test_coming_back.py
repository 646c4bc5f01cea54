"""Mail comes back to port 25 of the house: it is matched by its return path, and shows in history, feed and suppressions."""

from __future__ import annotations

import asyncio
import re
import smtplib
from base64 import encodebytes
from typing import Any
from uuid import UUID

import pytest

from app.mail.envelope import encode_return_path
from app.store.ids import parse_public_id
from tests.flows.arriving import bring, port_25
from tests.flows.conftest import House, until
from tests.mail.reports import feedback_report, letter, status_report

DEAD = "Final-Recipient: rfc822; ada@x.test\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 <ada@x.test>: user unknown"
FULL = "Final-Recipient: rfc822; ada@x.test\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 mailbox full"
ABUSE = "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 1"


def offers_of(port: int) -> set[str]:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo("mx.provider.example")
        return set(client.esmtp_features)


async def delivered(house: House, **fields: Any) -> tuple[str, str]:
    """(id of a delivered message, the return path that its mail has left with)."""
    before = len(house.sink.lines)
    message = await house.send("ada@x.test", **fields)
    await house.until_states(message["id"], "delivered")
    said = [re.search(rb"FROM:<(b-[^>]+)>", line) for line in house.sink.lines[before:]]
    return message["id"], next(found[1].decode() for found in said if found is not None)


async def newest(house: House, message_id: str) -> dict[str, Any]:
    event: dict[str, Any] = (await house.message(message_id))["timeline"][-1]
    return event


async def suppressions(house: House) -> list[tuple[str, str]]:
    found = (await house.api.get("/v1/suppressions")).json()["suppressions"]
    return [(one["stream"], one["reason"]) for one in found]


async def test_a_bounce_after_delivery_suppresses_a_dead_address(house: House) -> None:
    async with port_25(house) as port:
        message_id, path = await delivered(house)
        assert await bring(port, path.upper(), status_report(DEAD)) == (250, "2.0.0 Thank you")
        message = await house.message(message_id)
        (recipient,) = message["recipients"]
        assert (recipient["state"], recipient["last_reply"]) == ("bounced_late", "550 5.1.1 <ada@x.test>: user unknown")
        event = await newest(house, message_id)
        assert (event["type"], event["facts"]["late"], event["facts"]["class"]) == ("message.bounced", True, "invalid_mailbox")
        assert await suppressions(house) == [("*", "invalid_mailbox")]
        again = await house.send("ada@x.test")
        assert again["recipients"][0]["state"] == "suppressed"
        # The same once more is no second event.
        assert (await bring(port, path, status_report(DEAD)))[0] == 250
        assert len((await house.message(message_id))["timeline"]) == len(message["timeline"])


async def test_a_full_mailbox_bounces_and_suppresses_nothing(house: House) -> None:
    async with port_25(house) as port:
        message_id, path = await delivered(house)
        assert (await bring(port, path, status_report(FULL)))[0] == 250
        assert await house.states(message_id) == ["bounced_late"]
        assert await suppressions(house) == []


@pytest.mark.parametrize(
    "raw",
    [
        status_report(DEAD.replace("failed", "delayed").replace("5.1.1", "4.1.1")),
        letter("Out of office: your order", "I am away.\n", author="From: Ada <ada@x.test>", fields="Auto-Submitted: auto-replied\n"),
        letter("Re: your order", "Thank you, it has arrived!\n", author="From: Ada <ada@x.test>"),
        b"\0\r\r\n\xff",
    ],
    ids=["delay", "autoreply", "reply", "nonsense"],
)
async def test_what_is_no_bounce_changes_nothing(house: House, raw: bytes) -> None:
    async with port_25(house) as port:
        message_id, path = await delivered(house)
        assert (await bring(port, path, raw))[0] == 250
        assert await house.states(message_id) == ["delivered"]
        assert (await newest(house, message_id))["type"] == "message.delivered"


@pytest.mark.parametrize(("to_the_loop", "encoded"), [(False, False), (True, False), (True, True)])
async def test_a_complaint_ends_its_stream(house: House, to_the_loop: bool, encoded: bool) -> None:
    """To the return path, or to the address that a provider was told, with the reader's address taken out."""
    async with port_25(house) as port:
        message_id, path = await delivered(house, stream="bulk")
        original = f"Return-Path: <{path}>\nFrom: Shop <a@shop.example.test>\nTo: redacted\n\nNews\n"
        raw = feedback_report(ABUSE, original=encodebytes(original.encode()).decode() if encoded else original)
        if encoded:  # no host should (RFC 2046 §5.2.1), some do
            raw = raw.replace(b"message/rfc822", b"message/rfc822\r\nContent-Transfer-Encoding: base64")
        to = f"complaints@{house.settings.return_path_domain}" if to_the_loop else path
        assert (await bring(port, to, raw, "fbl@provider.example"))[0] == 250
        event = await newest(house, message_id)
        assert (event["type"], event["facts"]["stream"], event["facts"]["feedback_type"]) == ("message.complained", "bulk", "abuse")
        assert await suppressions(house) == [("bulk", "complaint")]
        assert (await house.send("ada@x.test", stream="bulk"))["recipients"][0]["state"] == "suppressed"
        assert (await house.send("ada@x.test"))["recipients"][0]["state"] == "ready"
        assert (await bring(port, to, raw))[0] == 250
        assert len([e for e in (await house.message(message_id))["timeline"] if e["type"] == "message.complained"]) == 1


async def test_a_wish_to_leave_by_mail(house: House) -> None:
    async with port_25(house) as port:
        message_id, path = await delivered(house, stream="bulk")
        raw = letter("unsubscribe", "unsubscribe\n", author="From: Ada <ada@x.test>")
        assert (await bring(port, path, raw, "ada@x.test"))[0] == 250
        event = await newest(house, message_id)
        assert (event["type"], event["facts"]["way"]) == ("message.unsubscribed", "mail")
        assert await suppressions(house) == [("bulk", "unsubscribe")]


async def test_who_is_away_leaves_nothing(house: House) -> None:
    """What programs write in their owners' names, and what must be told whatever its reader says."""
    away = letter(
        "Re: Unsubscribe confirmation for your account",
        "I am out of office\n",
        author="From: Ada <ada@x.test>",
        fields="Auto-Submitted: auto-replied\nIn-Reply-To: <1@shop.example.test>\n",
    )
    wish = letter("unsubscribe", "unsubscribe\n", author="From: Ada <ada@x.test>")
    async with port_25(house) as port:
        for stream, raw in (("bulk", away), ("transactional", away), ("transactional", wish)):
            message_id, path = await delivered(house, stream=stream)
            assert (await bring(port, path, raw, "ada@x.test"))[0] == 250
            assert (await newest(house, message_id))["type"] == "message.delivered"
        assert await suppressions(house) == []


async def test_what_the_house_did_not_make_is_refused_in_the_dialogue(house: House) -> None:
    async with port_25(house) as port:
        _, path = await delivered(house)
        domain = house.settings.return_path_domain
        forged = encode_return_path(house.account_id, UUID(int=7), domain, b"x" * 32)
        changed = path.replace(path[10], "a" if path[10] != "a" else "b", 1)
        elsewhere = f"{path.partition('@')[0]}@other.example"
        for to in (forged, changed, elsewhere, f"anybody@{domain}", f"postmaster@{domain}", "ada@x.test"):
            code, words = await bring(port, to, status_report(DEAD))
            assert (code, words[:5]) == (550, "5.1.1"), to
        assert "auth" not in await asyncio.to_thread(offers_of, port)


async def test_a_bounce_that_is_faster_than_our_books_comes_again(house: House) -> None:
    async with port_25(house) as port:
        house.sink.delay_seconds = 0.3
        message = await house.send("ada@x.test")
        recipient_id = parse_public_id("rcp", message["recipients"][0]["id"])
        assert recipient_id is not None
        key = house.keyring.mac_key("return-path")
        path = encode_return_path(house.account_id, recipient_id, house.settings.return_path_domain, key)
        code, words = await bring(port, path, status_report(DEAD))
        assert (code, words[:5]) == (451, "4.3.0")
        await house.until_states(message["id"], "delivered")
        assert (await bring(port, path, status_report(DEAD)))[0] == 250
        assert await house.states(message["id"]) == ["bounced_late"]


async def test_the_subscriber_is_told(house: House) -> None:
    answer = await house.api.post("/v1/webhooks", json={"url": house.hooks.url})
    assert answer.status_code == 201, answer.text
    async with port_25(house) as port:
        _, path = await delivered(house)
        assert (await bring(port, path, status_report(DEAD)))[0] == 250
        await until(lambda: [post for post in house.hooks.posts if b'"late":true' in post.body], bool)
