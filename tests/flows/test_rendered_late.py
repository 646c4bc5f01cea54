"""Mail of batches and bulk streams that names a template: accepted as variables, made to mail when it is delivered."""

from __future__ import annotations

import base64
import copy
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import dkim
import orjson
import pytest

from app import store
from app.delivery import contents, filling
from app.errors import Unavailable
from app.rendering.pool import Pool, RenderEnded
from app.store.messages import pack_body
from tests.bench.confirmation import VARIABLES
from tests.doubles.sink_script import Script
from tests.flows.conftest import DOMAIN, House, until
from tests.flows.test_opened_and_clicked import PERSON, reader_of, told, tracked_paths
from tests.flows.test_order_confirmation import dkim_key
from tests.flows.test_stored_template import store_confirmation

UNTRACKED = {"opens": False, "clicks": False}
# Assignments are not proven: such a set is rendered by a limited process.
UNPROVEN = "{% set greeting = 'Ciao ' ~ name %}<p>{{ greeting }}</p>"


def read(raw: bytes) -> EmailMessage:
    mail: Any = message_from_bytes(raw, policy=policy.default)
    return mail  # type: ignore[no-any-return]


def text_of(mail: EmailMessage, kind: str) -> str:
    part: Any = mail.get_body((kind,))
    return str(part.get_content())


def soon(seconds: float = 1.5) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def post_batch(house: House, items: list[dict[str, Any]]) -> list[str]:
    """Accepted mail; untracked unless told otherwise: tokens are each recipient's own."""
    messages = [{"from": f"Bottega <ordini@{DOMAIN}>", "to": "ada@x.test", "track": UNTRACKED} | item for item in items]
    answer = await house.api.post("/v1/messages/batch", json={"messages": messages})
    assert answer.status_code == 202, answer.text
    return [result["id"] for result in answer.json()["results"]]


async def a_template(house: House, name: str = "hello", **source: Any) -> str:
    body = {"name": name, "subject": "Ciao {{ name }}", "html": "<p>Ciao {{ name }}</p>", "publish": True} | source
    answer = await house.api.post("/v1/templates", json=body)
    assert answer.status_code == 201, answer.text
    return name


async def fetch(house: House, query: str, *arguments: Any) -> list[Any]:
    async with house.database.hot() as connection:
        return list(await connection.fetch(query, *arguments))


def order_of(number: int) -> dict[str, Any]:
    """Variables that are one order's alone: so many items, amounts and names."""
    variables = copy.deepcopy(VARIABLES)
    variables["customer"]["name"] = f"Cliente {number}"
    variables["order"] |= {"number": f"2026-{number}", "total": 1000 + number + 0.5}
    del variables["order"]["items"][1 + number % 10 :]
    return variables


async def test_a_batch_in_italian_each_with_its_own_order(house: House) -> None:
    await store_confirmation(house)
    items = [{"template": "order", "locale": "it_IT", "variables": order_of(n), "to": f"c{n}@x.test"} for n in range(50)]
    ids = await post_batch(house, items)
    for one in ids:
        await house.until_states(one, "delivered")

    keys = await dkim_key(house)
    assert len(house.sink.messages) == 50
    for raw in house.sink.messages:
        assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
        mail = read(raw)
        number = int(str(mail["to"]).removeprefix("c").removesuffix("@x.test"))
        html, text = text_of(mail, "html"), text_of(mail, "plain")
        assert mail["subject"] == f"Conferma dell'ordine 2026-{number}"
        assert mail["message-id"] == f"<{ids[number].removeprefix('msg_')}@{DOMAIN}>"
        assert f"Grazie, Cliente {number}!" in html
        assert f"{1000 + number:,}".replace(",", ".") + ",50\xa0€" in html
        assert html.count("<tr>") == 3 + 1 + number % 10
        assert f"Grazie, Cliente {number}!" in text
        assert re.findall(r"TZ-(\d{4}) ", text) == [f"{n:04}" for n in range(1, 2 + number % 10)]

    (mould,) = await fetch(house, "SELECT account_id, version, locale FROM moulds")
    assert tuple(mould) == (house.account_id, 1, "it_IT")
    sizes = [row[0] for row in await fetch(house, "SELECT length(head) + length(body) FROM content WHERE mould_id IS NOT NULL")]
    assert len(sizes) == 50
    assert sum(sizes) / 50 < 450
    shown = await house.message(ids[7])
    assert shown["subject"] == "Conferma dell'ordine 2026-7"


async def test_what_is_published_or_archived_meanwhile_changes_nothing(house: House) -> None:
    await a_template(house)
    (waiting,) = await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}, "send_at": soon()}])
    new = {"subject": "Nuovo", "html": "<p>Nuovo {{ surname }}</p>", "publish": True}
    assert (await house.api.post("/v1/templates/hello/versions", json=new)).status_code == 201
    (fresh,) = await post_batch(house, [{"template": "hello", "variables": {"surname": "Bianchi"}}])
    await house.until_states(fresh, "delivered")
    assert (await house.api.delete("/v1/templates/hello")).status_code == 204
    await house.until_states(waiting, "delivered")
    assert [(read(raw)["subject"], text_of(read(raw), "html").strip()) for raw in house.sink.messages] == [
        ("Nuovo", "<p>Nuovo Bianchi</p>"),
        ("Ciao Ada", "<p>Ciao Ada</p>"),
    ]


@pytest.mark.parametrize("html", ["<p>Ciao {{ name }}</p><a href='https://shop.example/{{ name }}'>x</a>", UNPROVEN])
async def test_a_retry_sends_the_same_octets(house: House, monkeypatch: pytest.MonkeyPatch, html: str) -> None:
    monkeypatch.setattr(contents, "_SHARED_BYTES", 0)  # what was made is not kept: every attempt makes it anew
    await a_template(house, html=html)
    house.sink.script = Script.parse({"rules": [{"fault": "defer", "times_each": 2}]})
    file = {"filename": "è.txt", "content": base64.b64encode(b"contenuto").decode()}
    item = {"template": "hello", "variables": {"name": "Ada"}, "attachments": [file], "track": {"opens": True, "clicks": True}}
    _another, sent = await post_batch(house, [item | {"send_at": soon(3600)}, item])  # files that two have are in a mould
    message = await house.until_states(sent, "delivered")
    assert len(message["recipients"][0]["attempts"]) == 3
    assert len(await fetch(house, "SELECT 1 FROM content WHERE mould_id IS NOT NULL")) == 1
    first, second, third = house.sink.messages
    assert first == second == third
    mail = read(first)
    assert (mail["message-id"], mail["subject"]) == (message["message_id"], "Ciao Ada")
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_payload(decode=True)) == ("è.txt", b"contenuto")


async def test_bulk_has_its_links_pixel_and_way_out(house: House) -> None:
    await a_template(house, name="news", html='<p>{{ name }}: <a href="https://shop.example/n/{{ number }}?x=1&amp;y=2">leggi</a></p>')
    variables = {"name": "Novità", "number": 7}
    sent = await house.api.post(
        "/v1/messages",
        json={"from": f"n@{DOMAIN}", "to": ["ada@x.test", "bob@x.test"], "stream": "bulk", "template": "news", "variables": variables},
    )
    assert sent.status_code == 202, sent.text
    await house.until_states(sent.json()["id"], "delivered", "delivered")
    assert len(await fetch(house, "SELECT 1 FROM content WHERE mould_id IS NOT NULL")) == 1

    keys = await dkim_key(house)
    tokens = set()
    for raw in house.sink.messages:
        assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
        mail = read(raw)
        assert mail["list-id"] is not None
        assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
        (click,), (pixel,) = tracked_paths(house, text_of(mail, "html"))
        tokens |= {click, pixel, str(mail["list-unsubscribe"])}
    assert len(tokens) == 6

    reader = reader_of(house)
    followed = await reader.get(click, headers=PERSON, follow_redirects=False)
    assert followed.headers["location"] == "https://shop.example/n/7?x=1&y=2"
    await told(house, "message.clicked", 1)
    await reader.get(pixel, headers=PERSON)
    await told(house, "message.opened", 1)
    way_out = str(mail["list-unsubscribe"]).strip("<>").removeprefix(house.settings.public_url)
    assert (await reader.post(way_out, content="List-Unsubscribe=One-Click")).status_code == 200
    await told(house, "message.unsubscribed", 1)


async def test_what_cannot_be_made_to_mail_has_failed_and_says_why(house: House) -> None:
    """A release whose engine refuses more than the one that accepted; here: a version that asks for another variable."""
    await a_template(house, html="<p>{{ name }}</p>")
    (sent, other) = await post_batch(
        house, [{"template": "hello", "variables": {"name": "Ada"} | more, "send_at": soon()} for more in ({}, {"surname": "Bianchi"})]
    )
    await fetch(house, "UPDATE template_versions SET frozen = replace(frozen::text, '{{ name }}</p>', '{{ surname }}</p>')::json")
    message = await house.until_states(sent, "failed")
    (recipient,) = message["recipients"]
    assert recipient["reason"] == "the mail could not be made: hello (html), line 1: The variable surname is missing."
    assert recipient["attempts"] == []
    assert [event["type"] for event in message["timeline"]] == ["message.accepted", "message.failed"]
    (event,) = await told(house, "message.failed", 1)
    assert event["facts"]["reason"] == recipient["reason"]
    await house.until_states(other, "delivered")
    assert await fetch(house, "SELECT 1 FROM queue") == []
    assert [text_of(read(raw), "html").strip() for raw in house.sink.messages] == ["<p>Bianchi</p>"]


@pytest.mark.parametrize("gone", ["template_versions", "moulds"])
async def test_what_it_is_made_of_is_gone(house: House, gone: str) -> None:
    await a_template(house)
    (sent,) = await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}, "send_at": soon()}])
    await fetch(house, f"DELETE FROM {gone}")
    message = await house.until_states(sent, "failed")
    assert "no longer kept" in message["recipients"][0]["reason"]


@pytest.mark.parametrize(
    ("trouble", "words"), [(Unavailable("away"), "templates cannot be rendered right now"), (RenderEnded(), "rendering was ended")]
)
async def test_a_renderer_in_trouble_puts_mail_off(house: House, monkeypatch: pytest.MonkeyPatch, trouble: Exception, words: str) -> None:
    monkeypatch.setattr(filling, "_POOL_SECONDS", 0.3)
    monkeypatch.setattr(filling, "_INTERRUPTED_SECONDS", 0.3)
    await a_template(house, html=UNPROVEN)
    (sent,) = await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}, "send_at": soon(1.0)}])

    async def ask(*_: Any) -> Any:
        raise trouble

    with monkeypatch.context() as broken:
        broken.setattr(Pool, "ask", ask)
        (event, *_) = await told(house, "message.deferred", 1)
        assert words in event["facts"]["reason"]
    message = await house.until_states(sent, "delivered")
    assert len(message["recipients"][0]["attempts"]) == 1
    assert text_of(read(house.sink.messages[0]), "html").strip() == "<p>Ciao Ada</p>"


async def test_nothing_is_accepted_that_could_not_be_rendered(house: House) -> None:
    await store_confirmation(house)
    lacking = {name: value for name, value in VARIABLES.items() if name != "customer"}
    for _ in range(3):  # by a limited process, then by the check here
        items = [{"from": f"o@{DOMAIN}", "to": "ada@x.test", "template": "order", "variables": given} for given in (lacking, VARIABLES)]
        answer = await house.api.post("/v1/messages/batch", json={"messages": items})
        assert answer.status_code == 207
        refused, accepted = answer.json()["results"]
        (error,) = refused["problem"]["errors"]
        assert (error["pointer"], error["code"]) == ("#/variables/customer", "missing_variable")
        assert "order (html), line" in error["detail"]
        assert accepted["status"] == "accepted"
    bulk = {"from": f"o@{DOMAIN}", "to": "ada@x.test", "stream": "bulk", "template": "order", "variables": lacking}
    assert (await house.api.post("/v1/messages", json=bulk)).json()["errors"][0]["pointer"] == "#/variables/customer"


async def test_files_of_a_batch_are_stored_once(house: House) -> None:
    await a_template(house, html="<p>{{ name }} <img src='cid:logo'></p>")
    file = base64.b64encode(bytes(range(256)) * 2000).decode()  # half a megabyte: loaded when its conversation begins
    logo = {"filename": "logo.png", "content": file, "content_id": "logo"}
    ids = await post_batch(house, [{"template": "hello", "variables": {"name": f"n{n}"}, "attachments": [logo]} for n in range(3)])
    for one in ids:
        await house.until_states(one, "delivered")
    assert len(await fetch(house, "SELECT 1 FROM moulds")) == 1
    whole = await fetch(house, "SELECT 1 FROM content WHERE mould_id IS NULL")
    assert len(whole) == 1, "the first has its files with it, as it would if nobody else had them"
    assert {text_of(read(raw), "html").strip() for raw in house.sink.messages} == {f"<p>n{n} <img src='cid:logo'></p>" for n in range(3)}
    for raw in house.sink.messages:
        shown = next(part for part in read(raw).walk() if part.get_content_type() == "image/png")
        assert shown.get_payload(decode=True) == bytes(range(256)) * 2000


async def test_an_account_is_asked_for_in_every_question(house: House) -> None:
    """A mould's id alone opens nothing: the same id under another account is another mould, and none is there."""
    await a_template(house)
    (sent,) = await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}, "send_at": soon()}])
    await fetch(house, "UPDATE moulds SET account_id = account_id + 1")
    message = await house.until_states(sent, "failed")
    assert message["recipients"][0]["reason"] == "the content is no longer kept"


async def test_while_a_worker_cannot_read_them_mail_is_rendered_when_it_is_accepted(house: House) -> None:
    await a_template(house)
    async with house.database.hot() as connection:
        old = await store.workers.register_worker(connection, "another machine:1", 600.0)
        await connection.execute("UPDATE workers SET release = NULL WHERE id = $1", old)
    await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}, "send_at": soon(60)}])
    ((head, body, mould_id),) = await fetch(house, "SELECT head, body, mould_id FROM content")
    assert mould_id is None
    assert b"Subject: Ciao Ada" in head
    assert body[:4] == pack_body(b"x")[:4]
    assert await fetch(house, "SELECT 1 FROM moulds") == []


async def test_moulds_are_written_again_when_the_database_was_another_meanwhile(house: House) -> None:
    await a_template(house)
    for name in ("Ada", "Bob"):
        await post_batch(house, [{"template": "hello", "variables": {"name": name}, "send_at": soon(60)}])
    assert len(await fetch(house, "SELECT 1 FROM moulds")) == 1
    await fetch(house, "DELETE FROM moulds")  # a backup of the time before, and the connections that every restore ends
    await fetch(
        house, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )

    async def send() -> bool:
        message = {"from": f"o@{DOMAIN}", "to": "ada@x.test", "template": "hello", "variables": {"name": "Eva"}, "track": UNTRACKED}
        return bool((await house.api.post("/v1/messages/batch", json={"messages": [message]})).status_code == 202)

    await until(send, bool)
    assert len(await fetch(house, "SELECT 1 FROM moulds")) == 1
    await until(lambda: len(house.sink.messages), lambda count: count == 1)
    assert text_of(read(house.sink.messages[0]), "html").strip() == "<p>Ciao Eva</p>"


async def test_the_feed_tells_the_subject_that_the_mail_has(house: House) -> None:
    await a_template(house)
    await post_batch(house, [{"template": "hello", "variables": {"name": "Ada"}}])
    (event,) = await told(house, "message.accepted", 1)
    assert orjson.loads(orjson.dumps(event["facts"]))["subject"] == "Ciao Ada"
    await until(lambda: len(house.sink.messages), lambda count: count == 1)
    assert read(house.sink.messages[0])["subject"] == "Ciao Ada"
