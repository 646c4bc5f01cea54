"""Templates that mean harm: bombs that want time or memory, and escapes that want out of the sandbox.

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
    """One of them. `variables` are given to it beside the common ones."""

    name: str
    html: str
    others: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    locale: str = "en_US"
    leaks: tuple[str, ...] = _LEAKS

    @property
    def sources(self) -> dict[str, Source]:
        return {"case": Source("Case", self.html, None)} | {name: Source(None, html, None) for name, html in self.others.items()}


# Small in memory, and a path through every one of 2^40 ends.
_TWISTED = "{% set a = [1] %}{% set b = [1] %}" + "{% set a = [a, a] %}{% set b = [b, b] %}" * 40


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
    Case("a sum that doubles a list", "{% set a = [1] %}" + "{% set a = [a, a]|sum(start=[]) %}" * 40 + "{{ a|length }}"),
    Case("two twisted lists compared", _TWISTED + "{{ a == b }}"),
    Case("a twisted list looked for", _TWISTED + "{{ a in [b] }}{{ [a, b]|sort|length }}"),
    Case(
        "a twisted tuple as a key",
        "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 40 + "{{ {a: 1}|length }}{{ [a, a]|unique|list|length }}",
    ),
    Case("a twisted list as an argument", _TWISTED + "{{ 1|money(a) }}"),
    Case("many texts joined in one expression", "{{ (" + " ~ ".join(["text"] * 5_000) + ")|length }}", variables={"text": "a" * 60_000}),
    Case("indent by a long text", "{{ text|indent(text) }}", variables={"text": "a\n" * 20_000}),
    Case("wordwrap at hyphens", "{{ text|wordwrap(3, false, text) }}", variables={"text": "a-" * 10_000}),
    Case("wordwrap to nothing", "{{ text|wordwrap(0) }}{{ text|wordwrap(-1) }}", variables={"text": "a b " * 1_000}),
    Case("wordwrap when it is compiled", "{{ '" + "a" * 20_000 + "'|wordwrap(1, true, '" + "b" * 20_000 + "')|length }}"),
    Case("replace of nothing", "{% set a = 'ab' %}" + "{% set a = a|replace('', a) %}" * 9 + "{{ a|length }}"),
    Case(
        "a filter over many texts",
        "{{ many|map('wordwrap', 1, true, text)|join|length }}",
        variables={"many": ["a" * 30] * 900, "text": "b" * 5_000},
    ),
    Case(
        "groups within groups",
        _nested(3, "many", "{% for k in many|groupby('a') %}{% endfor %}"),
        variables={"many": [{"a": n} for n in range(300)]},
    ),
    Case(
        "batches within batches",
        "{% for x in many|batch(1, text) %}{% for y in many|batch(100000, text) %}{% endfor %}{% endfor %}",
        variables={"many": [1] * 900, "text": "a"},
    ),
    Case(
        "a number of a quarter of a million bits",
        _nested(5, "many", "{% if ('0x' ~ text)|int(base=16) == 3 %}{% endif %}"),
        variables={"many": [1] * 50, "text": "f" * 60_000},
    ),
    Case("a literal of many digits", "{{ 0x" + "f" * 50_000 + " * 2 }}"),
    Case("numbers with absurd exponents", "{{ '1E-999999999'|number(10) }}{{ '0e999999999'|money }}", locale="ar_EG"),
    Case("dates at the ends of time", "{{ '0001-01-01T00:00:00+14:00'|datetime('full', 'America/New_York') }}"),
    Case(
        "what a block keeps to itself",
        "{% set a %}" + _nested(2, "many", "{{ text }}") + "{% endset %}",
        variables={"many": [1] * 900, "text": "x" * 1_000},
    ),
    Case(
        "what a macro keeps to itself",
        "{% macro m() %}" + _nested(2, "many", "{{ text }}") + "{% endmacro %}{{ m()|length }}",
        variables={"many": [1] * 900, "text": "x" * 1_000},
    ),
    Case(
        "callers of callers",
        "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}" + "{% call m() %}" * 40 + "x" + "{% endcall %}" * 40,
    ),
    Case(
        "includes that fan out under the bound",
        "{% for x in many %}{% include 'b' %}{% endfor %}",
        {"b": "{% for x in many %}{% include 'c' %}{% endfor %}", "c": "{% if false %}x{% endif %}"},
        {"many": [1] * 3_000},
    ),
    Case(
        "blocks of blocks",
        "{% extends 'b' %}{% block a %}" + "{{ super() }}" * 50 + "{% endblock %}",
        {
            "b": "{% extends 'c' %}{% block a %}" + "{{ super() }}" * 50 + "{% endblock %}",
            "c": "{% block a %}" + "x" * 100_000 + "{% endblock %}",
        },
    ),
    Case("many tags to take away", "{{ text|striptags }}{{ text|safe }}", variables={"text": "<!----><>" * 9_000}),
    Case("texts that grow in capitals", "{{ text|upper|lower|title }}", variables={"text": "ﬃßİ" * 20_000}),
    Case("brackets of a list, three thousand deep", "{{ " + "[" * 3_000 + "]" * 3_000 + " }}"),
    Case("a chain of comparisons", "{{ " + " < ".join(["1"] * 5_000) + " }}"),
    Case("a chain of sums", "{{ " + " + ".join(["1"] * 20_000) + " }}"),
    Case("elements in elements for a style", "<style>div div div div b{color:red}</style>" + "<div>" * 8_000 + "<b>"),
    Case("formatting that is never closed, for a style", "<style>b{color:red}</style>" + "<a><b><i><p>" * 1_500 + "</a>" * 1_500),
    Case("lists in lists for a text", "<ul><li>" * 30_000),
    Case("a style that imports", "<style>" + "@import url(http://127.0.0.1:1/x);" * 5_000 + "</style><p>x"),
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
        "filters by their names", "{{ [order]|map(name, '__class__')|list }}{{ ['x']|select('filter')|list }}", variables={"name": "attr"}
    ),
    Case(
        "an import and its insides",
        "{% import 'b' as b %}{{ b._body_stream }}{{ b.m.__globals__ }}{{ b.__class__ }}",
        {"b": "{% macro m() %}x{% endmacro %}"},
    ),
    Case(
        "super and its insides",
        "{% extends 'b' %}{% block a %}{{ super._stack }}{{ super.__init__ }}{% endblock %}",
        {"b": "{% block a %}x{% endblock %}"},
    ),
    Case("methods of texts", "{{ secret.format }}{{ secret['join'] }}{{ secret.__class__ }}{{ secret.encode() }}"),
    Case(
        "letters that look like others", "{{ order.__ｃlass__ }}{{ order['__\\u0063lass__'] }}{{ order.__claſs__ }}{{ order|ａttr('x') }}"
    ),
)

CASES = BOMBS + ESCAPES
VARIABLES: dict[str, Any] = {"order": {"number": "1042", "items": [{"name": "Caffè", "price": 4.5}]}, "secret": "known to the account"}
