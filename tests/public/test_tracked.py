"""Redirects and pixels at the door: by their tokens alone, nowhere else, and without the database."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from app.mail.tokens import MAC_PURPOSE, TokenKind, TokenWriter, encode_payload
from app.store.ids import new_message_id, recipient_id

URL = "https://shop.example/orders/1042"


def token(house: Any, kind: TokenKind, payload: str) -> str:
    key_id = house.keyring.current_id
    writer = TokenWriter(key_id, house.keyring.mac_key(MAC_PURPOSE, key_id), 1, recipient_id(new_message_id(1_790_000_000), 1))
    return writer.write(kind, [encode_payload(payload.encode())])[0].decode()


async def test_a_link_leads_to_what_its_token_says(reader: Any, house: Any) -> None:
    answer = await reader.get("/c/" + token(house, TokenKind.CLICK, URL), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, URL)
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example/", "/inside", "data:text/html,x", "https:evil", "ftp://x.example/", ""]
)
async def test_a_token_that_names_no_web_page_leads_nowhere(reader: Any, house: Any, url: str) -> None:
    answer = await reader.get("/c/" + token(house, TokenKind.CLICK, url), follow_redirects=False)
    assert (answer.status_code, "location" in answer.headers) == (404, False)


async def test_a_location_holds_no_line_ends(reader: Any, house: Any) -> None:
    answer = await reader.get("/c/" + token(house, TokenKind.CLICK, URL + "\r\nSet-Cookie: a=b"), follow_redirects=False)
    assert "set-cookie" not in answer.headers
    assert "\n" not in answer.headers.get("location", "")


async def test_a_pixel_is_a_picture_that_is_not_kept(reader: Any, house: Any) -> None:
    answer = await reader.get("/o/" + token(house, TokenKind.OPEN, "") + ".gif")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.content.startswith(b"GIF89a")
    assert "no-store" in answer.headers["cache-control"]


async def test_a_token_does_what_it_was_made_for_and_nothing_else(reader: Any, house: Any) -> None:
    click, opened = token(house, TokenKind.CLICK, URL), token(house, TokenKind.OPEN, "")
    unsubscribe = token(house, TokenKind.UNSUBSCRIBE, "https://evil.example/")
    for path in (f"/o/{click}.gif", f"/c/{opened}", f"/c/{unsubscribe}", f"/u/{click}"):
        assert (await reader.get(path, follow_redirects=False)).status_code == 404


async def test_ten_thousand_forged_and_altered_tokens_lead_nowhere(reader: Any, house: Any) -> None:
    chance = random.Random(10)
    true = token(house, TokenKind.CLICK, URL)
    foreign = encode_payload(b"https://evil.example/").decode()
    letters = string.ascii_letters + string.digits + "-_"
    for number in range(10_000):
        place = chance.randrange(len(true))
        forged = (
            true[:place] + chance.choice(letters) + true[place + 1 :],
            true[:32] + foreign + true[-12:],
            true[:32] + foreign + "".join(chance.choices(letters, k=12)),
            "".join(chance.choices(letters, k=chance.randrange(1, 120))),
            true[:place] + true[place + 1 :],
        )[number % 5]
        answer = await reader.get("/c/" + forged, follow_redirects=False)
        assert answer.status_code == 404 or (forged == true and answer.headers["location"] == URL), forged
