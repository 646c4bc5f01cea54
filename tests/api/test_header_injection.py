"""Nothing of a client's can begin a header line of its own: refused at the door, with a pointer to the field."""

from __future__ import annotations

import email
import email.policy
import json
from typing import Any

import pytest

from app.store.ids import parse_public_id
from app.store.messages import load_content

CHARACTERS = {
    "CR": "\r",
    "LF": "\n",
    "CRLF": "\r\n",
    "folded": "\r\n ",
    "NUL": "\0",
    "VT": "\v",
    "FF": "\f",
    "ESC": "\x1b",
    "DEL": "\x7f",
    "NEL": "\x85",
    "LINE SEPARATOR": "\u2028",
    "PARAGRAPH SEPARATOR": "\u2029",
    "half a pair": "\ud800",
}
# where → (fields of the message with {} for the hostile text, pointer)
PLACES: dict[str, tuple[Any, str]] = {
    "subject": ({"subject": "{}"}, "#/subject"),
    "from name": ({"from": {"email": "a@shop.example.test", "name": "{}"}}, "#/from/name"),
    "from text": ({"from": "{} <a@shop.example.test>"}, "#/from"),
    "from quoted": ({"from": '"{}" <a@shop.example.test>'}, "#/from"),
    "from address": ({"from": "a{}@shop.example.test"}, "#/from"),
    "from domain": ({"from": "a@shop{}.example.test"}, "#/from"),
    "to text": ({"to": "{} <ada@example.com>"}, "#/to"),
    "to address": ({"to": ["ada@example.com", "a{}b@example.com"]}, "#/to/1"),
    "to quoted local part": ({"to": '"a{}b"@example.com'}, "#/to"),
    "to name": ({"to": [{"email": "ada@example.com", "name": "{}"}]}, "#/to/0/name"),
    "to email": ({"to": [{"email": "ada{}@example.com"}]}, "#/to/0/email"),
    "cc name": ({"cc": {"email": "ada@example.com", "name": "{}"}}, "#/cc/name"),
    "bcc email": ({"bcc": [{"email": "ada@example{}.com"}]}, "#/bcc/0/email"),
    "reply_to": ({"reply_to": "{} <ada@example.com>"}, "#/reply_to"),
    "header value": ({"headers": {"X-A": "{}"}}, "#/headers/X-A"),
    "List-Unsubscribe": ({"headers": {"List-Unsubscribe": "<https://example.com/{}>"}}, "#/headers/List-Unsubscribe"),
    "file name": ({"attachments": [{"filename": "{}", "content": ""}]}, "#/attachments/0/filename"),
    "content type": (
        {"attachments": [{"filename": "a", "content": "", "content_type": "text/plain; name={}"}]},
        "#/attachments/0/content_type",
    ),
    "content id": ({"attachments": [{"filename": "a", "content": "", "content_id": "{}"}]}, "#/attachments/0/content_id"),
    "tag": ({"tags": ["{}"]}, "#/tags/0"),
    "metadata name": ({"metadata": {"{}": "a"}}, None),
    "header name": ({"headers": {"X-{}": "a"}}, None),
}


def _fill(template: Any, text: str) -> Any:
    if isinstance(template, str):
        return template.replace("{}", text)
    if isinstance(template, list):
        return [_fill(each, text) for each in template]
    return {_fill(name, text): _fill(value, text) for name, value in template.items()}


@pytest.mark.parametrize("place", PLACES)
async def test_no_control_character_reaches_a_header(shop: Any, count_rows: Any, place: str) -> None:
    template, pointer = PLACES[place]
    before = await count_rows()
    for name, character in CHARACTERS.items():
        fields = _fill(template, f"x{character}Bcc: eve@example.com")
        body = json.dumps(shop.message(**fields))  # in ASCII: httpx cannot write half a pair
        answer = await shop.client.post("/v1/messages", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (place, name, answer.text)
        pointers = [error["pointer"] for error in answer.json()["errors"]]
        assert any(each == pointer if pointer else each.startswith(("#/metadata", "#/headers")) for each in pointers), (name, pointers)
        assert "eve" not in answer.json()["detail"]
    assert await count_rows() == before


@pytest.mark.parametrize(
    "header",
    [
        *("Bcc", "bcc", "DKIM-Signature", "Received", "Return-Path", "Authentication-Results", "ARC-Seal", "Message-ID", "Date"),
        *("MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Sender", "From", "To", "Cc", "Subject", "Reply-To"),
        *("Resent-To", "X-Staffetta-Tenant", "Delivered-To", "DomainKey-Signature"),
        *("X Spaced", "X:Colon", "", "Ünicode", "X-Tab\t", "From ", " From"),
    ],
)
async def test_headers_that_a_client_may_not_set(shop: Any, header: str) -> None:
    answer = await shop.client.post("/v1/messages", json=shop.message(headers={header: "eve@example.com"}))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "invalid_header"


async def test_a_header_in_two_spellings_is_refused(shop: Any) -> None:
    twice = {
        "References": "<1@x.test>",
        "references": "<2@x.test>",
        "List-Unsubscribe": "<https://a.example>",
        "list-unsubscribe": "<https://b.example>",
    }
    answer = await shop.client.post("/v1/messages", json=shop.message(headers=twice))
    assert answer.status_code == 422
    told = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
    assert told == [("#/headers/references", "invalid_header"), ("#/headers/list-unsubscribe", "invalid_header")]


async def test_what_is_accepted_is_exactly_what_was_meant(shop: Any, house: Any) -> None:
    """The stored header block, read by another parser, has the fields of the message and no others."""
    accepted = await shop.send(
        to=[{"email": "ada@example.com", "name": 'Ada "Bcc: eve" Løvelace, Countess'}],
        cc="x@example.org",
        bcc="secret@example.net",
        subject="Größe: 10 € — Bcc: eve@example.com " * 20,
        headers={"X-Order": "1042", "List-Unsubscribe": "<https://example.com/u?" + "a" * 300 + ">"},
        attachments=[{"filename": 'Rechnung "März".pdf', "content": "YQ=="}],
    )
    message_id = parse_public_id("msg", accepted["id"])
    async with house.database.hot() as connection:
        purge_on = await connection.fetchval("SELECT purge_on FROM messages WHERE id = $1", message_id)
        ((_, _, head, body, *_),) = await load_content(connection, [shop.account_id], [message_id], purge_on)
    read = email.message_from_bytes(head + b"\r\n" + body, policy=email.policy.SMTP)
    names = ["From", "To", "Cc", "Subject", "Date", "Message-ID", "X-Order", "List-Unsubscribe", "MIME-Version", "Content-Type"]
    assert read.keys() == [*names, "Feedback-ID"]
    assert [str(each) for each in read["to"].addresses] == ['"Ada \\"Bcc: eve\\" Løvelace, Countess" <ada@example.com>']
    assert read["message-id"] == accepted["message_id"]
    assert b"secret@example.net" not in head + body
    assert [part.get_filename() for part in read.walk() if part.is_attachment()] == ['Rechnung "März".pdf']
    assert {each["kind"] for each in accepted["recipients"]} == {"to", "cc", "bcc"}
