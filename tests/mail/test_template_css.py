"""Rules of <style> in the elements of templates, with every other byte as it was."""

from __future__ import annotations

import re

import pytest

from app.mail.template_css import inline_css

STYLE = '<style>.a{color:red} p{margin:0} .box p{top:1px} @media print{p{left:1px}} td{background:url("x;y.png")}</style>'


def inline(html: str, **others: str) -> str:
    return inline_css("main", {"main": html, **others})["main"].removeprefix(STYLE)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<b class=a>x</b>", '<b style="color: red" class=a>x</b>'),
        ("<b class='a' style='top:1px'>x</b>", "<b class='a' style=\"color: red; top: 1px\">x</b>"),
        ("<B CLASS='a'  >&nbsp;é</B><br/>", "<B style=\"color: red\" CLASS='a'  >&nbsp;é</B><br/>"),
        ("{% for x in y %}<i class=a>{{ x }}</i>{% endfor %}", '{% for x in y %}<i style="color: red" class=a>{{ x }}</i>{% endfor %}'),
        ("<i class='a' style='top:{{ n }}px'></i>", "<i class='a' style='color: red; top:{{ n }}px'></i>"),
        ("<i class='{{ k }} a'></i>", "<i style=\"color: red\" class='{{ k }} a'></i>"),
        ("<i {% if x %}class=a{% endif %}></i>", "<i {% if x %}class=a{% endif %}></i>"),
        ("<!-- <i class=a> --><script>'<i class=a>'</script>", "<!-- <i class=a> --><script>'<i class=a>'</script>"),
        ("<i title='<b class=a>'>", "<i title='<b class=a>'>"),
        (
            "<table>{% for x in y %}<tr><td>{{ x }}</td></tr>{% endfor %}</table>",
            '<table>{% for x in y %}<tr><td style="background: url(&quot;x;y.png&quot;)">{{ x }}</td></tr>{% endfor %}</table>',
        ),
    ],
)
def test_elements_get_their_rules(html: str, expected: str) -> None:
    assert inline(STYLE + html).replace("url('x;y.png')", "url(&quot;x;y.png&quot;)") == expected


def test_rules_of_a_layout_reach_what_its_blocks_contain() -> None:
    layout = STYLE + "<div class=box>{% block body %}<p>old</p>{% endblock %}{% include 'foot' %}</div>"
    found = inline_css(
        "main", {"main": "{% extends 'layout' %}{% block body %}<p>x</p>{% endblock %}", "layout": layout, "foot": "<p>y</p>"}
    )
    for name in ("main", "foot"):
        style = re.search(r'<p style="([^"]*)">', found[name])
        assert style is not None
        assert set(style[1].split("; ")) == {"margin: 0", "top: 1px"}


def test_a_variable_stays_in_the_style() -> None:
    html = "<style>.a{color:{{ colour }};top:1px}</style><b class=a></b>"
    assert inline(html) == '<style>.a{color:{{ colour }};top:1px}</style><b style="top: 1px" class=a></b>'


def test_without_rules_nothing_changes() -> None:
    html = "<P CLASS=a>{{ x }}<br>"
    assert inline(html) == html


def test_nothing_is_fetched() -> None:
    html = (
        '<style>@import url("http://127.0.0.1:1/a.css"); b{color:red}</style><link rel=stylesheet href="http://127.0.0.1:1/b.css"><b>x</b>'
    )
    assert '<b style="color: red">' in inline(html)
