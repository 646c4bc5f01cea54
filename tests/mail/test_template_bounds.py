"""What a proven template makes is never more than was promised for it: bounds, against what really comes out."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from markupsafe import escape

from app.mail.template import Compiled, FrozenSet, Source, TemplateFault, freeze
from app.mail.template_bounds import Length, Value
from app.mail.template_proof import MOST_CHARACTERS, MOST_OPERATIONS

_TURN = "\u2603"  # stands in every loop; no variable has it
# What is rewritten into most: quotes and signs of HTML and URLs, letters that are long in capitals, and what Python writes by number.
_LETTERS = " a1.'\"&<>%\\\n-" + "\x7f\xad\u0390\ufb04\u0130\ue000\U0010ffff"

_texts = st.text(_LETTERS, max_size=12)
_scalars = st.one_of(_texts, st.integers(-(10**18), 10**18), st.sampled_from([None, True, 0.1, 1e300, 1e16, 1e-7, "1e308", "9" * 300]))
_items = st.one_of(_scalars, st.fixed_dictionaries({"d": _scalars, "e": st.lists(_scalars, max_size=4)}))
_variables = st.fixed_dictionaries({"a": _scalars, "b": st.lists(_items, max_size=6), "c": st.fixed_dictionaries({"d": _scalars})})

_FILTERS = (
    *("abs", "capitalize", "count", "default('-')", "d(a)", "e", "escape", "first", "float", "int", "last", "length", "lower", "money"),
    *("number(2)", "safe", "striptags", "title", "trim", "truncate(5, true, '\u0390')", "upper", "urlencode", "date", "default(b)"),
    *("join", "join(', ')", "join('\u0390&<')", "join('%', attribute='d')", "date('EEEE d MMMM y G EEEE')"),
)
_atoms = st.sampled_from(["a", "b", "c", "c.d", "x", "x.d", "x.e", "b[0]", "loop.index", "7", "'&'", "'\u0390<%'", "nobody"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    filtered = st.builds("({})|{}".format, inner, st.sampled_from(_FILTERS))
    return st.one_of(
        filtered,
        filtered,
        st.builds("({} {} {})".format, inner, st.sampled_from(["~", "+", "*", "==", "or", "and", "in", "is eq", "~", "~"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({})[0]".format, inner),
        st.builds("(-{})".format, inner),
        st.builds("({} is {})".format, inner, st.sampled_from(["defined", "string", "even", "divisibleby 3"])),
    )


_expressions = st.recursive(_atoms, _larger, max_leaves=6)


def _bodies(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.sampled_from(["b", "x.e", "x", "c", "a", "b[0].e", "y.e", "x|default([])"])
    loop = st.builds("{{% for {} in {} %}}{}{}{{% endfor %}}".format, st.sampled_from("xxy"), lists, st.just(_TURN), inner)
    choice = st.builds("{{% if {} %}}{}{{% else %}}-{{% endif %}}".format, _expressions, inner)
    return st.one_of(loop, loop, choice, st.builds("{}{}".format, inner, inner))


_templates = st.recursive(st.builds("{{{{ {} }}}}".format, _expressions), _bodies, max_leaves=5)


def _count_made(compiled: Compiled) -> list[int]:
    """From now on: the characters that filters make."""
    made = [0]

    def counting(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def counted(*given: Any, **more: Any) -> Any:
            value = write(*given, **more)
            made[0] += len(value) if isinstance(value, str) else 0
            return value

        return counted

    for sandbox in (compiled._html, compiled._text):
        # Those that choose make nothing.
        sandbox.filters = {
            name: write if name in ("default", "d", "first", "last") else counting(write) for name, write in sandbox.filters.items()
        }
    return made


def _check(template: str, variables: dict[str, Any]) -> None:
    try:
        compiled = Compiled(FrozenSet("t", {"t": template}, {"t": template}, derived=False, proven=True))
    except TemplateFault:
        return
    if compiled.plan is None:
        return
    operations, characters = compiled.plan.cost_of(variables, len(orjson.dumps(variables)))
    if operations > MOST_OPERATIONS or characters > MOST_CHARACTERS:
        return
    made = _count_made(compiled)
    turns = 0
    try:
        rendered = compiled.render(variables, "ta_IN")
        written = (rendered.html or "") + (rendered.text or "")
        made[0] += len(written)
        turns = written.count(_TURN)
    except TemplateFault:
        pass  # what was made until then counts as well
    assert made[0] <= characters
    assert turns <= operations


@given(_templates, _variables)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_template_makes_more_than_was_promised(template: str, variables: dict[str, Any]) -> None:
    assume("{{" in template)
    _check(template, variables)


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        # Joined, and what was joined is taken apart and joined again.
        ("{{ a" + "|join('" + "x" * 50 + "')" * 2 + "|length }}", {"a": "ab" * 15}),
        ("{{ a" + "|join('&&&')" * 3 + "|e }}", {"a": "ab" * 15}),
        ("{{ ''|default('" + "&" * 200 + "', true) }}" * 50, {"a": ""}),
        ("{{ b|e|urlencode }}", {"b": ["'\"" * 500]}),
        ("{{ b|upper }}", {"b": ["\x7f" * 500]}),
        ("{{ (a ~ a) ~ (a ~ a) ~ (a|e) }}", {"a": "&" * 500}),
        ("{{ a|upper|urlencode|title }}", {"a": "\u0390" * 500}),
        ("{% for x in b %}{{ x|upper }}{{ x|title }}{% endfor %}", {"b": ["<" * 20] * 30}),
        # A list in a list in a list: those of the last are met in each turn of the first.
        (
            f"{{% for x in a %}}{{% for y in b %}}{{% for z in y %}}{_TURN}{{% endfor %}}{{% endfor %}}{{% endfor %}}",
            {"a": [1] * 99, "b": [[1] * 30]},
        ),
        (
            f"{{% for x in b %}}{{% for y in a %}}{{% for z in x %}}{_TURN}{{% endfor %}}{{% endfor %}}{{% endfor %}}",
            {"a": [1] * 40, "b": [[1] * 30]},
        ),
    ],
)
def test_what_grows_most(template: str, variables: dict[str, Any]) -> None:
    _check(template, variables)


def test_joins_of_joins_are_not_small() -> None:
    separator = "x" * 200
    for joins in (2, 3, 12):
        chain = "{{ a" + f"|join('{separator}')" * joins + "|length }}"
        plan = Compiled(freeze("t", {"t": Source(None, None, chain)})).plan
        assert plan is None or not plan.is_small({"a": "ab" * 15}, 40)
    # Of constants they would be made when they are compiled.
    chain = "{{ 'abcdefgh'" + f"|join('{separator}')" * 3 + "|length }}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jinja2.optimizer.Optimizer.generic_visit", lambda self, node, *_: node)
        assert not freeze("t", {"t": Source(None, None, chain)}).proven


def test_what_shops_write_is_small() -> None:
    html = (
        "<h1>{{ customer.name|title }}</h1>{{ content|safe }}{{ tags|join(', ') }}<a href='{{ url }}?q={{ term|urlencode }}'>x</a>"
        "{% for item in items %}<p>{{ loop.index }} {{ item.name|upper }} {{ item.text|truncate(80) }} {{ item.price|money }}"
        "{{ (item.price * item.count)|money }} {{ item.date|date('long') }} {{ item.name ~ ' ' ~ item.text }}</p>{% endfor %}"
    )
    plan = Compiled(freeze("t", {"t": Source("{{ customer.name|upper }}", html, None)})).plan
    assert plan is not None
    item = {"name": "Ruota dentata in ottone", "text": "x" * 120, "price": 9.9, "count": 2, "date": "2026-11-24"}
    variables = {
        "customer": {"name": "Ada"},
        "content": "<p>x</p>" * 100,
        "tags": ["a", "b"],
        "url": "https://shop.example.test",
        "term": "x",
        "items": [item] * 40,
    }
    assert plan.is_small(variables, len(orjson.dumps(variables)))


def test_a_plan_is_quick_whatever_the_template() -> None:
    """Loops that never turn are not looked into: the lists in them are not collected."""
    loops = "{% for b in s %}{% endfor %}" * 500
    plan = Compiled(freeze("t", {"t": Source(None, None, "{% for x in e %}" + loops + "{% endfor %}")})).plan
    assert plan is not None

    class Walked(str):
        """Not to be collected, letter by letter."""

        __slots__ = ()

        def __iter__(self) -> Any:
            raise AssertionError

    operations, _ = plan.cost_of({"e": [], "s": Walked("x" * 60_000)}, 60_000)
    assert operations < 100
    assert not plan.is_small({"e": [1], "s": Walked("x" * 60_000)}, 60_000)
    # What stands at many places is not looked for at each, again and again.
    far = "{% for a in xs %}{% for b in a.one %}" + "{% for c in a.q %}{% endfor %}" * 300 + "{% endfor %}{% endfor %}"
    plan = Compiled(freeze("t", {"t": Source(None, None, far)})).plan
    assert plan is not None
    assert not plan.is_small({"xs": [{"one": [1]}] + [{}] * 500}, 2_000)


def test_rewriting_adds_no_more_than_is_reckoned() -> None:
    """Each letter that is long in some form, as it lies and as a list is written, by all ways of rewriting it again and again."""
    rewriting: tuple[Callable[[str], str], ...] = (
        *(str.upper, str.lower, str.title, str.capitalize),
        *(lambda text: str(escape(text)), quote),
    )
    long = [
        chr(n)
        for n in range(0x20000)
        if not 0xD800 <= n < 0xE000 and max(len(f(chr(n)).encode()) for f in rewriting[:4]) > len(chr(n).encode())
    ]
    letters = {*map(chr, range(1, 0x80)), *_LETTERS, *long, "\x80", "\u2028", chr(sys.maxunicode)}
    for letter in letters:
        for value in (letter * 50, [letter * 50 + "'\""], {letter * 50: [1, None]}):
            size = len(orjson.dumps(value))
            for again in range(4):
                most = Value(Length(1), again).length.letters * size
                ways: Any = itertools.product(rewriting, repeat=again) if again < 3 else itertools.product(rewriting[3:], repeat=again)
                for way in ways:
                    made = functools.reduce(lambda text, rewrite: rewrite(text), way, str(value))
                    assert len(made) <= most, (letter, way)
