"""Order confirmations as a shop sends them: about 7.5 KB of HTML and 0.8 KB of text, each with its own goods and number.

A template holds NUMBER wherever the order's number stands (subject, bodies, links, recipient); all numbers have ten digits, so a
request's length does not depend on it.
"""

# ruff: noqa: E501  (HTML as shops write it)

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

NUMBER = "@@NUMBER@@"

_GOODS = (
    "Brass gear wheel", "Copper kettle", "Oak chopping board", "Linen tea towel", "Cast iron pan", "Beeswax candle", "Wool blanket",
    "Ceramic teapot", "Leather notebook", "Steel thermos", "Walnut frame", "Garden shears", "Enamel mug", "Felt slippers",
)  # fmt: skip
_ITEM = """\
      <tr>
        <td style="padding:12px 8px;border-bottom:1px solid #e6e6e6;font-family:Helvetica,Arial,sans-serif;font-size:14px;color:#333333">
          <a href="https://shop.example.test/p/{code}?utm_source=mail&amp;utm_campaign=order" style="color:#0b5394;text-decoration:none">{name}</a><br>
          <span style="font-size:12px;color:#888888">Article {code}, ready to ship within one working day</span></td>
        <td align="right" style="padding:12px 8px;border-bottom:1px solid #e6e6e6;font-size:14px;color:#333333">{count}</td>
        <td align="right" style="padding:12px 8px;border-bottom:1px solid #e6e6e6;font-size:14px;color:#333333">{price} €</td>
      </tr>
"""
_HTML = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Your order {number}</title>
<style>body{{margin:0;padding:0;background:#f4f4f4}} table{{border-collapse:collapse}} @media(max-width:600px){{.w{{width:100%!important}}}}</style></head>
<body style="margin:0;padding:0;background:#f4f4f4">
<table role="presentation" width="100%"><tr><td align="center" style="padding:24px 8px">
  <table role="presentation" class="w" width="600" style="background:#ffffff">
    <tr><td style="padding:24px;background:#1c4587;color:#ffffff;font-family:Georgia,serif;font-size:22px">The Example Shop</td></tr>
    <tr><td style="padding:24px;font-family:Helvetica,Arial,sans-serif;font-size:15px;line-height:22px;color:#333333">
      <p>Dear {customer},</p>
      <p>thank you for your order <b>{number}</b>. We have received it and will write again as soon as the parcel is on its way –
      most orders leave our house in Zürich within one working day. Here is what you ordered:</p></td></tr>
    <tr><td style="padding:0 24px"><table role="presentation" width="100%">
{items}    </table></td></tr>
    <tr><td align="right" style="padding:16px 32px;font-family:Helvetica,Arial,sans-serif;font-size:16px;color:#111111"><b>Total: {total} €</b></td></tr>
    <tr><td align="center" style="padding:24px"><a href="https://shop.example.test/orders/{number}?t=mail" style="background:#38761d;color:#ffffff;padding:12px 28px">See your order</a></td></tr>
    <tr><td style="padding:16px 24px;font-family:Helvetica,Arial,sans-serif;font-size:12px;line-height:18px;color:#888888">
      Delivery to {customer}, 12 Mill Lane, 4051 Basel. You may return goods within 30 days:
      <a href="https://shop.example.test/returns/{number}" style="color:#888888">how to return</a>.
      Questions? <a href="https://shop.example.test/help?o={number}" style="color:#888888">Write to us</a> or answer this mail.<br>
      The Example Shop Ltd, 1 Market Street, Zürich. <a href="https://shop.example.test/privacy" style="color:#888888">Privacy</a></td></tr>
  </table></td></tr></table></body></html>
"""
_TEXT = """\
Dear {customer},

thank you for your order {number}. We have received it and will write again as soon as
the parcel is on its way. Most orders leave our house within one working day.

{items}
Total: {total} €

See your order:  https://shop.example.test/orders/{number}?t=mail
How to return:   https://shop.example.test/returns/{number}

Delivery to {customer}, 12 Mill Lane, 4051 Basel.
The Example Shop Ltd, 1 Market Street, Zürich
"""


@dataclass(frozen=True, slots=True)
class Order:
    """The texts of one confirmation; NUMBER stands where its number goes."""

    subject: str
    html: str
    text: str


def an_order(seed: int) -> Order:
    """One of many different orders, the same for the same seed."""
    chance = random.Random(seed)
    customer = chance.choice(("Ada Lovelace", "Grace Hopper", "Konrad Zuse", "Jürgen Müller", "Zoë Brown", "Søren Holm"))
    html_items, text_items, total = [], [], 0
    for name in chance.sample(_GOODS, 8):
        count, cents, code = chance.randint(1, 3), chance.randint(490, 19_990), f"EX-{chance.randint(10_000, 99_999)}"
        total += count * cents
        html_items.append(_ITEM.format(name=name, code=code, count=count, price=f"{cents / 100:.2f}"))
        text_items.append(f"  {count} x {name:<24} {cents / 100:9.2f} €\n")
    facts = {"customer": customer, "number": NUMBER, "total": f"{total / 100:.2f}"}
    return Order(
        f"Your order {NUMBER} is confirmed",
        _HTML.format(items="".join(html_items), **facts),
        _TEXT.format(items="".join(text_items), **facts),
    )


def a_body(seed: int, *, sender: str, recipient: str, stream: str = "transactional") -> dict[str, Any]:
    """The body of a POST /v1/messages with such an order."""
    order = an_order(seed)
    return {
        "from": f"The Example Shop <{sender}>",
        "to": [recipient],
        "subject": order.subject,
        "html": order.html,
        "text": order.text,
        "tags": ["order-confirmation"],
        "metadata": {"order": NUMBER},
        "stream": stream,
    }


def as_json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
