"""Forty-two templates that mean harm: bombs that want time or memory, and escapes that want out of the sandbox.

Each is a subject, HTML or text that somebody could save; what it names besides itself is in `others`. `leaks` are words that must not
come out of an escape. The variables are those of an order, because a bomb can lie in them too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.mail.template import Source

_TEN = "aaaaaaaaaa"
_LEAKS = ("<class", "<function", "<built-in", "<module", "root:", "STAFFETTA", "/usr", "os.environ", "0x7f")


@dataclass(frozen=True, slots=True)
class Case:
    """One of the forty-two. `variables` are given to it beside the common ones."""

    name: str
    html: str
    others: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    locale: str = "en_US"
    leaks: tuple[str, ...] = _LEAKS

    @property
    def sources(self) -> dict[str, Source]:
        return {"case": Source("Case", self.html, None)} | {name: Source(None, html, None) for name, html in self.others.items()}


def _nested(loops: int, over: str, body: str = "") -> str:
    return f"{{% for x in {over} %}}" * loops + body + "{% endfor %}" * loops


BOMBS = (
    Case("loops over a text, nested, without a word put out", _nested(12, f"'{_TEN}'", "{% if x == 'b' %}b{% endif %}")),
    Case("loops over a list of the variables, nested", _nested(8, "items"), variables={"items": list(range(500))}),
    Case("loops that put out much", _nested(9, f"'{_TEN}'", "{{ x }}")),
    Case("ranges, nested", "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}"),
    Case("a text times a number", "{{ 'a' * 10000000000 }}"),
    Case("a list times a number", "{{ ([0] * 1000000000)|length }}"),
    Case("a power of a power", "{{ 9**9**9 }}"),
    Case("products that grow", "{% set n = 9999999999 %}" + "{% set n = n * n %}" * 40 + "{{ n }}"),
    Case("a text that doubles", "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a|length }}"),
    Case("a list that doubles", "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a|string|length }}"),
    Case("a sum that doubles a text", "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a + a %}" * 60 + "{{ a|length }}"),
    Case("center", "{{ 'a'|center(1000000000) }}"),
    Case("format with a width", "{{ '%1000000000d'|format(1) }}{{ '%1000000000d' % 1 }}"),
    Case("indent of many lines by much", "{{ text|replace('a', '\n')|indent(100000000) }}", variables={"text": "a" * 60_000}),
    Case("batch filled up", "{{ [1]|batch(2000000000, 'x')|list|length }}"),
    Case("slice into many", "{{ [1]|slice(2000000000)|list|length }}"),
    Case(
        "replace that multiplies",
        "{% set a = text %}" + "{% set a = a|replace('a', text) %}" * 3 + "{{ a|length }}",
        variables={"text": "a" * 9_000},
    ),
    Case("join with a long glue", "{{ items|join(text) }}", variables={"items": list(range(9_000)), "text": "x" * 20_000}),
    Case("wordwrap with a long line end", "{{ text|wordwrap(1, true, text) }}", variables={"text": "x" * 30_000}),
    Case("round to far too many places", "{{ 1.5|round(1000000000, 'ceil') }}"),
    Case("a number of many digits", "{{ '9'|replace('9', text)|int * 3 }}", variables={"text": "9" * 60_000}),
    Case(
        "urlencode of what was encoded",
        "{% set a = text %}" + "{% set a = a|urlencode %}" * 14 + "{{ a|length }}",
        variables={"text": "%" * 50_000},
    ),
    Case("a macro that calls itself", "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}"),
    Case(
        "a macro that calls itself by many ways",
        "{% macro m(n) %}{% if n %}" + "{{ m(n - 1) }}" * 10 + "{% endif %}{% endmacro %}{{ m(30) }}",
    ),
    Case("a loop that calls itself", "{% for x in [[1]] recursive %}{{ loop([x, x]) }}{% endfor %}"),
    Case("an include of itself", '{% include "case" %}'),
    Case("includes in a circle", '{% include "b" %}', {"b": '{% include "c" %}', "c": '{% include "case" %}'}),
    Case("extends in a circle", '{% extends "b" %}', {"b": '{% extends "case" %}'}),
    Case(
        "a tree of includes",
        '{% include "l1" %}' * 10,
        {f"l{n}": f'{{% include "l{n + 1}" %}}' * 10 for n in range(1, 8)} | {"l8": "xxxxxxxxxx"},
    ),
    Case("a block that shows itself", "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}"),
    Case("brackets, two thousand deep", "{{ " + "(" * 2_000 + "1" + ")" * 2_000 + " }}"),
    Case("conditions, two thousand deep", "{% if a %}" * 2_000 + "{% endif %}" * 2_000, variables={"a": True}),
    Case("a giant literal", "{{ '" + "a" * 400_000 + "'|upper|lower|title|length }}{{ [" + "1," * 40_000 + "]|length }}"),
    Case(
        "a style of many rules for many elements",
        "<style>" + "".join(f"p b:nth-child({n}) ~ i{{top:{n}px}}" for n in range(6_000)) + "</style>" + "<p><b></b><i></i>" * 8_000,
    ),
)

ESCAPES = (
    Case(
        "classes by their order of resolution",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ ''['__class__'] }}{{ [].__class__.__base__ }}",
    ),
    Case("attr and map, that read attributes", "{{ ''|attr('__class__') }}{{ [order]|map(attribute='__class__')|list }}"),
    Case(
        "format strings",
        "{{ '{0.__class__.__init__.__globals__}'.format(order) }}{{ '{a.__class__}'.format_map({'a': 1}) }}",
    ),
    Case(
        "what Jinja puts around",
        "{{ cycler.__init__.__globals__.os.environ }}{{ joiner.__init__ }}{{ namespace.__init__ }}{{ lipsum.__globals__ }}",
    ),
    Case(
        "self, caller, varargs and their insides",
        "{{ self.__init__.__globals__ }}{% macro m() %}{{ caller.__class__ }}{{ varargs.__class__ }}"
        "{% endmacro %}{{ m() }}{{ m.__globals__ }}",
    ),
    Case(
        "a loop and its insides",
        "{% for x in [1] %}{{ loop.__class__ }}{{ loop._iterator }}{{ loop['__init__'] }}{{ loop.cycle.__func__ }}{% endfor %}",
    ),
    Case("files of the machine", '{% include "/etc/passwd" %}{% import "../../app/config.py" as c %}{% include "case.html" %}'),
    Case(
        "letters that look like others", "{{ order.__ｃlass__ }}{{ order['__\\u0063lass__'] }}{{ order.__claſs__ }}{{ order|ａttr('x') }}"
    ),
)

CASES = BOMBS + ESCAPES
VARIABLES: dict[str, Any] = {"order": {"number": "1042", "items": [{"name": "Caffè", "price": 4.5}]}, "secret": "known to the account"}
