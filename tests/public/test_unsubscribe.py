"""Leaving a stream by its link, in one click and by the page; and everything that must not do it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import string
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from app.mail.tokens import MAC_PURPOSE, TokenKind, TokenWriter, encode_payload
from app.public.forms import MOST_BODY_BYTES, MOST_TRIES
from app.public.words import ENGLISH, FRENCH, GERMAN, ITALIAN, SPANISH, choose_words
from app.store.db import Database
from tests.public.conftest import text_of

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def rows(house: Any) -> tuple[int, int]:
    async with house.database.hot() as connection:
        return tuple(await connection.fetchrow("SELECT (SELECT count(*) FROM suppressions), (SELECT count(*) FROM events)"))


@pytest.mark.parametrize("form", [{"data": ONE_CLICK}, {"files": {name: (None, value) for name, value in ONE_CLICK.items()}}])
async def test_one_click_in_both_forms(shop: Any, reader: Any, send: Any, form: Any) -> None:
    mail = await send(shop, f"{'multi' if 'files' in form else 'encoded'}@one.test")
    answer = await reader.post(mail.unsubscribe, **form)
    assert answer.status_code == 200
    assert answer.history == []
    assert "set-cookie" not in answer.headers
    assert ENGLISH.left_title in text_of(answer)
    assert await mail.fate() == ("suppressed", "unsubscribe")
    assert await mail.fate("transactional") == ("ready", None)
    assert [kind for kind, _ in await mail.events()] == ["message.unsubscribed"]
    again = await reader.post(mail.unsubscribe, **form)
    assert again.status_code == 200
    assert await mail.events() == [
        ("message.unsubscribed", {"recipient": mail.address, "stream": "bulk", "way": "one_click"})
    ]  # twice is once
    shown = (await shop.client.get(f"/v1/suppressions/{mail.address}")).json()["suppressions"]
    assert [(one["stream"], one["recipient_id"], one["added_by"]) for one in shown] == [
        ("bulk", f"rcp_{mail.recipient_id.hex}", "recipient")
    ]


async def test_the_page_asks_does_and_takes_back(shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "page@one.test")
    asked = await reader.get(mail.unsubscribe)
    assert ENGLISH.leave_title in text_of(asked)
    assert mail.address in asked.text
    assert f'<p class="sender">orders@{shop.domain}</p>' in asked.text, "whose mail it is"
    assert await mail.fate() == ("ready", None)
    left = await reader.post(mail.unsubscribe, data={"leave": "1"})
    assert ENGLISH.left_title in text_of(left)
    assert await mail.fate() == ("suppressed", "unsubscribe")
    assert ENGLISH.left_title in text_of(await reader.get(mail.unsubscribe))
    joined = await reader.post(mail.unsubscribe, data={"again": "1"})
    assert ENGLISH.joined_title in text_of(joined)
    assert await mail.fate() == ("ready", None)
    assert [(kind, facts["way"]) for kind, facts in await mail.events()] == [
        ("message.unsubscribed", "page"),
        ("message.resubscribed", "page"),
    ]
    (lifted,) = (await shop.client.get(f"/v1/suppressions/{mail.address}")).json()["reactivations"]
    assert (lifted["reason"], lifted["lifted_by"]) == ("unsubscribe", "recipient")


async def test_it_is_stronger_than_the_accounts_word_and_weaker_than_a_receivers(shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "both@one.test")
    await shop.client.post("/v1/suppressions", json={"suppressions": [{"email": mail.address, "stream": "bulk"}]})
    await reader.post(mail.unsubscribe, data=ONE_CLICK)
    assert await mail.fate() == ("suppressed", "unsubscribe")
    await shop.client.post("/v1/suppressions", json={"suppressions": [{"email": mail.address, "reason": "invalid_mailbox"}]})
    await reader.post(mail.unsubscribe, data={"again": "1"})
    assert await mail.fate() == ("suppressed", "invalid_mailbox")


async def test_preferences_by_stream(shop: Any, rival: Any, reader: Any, send: Any) -> None:
    for name in ("weekly", "monthly"):
        body = {"name": name, "class": "bulk", "title": f"The {name} <b>", "description": "Five & more"}
        assert (await shop.client.post("/v1/streams", json=body)).status_code == 201
    mail = await send(shop, "prefers@one.test")
    shown = text_of(await reader.get(mail.preferences))
    assert re.findall(r'value="(\w+)" checked', shown) == ["bulk", "monthly", "weekly"]
    assert "The weekly &lt;b&gt;" in shown
    assert "transactional" not in shown
    saved = text_of(await reader.post(mail.preferences, data={"save": "1", "stream": ["weekly", "nothing", "transactional"]}))
    assert ENGLISH.chosen in saved
    assert re.findall(r'value="(\w+)" checked', saved) == ["weekly"]
    assert [(await mail.fate(name))[0] for name in ("bulk", "weekly", "monthly", "transactional")] == [
        "suppressed",
        "ready",
        "suppressed",
        "ready",
    ]
    await reader.post(mail.preferences, data={"save": "1", "stream": ["weekly", "bulk"]})
    assert [(await mail.fate(name))[0] for name in ("bulk", "weekly", "monthly")] == ["ready", "ready", "suppressed"]
    # Not the page's form: no box was seen, none was emptied.
    await reader.post(mail.preferences, data=ONE_CLICK)
    assert (await mail.fate("weekly"))[0] == "ready"
    assert (await rival.send(to=mail.address, stream="bulk"))["recipients"][0]["state"] == "ready"


async def test_looking_does_nothing(house: Any, shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "watched@one.test")
    before = await rows(house)
    for place in range(250):
        path = (mail.unsubscribe, mail.preferences)[place % 2]
        answers = [await reader.get(path), await reader.head(path)]
        assert [one.status_code for one in answers] == [200, 200]
    assert (await reader.options(mail.unsubscribe)).status_code == 405
    assert (await reader.put(mail.unsubscribe, data=ONE_CLICK)).status_code == 405
    assert await rows(house) == before
    assert await mail.fate() == ("ready", None)


async def test_ten_thousand_forged_tokens_do_nothing(house: Any, shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "forged@one.test")
    tokens = [mail.unsubscribe[3:], mail.preferences[3:]]
    chance = random.Random(8058)
    letters = string.ascii_letters + string.digits + "-_"
    before = await rows(house)
    for number in range(10_000):
        token = list(chance.choice(tokens))
        match number % 4:
            case 0:
                token[chance.randrange(len(token))] = chance.choice(letters + "=%.~é")
            case 1:
                del token[chance.randrange(1, len(token)) :]
            case 2:
                token = [chance.choice(letters) for _ in range(chance.randrange(1, 200))]
            case _:
                token.insert(chance.randrange(len(token)), chance.choice(letters))
        forged = "".join(token)
        if forged in tokens:
            continue
        answer = await reader.post(f"{chance.choice(('/u/', '/p/'))}{forged}", data=ONE_CLICK | {"save": "1"})
        assert answer.status_code == 404, forged
        if "/" in unquote(forged):  # a "%" before "2f": no path of ours
            assert answer.json()["code"] == "not_found", forged
        else:
            assert ENGLISH.unknown_title in text_of(answer), forged
        assert "location" not in answer.headers
    assert await rows(house) == before
    assert await mail.fate() == ("ready", None)


async def test_a_token_with_a_slash_in_it_is_no_path(shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "slash@one.test")
    answer = await reader.post(f"{mail.unsubscribe[:9]}%2f{mail.unsubscribe[9:]}", data=ONE_CLICK)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await mail.fate() == ("ready", None)


async def test_a_token_serves_its_own_kind_and_account(house: Any, shop: Any, rival: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "kinds@one.test")
    before = await rows(house)
    key = house.keyring.mac_key(MAC_PURPOSE)
    for kind in TokenKind:
        token = TokenWriter(1, key, shop.account_id, mail.recipient_id).write(kind, [encode_payload(b"bulk")])[0].decode()
        for path, own in (("/u/", TokenKind.UNSUBSCRIBE), ("/p/", TokenKind.PREFERENCES)):
            if kind is not own:
                assert (await reader.post(path + token, data=ONE_CLICK | {"save": "1"})).status_code == 404
    stranger = TokenWriter(1, key, rival.account_id, mail.recipient_id).write(TokenKind.UNSUBSCRIBE, [encode_payload(b"bulk")])[0].decode()
    assert (await reader.post(f"/u/{stranger}", data=ONE_CLICK)).status_code == 404
    assert await rows(house) == before


async def test_without_the_database_there_is_no_yes(house: Any, shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "away@one.test")
    inside = house.app.state.house
    away = Database("postgresql://127.0.0.1:1/none")
    house.app.state.house = replace(inside, database=away)
    try:
        for answer in (await reader.post(mail.unsubscribe, data=ONE_CLICK), await reader.get(mail.preferences)):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert ENGLISH.later_title in text_of(answer)
        assert (await reader.post("/u/forged", data=ONE_CLICK)).status_code == 404
    finally:
        house.app.state.house = inside
        await away.close()
    assert await mail.fate() == ("ready", None)


async def test_bodies_are_bounded_and_tries_counted(shop: Any, reader: Any, send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.public.forms.TRIES_SECONDS", 3600.0)  # so that none comes back while we count
    mail = await send(shop, "large@one.test")
    assert (await reader.post(mail.unsubscribe, content=b"x" * (MOST_BODY_BYTES + 1))).status_code == 413
    assert (await reader.post(mail.unsubscribe, data={str(n): "" for n in range(300)})).status_code == 400
    assert await mail.fate() == ("ready", None)
    answers = [await reader.post(mail.unsubscribe, data=ONE_CLICK) for _ in range(MOST_TRIES)]
    assert [one.status_code for one in answers[-3:]] == [200, 429, 429]
    assert "retry-after" in answers[-1].headers
    other = await send(shop, "other@one.test")
    assert (await reader.post(other.unsubscribe, data=ONE_CLICK)).status_code == 200


async def test_both_pages_at_once_leave_one_truth(shop: Any, reader: Any, send: Any) -> None:
    mail = await send(shop, "twice@one.test")
    answers = await asyncio.gather(
        *(reader.post(mail.unsubscribe, data=ONE_CLICK) for _ in range(8)),
        *(reader.post(mail.preferences, data={"save": "1"}) for _ in range(8)),
    )
    assert {one.status_code for one in answers} == {200}
    assert await mail.fate() == ("suppressed", "unsubscribe")
    streams = [facts["stream"] for _, facts in await mail.events()]
    assert len(streams) == len(set(streams))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", ENGLISH),
        ("it", ITALIAN),
        ("de-AT,de;q=0.9,en;q=0.8", GERMAN),
        ("ja, fr;q=0.4, es;q=0.6", SPANISH),
        ("en;q=0, fr-CA;q=0.1", FRENCH),
        ("xx;q=a, ;;,=", ENGLISH),
        ("de;q=nan", ENGLISH),
        (",".join(["ja"] * 10_000), ENGLISH),
    ],
)
def test_the_language_is_the_readers(header: str, words: Any) -> None:
    assert choose_words(header) is words


@pytest.mark.parametrize("words", [ENGLISH, ITALIAN, GERMAN, FRENCH, SPANISH])
async def test_pages_load_nothing_and_tell_nobody(shop: Any, reader: Any, send: Any, words: Any) -> None:
    mail = await send(shop, f"{words.language}@lang.test")
    for path in (mail.unsubscribe, mail.preferences, "/u/nothing"):
        answer = await reader.get(path, headers={"accept-language": words.language})
        html = text_of(answer)
        assert answer.headers["content-language"] == words.language
        assert f'<html lang="{words.language}">' in html
        assert not re.search(r"<script|https?://|<img|<link|onclick|url\(", html)
        style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        policy = answer.headers["content-security-policy"]
        assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
        assert "noindex" in answer.headers["x-robots-tag"]


async def test_titles_are_text_on_the_page(shop: Any, reader: Any, send: Any) -> None:
    body = {"name": "odd", "class": "bulk", "title": "<script>{address}{0}%s</script>"}
    assert (await shop.client.post("/v1/streams", json=body)).status_code == 201
    mail = await send(shop, "odd@one.test", "odd")
    html = text_of(await reader.get(mail.unsubscribe))
    assert "&lt;script&gt;{address}{0}%s&lt;/script&gt;" in html
