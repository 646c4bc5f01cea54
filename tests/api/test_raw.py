"""POST /v1/messages/raw: who may, what it takes, what it answers."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from app.accounts.credentials import create_key
from app.store.ids import parse_public_id
from app.store.messages import load_content
from tests.api.conftest import client_of
from tests.mail.test_torture import BOMBS, HEAD

MAIL = b"From: Shop <orders@shop.example.test>\r\nTo: Ada <ada@example.com>\r\nCc: bob@example.com\r\n"
MAIL += b"Subject: Your order\r\n%b\r\nThank you.\r\n"


async def post(tenant: Any, raw: bytes, query: str = "", **headers: str) -> Any:
    given = {"Content-Type": "message/rfc822"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await tenant.client.post(f"/v1/messages/raw{query}", content=raw, headers=given)


async def content_of(house: Any, tenant: Any, accepted: dict[str, Any]) -> bytes:
    message_id = parse_public_id("msg", accepted["id"])
    async with house.database.hot() as connection:
        purge_on = await connection.fetchval("SELECT purge_on FROM messages WHERE id = $1", message_id)
        (found,) = await load_content(connection, [tenant.account_id], [message_id], purge_on)
    return found.head + b"\r\n" + found.body


async def test_its_own_header_is_the_envelope(shop: Any) -> None:
    answer = await post(shop, MAIL % b"Bcc: eve@example.com, ADA@example.com\r\n")
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert [(one["email"], one["kind"], one["state"]) for one in accepted["recipients"]] == [
        ("ada@example.com", "to", "ready"),
        ("bob@example.com", "cc", "ready"),
        ("eve@example.com", "bcc", "ready"),
    ]
    status = (await shop.client.get(f"/v1/messages/{accepted['id']}")).json()
    assert (status["subject"], status["from"], status["message_id"]) == ("Your order", "orders@shop.example.test", accepted["message_id"])


async def test_the_query_is_the_envelope(shop: Any, house: Any) -> None:
    answer = await post(shop, MAIL % b"Bcc: eve@example.com\r\n", "?to=bob@example.com&to=zo%C3%AB@example.com&to=bob@example.com")
    accepted = answer.json()
    assert [(one["email"], one["kind"]) for one in accepted["recipients"]] == [("bob@example.com", "cc"), ("zoë@example.com", "bcc")]
    stored = await content_of(house, shop, accepted)
    assert b"eve" not in stored
    assert b"To: Ada <ada@example.com>\r\nCc: bob@example.com\r\n" in stored


async def test_all_that_json_says_is_said_by_header(shop: Any) -> None:
    fields = b'X-Staffetta-Tag: a\r\nX-Staffetta-Metadata: {"order": "1042"}\r\nX-Staffetta-Send-At: 2027-01-01T00:00:00Z\r\n'
    accepted = (await post(shop, MAIL % fields)).json()
    status = (await shop.client.get(f"/v1/messages/{accepted['id']}")).json()
    assert (status["tags"], status["metadata"], status["send_at"]) == (["a"], {"order": "1042"}, "2027-01-01T00:00:00Z")
    assert {one["state"] for one in accepted["recipients"]} == {"scheduled"}


@pytest.mark.parametrize(
    ("raw", "query", "status", "pointers"),
    [
        (MAIL.replace(b"shop", b"rival") % b"", "", 403, ["#/headers/From"]),
        (MAIL % b"Sender: ceo@rival.example.test\r\n", "", 403, ["#/headers/Sender"]),
        (b"To: a@b.example\r\n\r\n", "", 422, ["#/headers/From"]),
        (MAIL % b"subject: again\r\n", "", 422, ["#/headers/subject"]),
        (MAIL % b"X-Staffetta-Stream: none\r\n", "", 422, ["#/headers/X-Staffetta-Stream"]),
        (MAIL % b"X-Staffetta-Expires-At: 2020-01-01T00:00:00Z\r\n", "", 422, ["#/headers/X-Staffetta-Expires-At"]),
        (MAIL % b"X-Staffetta-Odd: 1\r\nX-Staffetta-Track: 1\r\n", "", 422, ["#/headers/X-Staffetta-Odd", "#/headers/X-Staffetta-Track"]),
        (MAIL % b"X-Staffetta-Template: none\r\n", "", 422, ["#/headers/X-Staffetta-Template"]),
        (MAIL.replace(b"<ada@example.com>", b"<ada>") % b"", "", 422, ["#/headers/To"]),
        (b"From: orders@shop.example.test\r\n\r\nx", "", 422, ["#/headers/To"]),
        (MAIL % b"", "?to=ada", 422, ["?to"]),
        (MAIL % b"", "?to=", 422, ["?to"]),
        (MAIL % b"", "?to=a%0Ab@example.com", 422, ["?to"]),
        (MAIL % b"", "?to=%ff@example.com", 422, ["?to"]),
        (MAIL % b"", "?from=a@example.com", 422, ["?to"]),
        (MAIL % b"", "?" + "&".join(f"to=a{n}@example.com" for n in range(51)), 422, ["?to"]),
        (MAIL % b"", "?" + "&".join(f"to=a{n}@example.com" for n in range(200)), 422, ["?to"]),
        (MAIL % b"" + b"\0", "", 422, []),
        (MAIL % b"" + b"a" * 1024 * 1024, "", 413, []),
        (b"a" * (2 * 1024 * 1024 + 1), "", 413, []),
    ],
)
async def test_what_is_refused(shop: Any, count_rows: Any, raw: bytes, query: str, status: int, pointers: list[str]) -> None:
    before = await count_rows()
    answer = await post(shop, raw, query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [one["pointer"] for one in answer.json().get("errors", [])] == pointers
    assert await count_rows() == before


PART = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
ODD = {
    "charset that is no text": PART + b"Content-Type: text/html; charset=\xff\xfe\r\n\r\n<a href='https://a.example/'>a</a>",
    "boundary that is no text": PART + b"Content-Type: multipart/mixed; boundary=\xff\r\n\r\n--\xff\r\n\r\na\r\n--\xff--",
    "encoding that is no text": PART + b"Content-Type: text/html\r\nContent-Transfer-Encoding: \xff\r\n\r\na",
    "NUL within base64": PART
    + b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode(b"<a href='\0https://a.example/\0'>\0</a>\0"),
}


@pytest.mark.parametrize("name", [*BOMBS, *ODD])
async def test_mime_that_is_made_to_hurt(shop: Any, name: str) -> None:
    began = time.process_time()
    answer = await post(shop, HEAD + (BOMBS | ODD)[name], "?to=ada@example.com")
    assert time.process_time() - began < 2
    assert answer.status_code in (202, 413, 422), answer.text
    assert "traceback" not in answer.text.lower()
    if name in ODD:
        assert answer.status_code == 202, answer.text


async def test_it_must_be_called_a_mail(shop: Any) -> None:
    assert (await post(shop, MAIL % b"", Content_Type="application/json")).status_code == 415
    assert (await post(shop, MAIL % b"", Content_Type="message/rfc822; charset=utf-8")).status_code == 202
    assert (await post(shop, MAIL % b"", Content_Encoding="gzip")).status_code == 415


async def test_a_key_needs_the_scope(house: Any, shop: Any) -> None:
    async with house.database.transaction() as connection:
        _, token = await create_key(connection, house.keyring, shop.account_id, name="reader", scopes=["messages:read"])
    for given, status in ((token, 403), (None, 401)):
        async with client_of(house.app, given) as client:
            answer = await client.post("/v1/messages/raw", content=MAIL % b"", headers={"Content-Type": "message/rfc822"})
            assert answer.status_code == status


async def test_the_same_twice_is_one(shop: Any) -> None:
    first = await post(shop, MAIL % b"", Idempotency_Key="raw-1")
    again = await post(shop, MAIL % b"", Idempotency_Key="raw-1")
    by_header = await post(shop, MAIL % b"X-Staffetta-Idempotency-Key: raw-1\r\n")
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert by_header.status_code == 409
    assert (await post(shop, MAIL % b"", "?to=ada@example.com", Idempotency_Key="raw-1")).status_code == 409
    both = await post(shop, MAIL % b"X-Staffetta-Idempotency-Key: raw-2\r\n", Idempotency_Key="raw-3")
    assert both.status_code == 422
    kept = [await post(shop, MAIL % b"X-Staffetta-Idempotency-Key: raw-4\r\n") for _ in range(2)]
    assert kept[0].json()["id"] == kept[1].json()["id"]


async def test_a_template_gives_the_texts_and_the_mail_the_rest(shop: Any, house: Any) -> None:
    made = await shop.client.post("/v1/templates", json={"name": "raw-welcome", "subject": "Hi {{ name }}", "text": "Welcome, {{ name }}."})
    assert made.status_code == 201, made.text
    published = await shop.client.post(f"/v1/templates/{made.json()['id']}/publish", json={"version": 1})
    assert published.status_code in (200, 409), published.text
    fields = b'X-Staffetta-Template: raw-welcome\r\nX-Staffetta-Variables: {"name": "Ada"}\r\nX-Own: kept\r\nMIME-Version: 1.0\r\n'
    body = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nnot this\r\n--x\r\n"
        b"Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--x--\r\n"
    )
    answer = await post(shop, MAIL.partition(b"%b")[0].replace(b"Subject: Your order\r\n", b"") + fields + body)
    assert answer.status_code == 202, answer.text
    stored = await content_of(house, shop, answer.json())
    assert b"Subject: Hi Ada\r\n" in stored
    assert b"X-Own: kept\r\n" in stored
    assert b"Welcome, Ada." in stored and b"not this" not in stored
    assert b"JVBERg==" in stored
    assert stored.count(b"MIME-Version:") == 1
    assert stored.partition(b"\r\n\r\n")[0].count(b"Content-Type:") == 1
