"""Templates: what an author writes, what a reader gets, and what an author is told."""

from __future__ import annotations

from typing import Any

import pytest

from app.mail.template import SUBJECT, Compiled, FrozenSet, Source, TemplateFault, UnknownNames, freeze

ORDER = {"number": 7, "items": [{"name": "Tè & caffè", "price": 4.5}, {"name": "Pane", "price": "2"}], "note": None}


def render(html: str, variables: dict[str, Any] | None = None, locale: str = "it_IT", **others: str) -> str:
    """The HTML of a template; `others` are its layouts and partials."""
    sources = {"main": Source(None, html, None)} | {name: Source(None, text, None) for name, text in others.items()}
    made = Compiled(freeze("main", sources)).render({"order": ORDER} if variables is None else variables, locale)
    assert made.html is not None
    return made.html


def fault_of(html: str, variables: dict[str, Any] | None = None) -> Any:
    with pytest.raises(TemplateFault) as caught:
        render(html, variables)
    return caught.value.fault


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("{{ order.items[0].name }}", "Tè &amp; caffè"),
        (
            "{% for item in order.items %}{{ loop.index }} {{ item.name }}{{ ', ' if not loop.last }}{% endfor %}",
            "1 Tè &amp; caffè, 2 Pane",
        ),
        ("{% for item in [] %}x{% else %}nothing{% endfor %}", "nothing"),
        ("{% if order.number > 5 and order.items %}many{% elif order %}few{% endif %}", "many"),
        ("{{ order.note }}|{{ order.note|default('-', true) }}|{{ order.gift|default('none') }}", "|-|none"),
        ("{{ order.a.b.c|default('deep') }}", "deep"),
        ("{% if order.gift is defined %}gift{% else %}none{% endif %}", "none"),
        ("{{ order.items[0].price * 2 + 1 }} {{ 7 // 2 }} {{ 7 % 2 }} {{ 'a' ~ 1 }} {{ 'a' + 'b' }}", "10.0 3 1 a1 ab"),
        ("{{ order.items|map(attribute='name')|join(', ') }}", "Tè &amp; caffè, Pane"),
        ("{{ order.items|length }} {{ '<b>'|safe }} {{ 'x'|upper }} {{ 'abc'[:2] }}", "2 <b> X ab"),
        ("{% for key, value in {'a': 1}|items %}{{ key }}{{ value }}{% endfor %}", "a1"),
        ("{% set n = order.number %}{{ n }}", "7"),
        ("{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}{{ b('<') }}", "<b>&lt;</b>"),
        ("{% for x in [[1, [2]]] recursive %}{{ loop(x) if x is sequence else x }}{% endfor %}", "12"),
        ("{% for kind, group in [{'k': 1, 'n': 2}]|groupby('k') %}{{ kind }}{{ group[0].n }}{% endfor %}", "12"),
        ("{# a word to colleagues #}{{ true }} {{ 1.50 }}", "True 1.5"),
        ("{{ 'a\nb'|safe|indent('<') }}{{ 'a\nb'|safe|indent('<'|safe) }}", "a\n&lt;ba\n<b"),
        ("{{ '<!-- x > --><b>a</b>  &amp; <!-- b <c'|striptags }}", "a &amp; &lt;!-- b &lt;c"),
        ("{% raw %}{{ as it is }}{% endraw %}", "{{ as it is }}"),
    ],
)
def test_what_can_be_written(html: str, expected: str) -> None:
    assert render(html) == expected


def test_a_layout_and_a_partial_make_one_mail() -> None:
    layout = "<h1>{% block title %}Shop{% endblock %}</h1>{% block body %}{% endblock %}{% include 'foot' %}"
    child = "{% extends 'layout' %}{% block title %}{{ super() }}: {{ order.number }}{% endblock %}{% block body %}!{% endblock %}"
    assert render(child, layout=layout, foot="<i>{{ order.number }}</i>") == "<h1>Shop: 7</h1>!<i>7</i>"
    assert (
        render("{% from 'm' import b %}{% import 'm' as m %}{{ b(1) }}{{ m.b(2) }}", m="{% macro b(x) %}[{{ x }}]{% endmacro %}")
        == "[1][2]"
    )


def test_names_of_the_variables_are_not_methods() -> None:
    names = {"items": [1], "keys": 2, "get": 3, "values": 4, "pop": 5, "count": 6}
    assert (
        render("{{ o.keys }}{{ o.get }}{{ o.values }}{{ o.pop }}{{ o['count'] }}{% for x in o.items %}{{ x }}{% endfor %}", {"o": names})
        == "234561"
    )


@pytest.mark.parametrize(
    ("html", "code", "variable"),
    [
        ("\n{{ nobody }}", "missing_variable", ("nobody",)),
        ("\n{{ order.nothing }}", "missing_variable", ("order", "nothing")),
        ("\n{{ order.items[1].size }}", "missing_variable", ("order", "items", 1, "size")),
        ("\n{{ order.items[5] }}", "missing_variable", ("order", "items", "5")),
        ("\n{{ order.gift|money }}", "missing_variable", ("order", "gift")),
        ("\n{{ order.gift * 2 }}", "missing_variable", ("order", "gift")),
        ("\n{% if order.gift %}{% endif %}", "missing_variable", ("order", "gift")),
        ("\n{% for x in order.gifts %}{% endfor %}", "missing_variable", ("order", "gifts")),
        ("\n{{ order.gift() }}", "missing_variable", ("order", "gift")),
        ("\n{{ order.a.b.c }}", "missing_variable", ("order", "a")),
        ("\n{% for x in order.items %}{{ x.name.first }}{% endfor %}", "missing_variable", ("order", "items", 0, "name", "first")),
        ("\n{% for x in order.items %}{{ loop.first.step }}{% endfor %}", "missing_variable", ()),
        ("\n{% for x in order.items %}{{ x.name|money }}{% endfor %}", "wrong_value", ("order", "items", 0, "name")),
        ("\n{% for x in order.items %}{{ x.price|date }}{% endfor %}", "wrong_value", ("order", "items", 0, "price")),
        ("\n{{ order.note|money }}", "wrong_value", ("order", "note")),
        ("\n{{ 'much'|money }}", "wrong_value", ()),
        ("\n{{ 1|money('euro') }}", "wrong_value", ()),
        ("\n{{ 'yesterday'|date }}", "wrong_value", ()),
        ("\n{{ '2026-01-01T10:00'|datetime('short', 'Rome') }}", "wrong_value", ()),
        ("\n{{ order.number + 'x' }}", "not_allowed", ()),
        ("\n{{ 2 ** 3 }}", "not_allowed", ()),
        ("\n{{ order.items }}", "not_allowed", ()),
        ("\n{{ order.number() }}", "not_allowed", ()),
        ("\n{{ 1 / 0 }}", "wrong_value", ()),
        ("\n{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion", ()),
    ],
)
def test_what_is_told_of_a_render(html: str, code: str, variable: tuple[str | int, ...]) -> None:
    fault = fault_of(html)
    assert (fault.code, fault.variable, fault.part, fault.template, fault.line) == (code, variable, "html", "main", 2)


@pytest.mark.parametrize(
    ("html", "code", "line", "column"),
    [
        ("<p>\n  {{ a|colour }}", "unknown_filter", 2, 8),
        ("<p>\n  {% colour %}", "syntax", 2, 6),
        ("<p>\n  {% if a %}", "syntax", 2, 6),
        ("{{ a is colourful }}", "unknown_filter", 1, 9),
        ("{% include name %}", "dynamic_name", 1, 0),
        ("{% include 'main' %}", "recursion", 0, 0),
        ("\n{{ " + "(" * 2000 + ")" * 2000 + " }}", "recursion", 2, 0),
        ("\n\n{{ a" + "|upper|lower" * 2000 + " }}", "recursion", 3, 0),
        ("\n{{ 0x" + "f" * 50_000 + " }}", "wrong_value", 2, 0),
    ],
)
def test_what_is_told_of_a_source(html: str, code: str, line: int, column: int) -> None:
    fault = fault_of(html)
    assert (fault.code, fault.line, fault.column, fault.part) == (code, line, column, "html")


def test_names_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(UnknownNames) as caught:
        freeze("main", {"main": Source(None, "{% include 'a' %}{% include 'b' %}", None)})
    assert caught.value.names == {"a", "b"}
    with pytest.raises(UnknownNames):
        freeze("main", {"main": Source("x", "y", "{% include 'subject:' %}")})


def test_the_subject_is_one_line_and_no_html() -> None:
    made = Compiled(freeze("main", {"main": Source("Order\n  {{ name }} ", None, "x")})).render({"name": "<7> & 8"})
    assert (made.subject, made.html, made.text) == ("Order <7> & 8", None, "x")


@pytest.mark.parametrize("escape", ["e", "escape"])
def test_nothing_is_escaped_where_there_is_no_html(escape: str) -> None:
    html = (
        f"<p>{{{{ a|{escape} }}}} {{{{ (a|{escape}) ~ '!' }}}}</p><a href='{{{{ url|{escape} }}}}'>x</a> "
        f"{{{{ a|{escape}|replace('J', '<br>')|safe }}}} {{{{ b|safe }}}}"
    )
    variables = {"a": "Tom & Jerry <x>", "b": "<i>so &amp; so</i>", "url": "https://x.test/?a=1&b=2"}
    made = Compiled(freeze("main", {"main": Source(f"{{{{ a|{escape} }}}}", html, None)})).render(variables)
    assert made.subject == "Tom & Jerry <x>"
    assert made.html == (
        "<p>Tom &amp; Jerry &lt;x&gt; Tom &amp; Jerry &lt;x&gt;!</p><a href='https://x.test/?a=1&amp;b=2'>x</a> "
        "Tom &amp; &lt;br&gt;erry &lt;x&gt; <i>so &amp; so</i>"
    )
    assert made.text == "Tom & Jerry <x> Tom & Jerry <x>!\n\nx (https://x.test/?a=1&b=2) Tom & erry <x> so & so\n"


def test_a_text_is_no_pattern_to_be_filled() -> None:
    for asked in ("even", "odd", "divisibleby 3", "divisibleby(num=3)"):
        fault = fault_of(f"\n{{% if a is {asked} %}}{{% endif %}}", {"a": "%3000000000d"})
        assert (fault.code, fault.line) == ("not_allowed", 2)
        assert fault_of(f"{{% if a is {asked} %}}{{% endif %}}", {}).code == "missing_variable"
    assert render("{{ a is even }} {{ a is odd }} {{ 9 is divisibleby 3 }}", {"a": 4}) == "True False True"


def test_a_written_text_stays_as_it_is() -> None:
    made = Compiled(freeze("main", {"main": Source(None, "<p>x</p>", "Ciao\n\n\n\n{{ a }}")})).render({"a": "<"})
    assert made.text == "Ciao\n\n\n\n<"


def test_a_frozen_set_is_json() -> None:
    frozen = freeze("main", {"main": Source("s", "<p>x</p>", None)})
    assert frozen == FrozenSet("main", {"main": "<p>x</p>"}, {"main": "\n\nx\n\n", SUBJECT: "s"}, derived=True, proven=True)


@pytest.mark.parametrize(
    "html",
    [
        "{% for x in y %}{% for z in x.w %}{{ z|money }}{% endfor %}{% endfor %}",
        "{{ a.b|default('c') }}{% if a is defined and a > 1 %}{{ a * 2 }}{% endif %}",
    ],
)
def test_what_is_proven(html: str) -> None:
    assert freeze("main", {"main": Source(None, html, None)}).proven


@pytest.mark.parametrize(
    "html",
    [
        "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% for x in 'aaaa' %}{% endfor %}",
        "{% for x in [1, 2] %}{% endfor %}",
        "{% for x in y|list %}{% endfor %}",
        "{{ a|replace('a', 'b') }}",
        "{{ a[b] }}",
        "{{ " + "a + " * 60 + "a }}",
        "{{ '" + "a" * 300 + "' }}",
        "{% for x in y recursive %}{% endfor %}",
        "{% for x in y %}{% block b %}{% endblock %}{% endfor %}",
    ],
)
def test_what_is_not(html: str) -> None:
    assert not freeze("main", {"main": Source(None, html, None)}).proven


def test_the_plan_counts_turns() -> None:
    html = "{% for o in orders %}{% for i in o.lines %}{{ i }}{% endfor %}{% endfor %}"
    plan = Compiled(freeze("main", {"main": Source(None, html, "-")})).plan
    assert plan is not None
    few = {"orders": [{"lines": [1] * 3}, {"lines": []}, {}]}
    one, _ = plan.cost_of(few, 50)
    other, _ = plan.cost_of({"orders": [{"lines": [1] * 4}, {"lines": []}, {}]}, 50)
    assert other - one == 2  # the turn, and the one name in it
    assert plan.is_small(few, 50)
    assert not plan.is_small({"orders": [{"lines": [1] * 3_000}]}, 6_000)
    square = Compiled(freeze("main", {"main": Source(None, "{% for a in x %}{% for b in x %}{{ b }}{% endfor %}{% endfor %}", "-")})).plan
    assert square is not None
    assert not square.is_small({"x": [1] * 100}, 200)
