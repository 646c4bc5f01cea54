"""An order confirmation as shops send them: a table of items, a layout, a partial, a style; 10 KB as MIME, as the order without one."""

from __future__ import annotations

import copy
from typing import Any

import aiohttp

from app.mail.template import Source
from tests.house.house import House
from tests.house.orders import NUMBER

_STYLE = """
body{margin:0;background:#f4f4f7;font-family:Arial,Helvetica,sans-serif;color:#333} .wrap{width:600px;margin:0 auto;background:#fff}
.head{background:#17324d;color:#fff;padding:24px} .body{padding:24px;line-height:1.5} .items{width:100%;border-collapse:collapse}
.items th{text-align:left} .items td{padding:8px}
.right{text-align:right} .foot{font-size:12px;color:#777;padding:24px} .button{background:#0b7;color:#fff;padding:12px 24px}
@media (max-width:620px){.wrap{width:100%!important}}
"""
_WORDS = "Grazie per aver scelto il nostro negozio. Conserva questa conferma: contiene tutti i dettagli del tuo ordine e della consegna. "
_PAGES = ("Privacy", "Aiuto", "Resi", "Spedizioni", "Negozi", "Contatti", "Condizioni", "Newsletter")
_PAGE_LINKS = " · ".join(f'<a href="{{{{ shop.url }}}}/{page.lower()}">{page}</a>' for page in _PAGES)

LAYOUT = f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{{% block title %}}{{{{ shop.name }}}}{{% endblock %}}</title>
<style>{_STYLE}</style></head><body><div style="display:none">Il tuo ordine è confermato</div>
<div class="wrap"><div class="head"><a href="{{{{ shop.url }}}}"><img src="{{{{ shop.url }}}}/logo.png" alt="{{{{ shop.name }}}}"></a></div>
<div class="body">{{% block body %}}{{% endblock %}}</div>{{% include "footer" %}}</div></body></html>"""

FOOTER = f"""<div class="foot"><p>{_WORDS}</p><p>{{{{ shop.name }}}}, {{{{ shop.address }}}} ·
{_PAGE_LINKS}</p></div>"""

ORDER = f"""{{% extends "layout" %}}{{% block title %}}Ordine {{{{ order.number }}}}{{% endblock %}}{{% block body %}}
<h1>Grazie, {{{{ customer.name }}}}!</h1>
<p>Il tuo ordine <b>{{{{ order.number }}}}</b> del {{{{ order.placed_on|date("long") }}}} è confermato. {_WORDS}</p>
<table class="items"><tr><th>Articolo</th><th>Codice</th>
<th class="right">Quantità</th><th class="right">Prezzo</th><th class="right">Totale</th></tr>
{{% for item in order.items %}}<tr><td><a href="{{{{ item.url }}}}">{{{{ item.name }}}}</a></td><td>{{{{ item.sku }}}}</td>
<td class="right">{{{{ item.quantity }}}}</td><td class="right">{{{{ item.price|money("EUR") }}}}</td>
<td class="right">{{{{ (item.price * item.quantity)|money("EUR") }}}}</td></tr>
{{% endfor %}}<tr><td colspan="4">Spedizione</td><td class="right">{{{{ order.shipping|money("EUR") }}}}</td></tr>
<tr><td colspan="4"><b>Totale</b></td><td class="right"><b>{{{{ order.total|money("EUR") }}}}</b></td></tr></table>
{{% if order.note is defined %}}<p>Nota: {{{{ order.note }}}}</p>{{% endif %}}
<p><a class="button" href="{{{{ shop.url }}}}/ordini/{{{{ order.number }}}}">Segui il tuo ordine</a></p>{{% endblock %}}"""

SOURCES = {
    "order": Source("Conferma dell'ordine {{ order.number }}", ORDER, None),
    "layout": Source(None, LAYOUT, None),
    "footer": Source(None, FOOTER, None),
}

VARIABLES: dict[str, Any] = {
    "shop": {"name": "Bottega Rossi", "url": "https://shop.example.test", "address": "Via Roma 1, Torino"},
    "customer": {"name": "Ada Bianchi"},
    "order": {
        "number": "2026-1042",
        "placed_on": "2026-11-24",
        "shipping": 4.9,
        "total": 1234.5,
        "items": [
            {
                "name": f"Tazza di ceramica «{n}»",
                "sku": f"TZ-{n:04}",
                "quantity": n,
                "price": 19.9 + n,
                "url": f"https://shop.example.test/p/{n}",
            }
            for n in range(1, 11)
        ],
    },
}


async def store_confirmation(house: House) -> dict[str, Any]:
    """Store and publish it in the house; what a load must know to ask for it (tests.house.requests). It has 20 links then."""
    address = f"http://127.0.0.1:{house.api_port}"
    async with aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {house.token}"}) as client:
        for name in ("footer", "layout", "order"):
            source = SOURCES[name]
            body = {"name": name, "subject": source.subject, "html": source.html, "text": source.text, "publish": True}
            async with client.post("/v1/templates", json=body) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"the template {name} was refused: {await answer.text()}")
    variables = copy.deepcopy(VARIABLES)
    order = variables["order"]
    order["number"] = NUMBER
    for place, item in enumerate(order["items"]):
        order["items"][place] = item | {"url": f"{item['url']}?o={NUMBER}&n={place}"}
    return {"template": "order", "variables": variables}
