"""An order confirmation in Italian, from a stored template: a table of items, amounts in euro, a date; it arrives as it should read."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import dkim

from tests.bench.confirmation import SOURCES, VARIABLES
from tests.flows.conftest import DOMAIN, House
from tests.flows.test_order_confirmation import dkim_key

_TOKEN = re.compile(r"(?<=/[co]/)[\w-]+")  # each recipient has his own


async def store_confirmation(house: House) -> None:
    """The layout and the footer first: a template takes them as they are published."""
    for name in ("footer", "layout", "order"):
        source = SOURCES[name]
        body = {"name": name, "subject": source.subject, "html": source.html, "publish": True}
        answer = await house.api.post("/v1/templates", json=body)
        assert answer.status_code == 201, answer.text


async def test_it_reads_as_an_italian_expects(house: House) -> None:
    await store_confirmation(house)
    body = {"from": f"Bottega <ordini@{DOMAIN}>", "to": "Ada <ada@x.test>", "template": "order", "variables": VARIABLES, "locale": "it_IT"}
    for _ in range(3):  # by a limited process first, in the API's own later: the same mail
        answer = await house.api.post("/v1/messages", json=body)
        assert answer.status_code == 202, answer.text
        await house.until_states(answer.json()["id"], "delivered")

    keys = await dkim_key(house)
    read = []
    for raw in house.sink.messages:
        assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name))
        received = message_from_bytes(raw, policy=policy.default)
        html, text = (received.get_body((kind,)).get_content() for kind in ("html", "plain"))
        assert received["subject"] == "Conferma dell'ordine 2026-1042"
        assert "del 24 novembre 2026 è confermato" in html
        assert '<td style="padding: 8px">TZ-0010</td>' in html
        assert html.count("<tr>") == 13
        assert "1.234,50\xa0€" in html
        assert "Tazza di ceramica «3» (https://shop.example.test/p/3) TZ-0003 3 22,90\xa0€ 68,70\xa0€\n" in text.replace("\r\n", "\n")
        assert "Il tuo ordine è confermato" not in text  # the preheader is for the list of mails alone
        assert "{{" not in html + text
        read.append((_TOKEN.sub("", html), text))
    assert read[0] == read[1] == read[2]


async def test_a_missing_variable_is_told_before_anything_is_accepted(house: House) -> None:
    await store_confirmation(house)
    lacking = VARIABLES | {"order": {name: value for name, value in VARIABLES["order"].items() if name != "total"}}
    body = {"from": f"ordini@{DOMAIN}", "to": "ada@x.test", "template": "order", "variables": lacking}
    answer = await house.api.post("/v1/messages", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "#/variables/order/total"
    assert "order (html), line" in error["detail"]
    assert house.sink.messages == []
