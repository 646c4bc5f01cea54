"""/v1/templates, and messages that name one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from app.api.template_body import TemplateDetail, TemplateList, TemplatePreview, TemplateSource

_numbers = itertools.count(1)


def a_name() -> str:
    return f"order-{next(_numbers)}"


async def make(tenant: Any, **fields: Any) -> dict[str, Any]:
    body = {"name": a_name(), "subject": "Order {{ number }}", "html": "<p>{{ number }}: {{ total|money }}</p>", "publish": True} | fields
    answer = await tenant.client.post("/v1/templates", json=body)
    assert answer.status_code == 201, answer.text
    TemplateDetail.model_validate_json(answer.content)
    made: dict[str, Any] = answer.json()
    return made


async def preview(tenant: Any, template: str, variables: dict[str, Any], **fields: Any) -> Any:
    return await tenant.client.post(f"/v1/templates/{template}/preview", json={"variables": variables} | fields)


async def test_a_template_lives_in_versions(shop: Any) -> None:
    made = await make(shop, publish=False)
    assert (made["published"], made["newest"]) == (None, 1)
    path = f"/v1/templates/{made['name']}"
    answer = await shop.client.post(f"{path}/versions", json={"text": "New {{ number }}"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["source"]["html"] == made["source"]["html"]
    assert answer.json()["source"]["text"] == "New {{ number }}"
    assert [one["version"] for one in answer.json()["versions"]] == [2, 1]
    published = await shop.client.post(f"{path}/publish", json={"version": 1})
    assert (published.json()["published"], published.json()["newest"]) == (1, 2)
    first = TemplateSource.model_validate_json((await shop.client.get(f"/v1/templates/{made['id']}/versions/1")).content)
    assert (first.version, first.text) == (1, None)
    assert (await shop.client.get(f"{path}/versions/3")).status_code == 404
    assert (await shop.client.post(f"{path}/publish", json={"version": 3})).json()["errors"][0]["pointer"] == "#/version"
    listed = TemplateList.model_validate_json((await shop.client.get("/v1/templates?limit=200")).content)
    assert made["id"] in {one.id for one in listed.templates}
    assert (await shop.client.delete(path)).status_code == 204
    assert (await shop.client.get(path)).status_code == 404
    await make(shop, name=made["name"])


async def test_pages_of_templates(shop: Any) -> None:
    made = {(await make(shop))["id"] for _ in range(3)}
    found: set[str] = set()
    query = "/v1/templates?limit=1"
    while True:
        page = (await shop.client.get(query)).json()
        found |= {one["id"] for one in page["templates"]}
        if page["next"] is None:
            break
        query = f"/v1/templates?limit=1&cursor={page['next']}"
    assert made <= found


async def test_a_preview_shows_all_three_parts(shop: Any) -> None:
    made = await make(shop)
    answer = await preview(shop, made["id"], {"number": "<7>", "total": 1234.5}, locale="it_IT")
    shown = TemplatePreview.model_validate_json(answer.content)
    assert shown.subject == "Order <7>"
    assert shown.html == "<p>&lt;7&gt;: 1.234,50\xa0€</p>"
    assert shown.text == "<7>: 1.234,50\xa0€\n"


@pytest.mark.parametrize(
    ("variables", "pointer", "code"),
    [
        ({"number": 1}, "#/variables/total", "missing_variable"),
        ({"number": 1, "total": "much"}, "#/variables/total", "wrong_value"),
        ({"number": 1, "total": {"net": 1}}, "#/variables/total", "wrong_value"),
        ({"number": "\0", "total": 1}, "#/variables", "invalid_text"),
        ({"number": "a\x01b", "total": 1}, "#/variables", "invalid_text"),
        ({"number": "x" * 70_000, "total": 1}, "#/variables", "too_long"),
        ({"number": 2**70, "total": 1}, "#/variables", "invalid_value"),
        ({"number": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]], "total": 1}, "#/variables", "too_deep"),
    ],
)
async def test_wrong_variables(shop: Any, variables: Any, pointer: str, code: str) -> None:
    made = await make(shop)
    answer = await preview(shop, made["id"], variables)
    assert answer.status_code == 422, answer.text
    assert (answer.json()["errors"][0]["pointer"], answer.json()["errors"][0]["code"]) == (pointer, code)
    sent = await shop.client.post("/v1/messages", json=of_template(shop, made["name"], variables=variables))
    assert sent.status_code == 422
    assert (sent.json()["errors"][0]["pointer"], sent.json()["errors"][0]["code"]) == (pointer, code)


async def test_a_number_that_no_computer_holds_is_refused(shop: Any) -> None:
    made = await make(shop)
    body = b'{"variables": {"number": 1, "total": 1e400}}'
    answer = await shop.client.post(f"/v1/templates/{made['id']}/preview", content=body, headers={"Content-Type": "application/json"})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["code"]) == (422, "#/variables", "invalid_value")


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"html": "<p>\n  {{ a|center(9) }}</p>"}, "#/html", "line 2, column 8"),
        ({"html": "<p>{% if a %}</p>"}, "#/html", "line 1"),
        ({"html": None, "text": "{{ a"}, "#/text", "line 1, column 1"),
        ({"subject": "{% for %}"}, "#/subject", "line 1"),
        ({"html": '{% include "not-there" %}'}, "#/html", "not-there"),
        ({"html": "{% include a %}"}, "#/html", "written out"),
        ({"html": '{% include "\\0" %}'}, "#/html", "not published"),
        ({"html": '{% include "\\ud800" %}'}, "#/html", "surrogate"),
        ({"html": None}, "#/html", "html, text"),
        ({"html": "a\0"}, "#/html", "NUL"),
        ({"name": "Big"}, "#/name", "lower-case"),
        ({"name": "tpl_" + "0" * 32}, "#/name", "lower-case"),
        ({"html": "x" * 600_000}, "#/html", "at most"),
        ({"defaults": {"a": 2**70}}, "#/defaults", "64 bits"),
        ({"colour": "red"}, "#/colour", "no such field"),
    ],
)
async def test_wrong_templates(shop: Any, fields: Any, pointer: str, words: str) -> None:
    answer = await shop.client.post("/v1/templates", json={"name": a_name(), "html": "<p>x</p>"} | fields)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]


@pytest.mark.parametrize("escape", ["\\0", "\\ud800"])
async def test_escapes_that_no_mail_carries(shop: Any, escape: str) -> None:
    made = await make(shop, subject=f"{{{{ '{escape}' }}}}x", html=f"<p>{{{{ '{escape}' }}}}</p>")
    for _ in range(3):
        answer = await shop.client.post("/v1/messages", json=of_template(shop, made["id"], variables={}))
        assert answer.status_code == 422, answer.text
        assert (await preview(shop, made["id"], {})).status_code == 422


async def test_a_name_is_one_template_s(shop: Any, rival: Any) -> None:
    made = await make(shop)
    assert (await shop.client.post("/v1/templates", json={"name": made["name"], "text": "x"})).status_code == 409
    await make(rival, name=made["name"])


async def test_layouts_are_those_of_the_moment(shop: Any) -> None:
    layout = a_name()
    await make(shop, name=layout, subject=None, html="<b>old {% block body %}{% endblock %}</b>")
    made = await make(shop, html=f'{{% extends "{layout}" %}}{{% block body %}}{{{{ number }}}}{{% endblock %}}')
    assert made["versions"][0]["uses"] == {layout: 1}
    await shop.client.post(f"/v1/templates/{layout}/versions", json={"html": "<b>new {% block body %}{% endblock %}</b>", "publish": True})
    assert (await preview(shop, made["id"], {"number": 1})).json()["html"] == "<b>old 1</b>"
    assert (await shop.client.post(f"/v1/templates/{made['id']}/versions", json={})).status_code == 201
    assert (await preview(shop, made["id"], {"number": 1})).json()["html"] == "<b>new 1</b>"
    assert (await preview(shop, made["id"], {"number": 1}, version=1)).json()["html"] == "<b>old 1</b>"


async def test_templates_of_others_are_not_there(shop: Any, rival: Any) -> None:
    made = await make(shop)
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/versions/1", None),
        ("DELETE", "", None),
        ("POST", "/versions", {}),
        ("POST", "/publish", {"version": 1}),
        ("POST", "/preview", {}),
    ):
        for reference in (made["id"], made["name"]):
            assert (await rival.client.request(method, f"/v1/templates/{reference}{path}", json=body)).status_code == 404
    answer = await rival.client.post("/v1/templates", json={"name": a_name(), "html": f'{{% include "{made["name"]}" %}}'})
    assert answer.json()["errors"][0]["code"] == "unknown_template"
    sent = await rival.client.post("/v1/messages", json=of_template(rival, made["id"], variables={}))
    assert (sent.status_code, sent.json()["errors"][0]["pointer"]) == (422, "#/template")


def of_template(tenant: Any, template: str, **fields: Any) -> dict[str, Any]:
    return {"from": f"Shop <orders@{tenant.domain}>", "to": "ada@example.com", "template": template} | fields


async def test_a_message_is_made_from_the_published_version(shop: Any) -> None:
    made = await make(shop)
    for template in (made["name"], made["id"]):
        accepted = await shop.client.post("/v1/messages", json=of_template(shop, template, variables={"number": 4711, "total": 9}))
        assert accepted.status_code == 202, accepted.text
        message = (await shop.client.get(f"/v1/messages/{accepted.json()['id']}")).json()
        assert message["subject"] == "Order 4711"
    own = await shop.client.post("/v1/messages", json=of_template(shop, made["id"], subject="Mine", variables={"number": 1, "total": 9}))
    assert (await shop.client.get(f"/v1/messages/{own.json()['id']}")).json()["subject"] == "Mine"


async def test_a_version_must_be_published_or_named(shop: Any) -> None:
    made = await make(shop, publish=False)
    variables = {"number": 1, "total": 2}
    refused = await shop.client.post("/v1/messages", json=of_template(shop, made["id"], variables=variables))
    assert refused.json()["errors"][0]["pointer"] == "#/template"
    named = await shop.client.post("/v1/messages", json=of_template(shop, made["id"], variables=variables, template_version=1))
    assert named.status_code == 202
    wrong = await shop.client.post("/v1/messages", json=of_template(shop, made["id"], variables=variables, template_version=2))
    assert wrong.json()["errors"][0]["pointer"] == "#/template_version"


async def test_defaults_fill_what_is_left_out(shop: Any) -> None:
    made = await make(shop, defaults={"number": "?", "total": 5})
    assert (await preview(shop, made["id"], {"total": 6})).json()["subject"] == "Order ?"


async def test_each_item_of_a_batch_has_its_own_variables(shop: Any) -> None:
    made = await make(shop)
    items = [of_template(shop, made["id"], variables={"number": n, "total": n} if n != 3 else {"number": n}) for n in range(5)]
    answer = (await shop.client.post("/v1/messages/batch", json={"messages": items})).json()
    assert [result["status"] for result in answer["results"]] == ["accepted"] * 3 + ["refused", "accepted"]
    assert answer["results"][3]["problem"]["errors"][0]["pointer"] == "#/variables/total"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"html": "<p>x</p>"}, "#/html"),
        ({"text": "x"}, "#/text"),
        ({"template": None, "text": "x", "subject": "s", "variables": {}}, "#/variables"),
        ({"template": None, "text": "x", "subject": "s", "locale": "it"}, "#/locale"),
        ({"template": None, "text": "x", "subject": "s", "template_version": 1}, "#/template_version"),
        ({"template": None, "text": "x"}, "#/subject"),
        ({"locale": "xx_YY"}, "#/locale"),
        ({"variables": []}, "#/variables"),
        ({"template": "nobody"}, "#/template"),
        ({"template": "\0"}, "#/template"),
        ({"template": "é"}, "#/template"),
        ({"locale": "\0"}, "#/locale"),
        ({"template_version": 0}, "#/template_version"),
    ],
)
async def test_what_does_not_go_together(shop: Any, fields: Any, pointer: str) -> None:
    made = await make(shop)
    body = of_template(shop, made["id"], variables={"number": 1, "total": 2}) | fields
    if fields.get("template", "") is None and "variables" not in fields:
        del body["variables"]
    answer = await shop.client.post("/v1/messages", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
