"""A check says what a render would: the same faults with the same words, the same subject; it only writes no mail."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from app.mail.template import Compiled, Fault, Source, TemplateFault, freeze
from app.mail.template_check import Check
from tests.bench.confirmation import SOURCES, VARIABLES

_WRONG: tuple[Any, ...] = (None, True, 0, -1, 1e39, 1e41, 10**17, "", "12,5", "12.5", "<b>", [], {}, [1], {"a": 1}, "2026-02-30", 2**62)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*path, step)
        yield from _places(inner, (*path, step))


def _spoilt(variables: dict[str, Any], path: tuple[Any, ...], *wrong: Any) -> dict[str, Any]:
    """The variables with another value at a place, or without it."""
    made = copy.deepcopy(variables)
    holder: Any = made
    for step in path[:-1]:
        holder = holder[step]
    if wrong:
        holder[path[-1]] = wrong[0]
    else:
        del holder[path[-1]]
    return made


def _said(compiled: Compiled, variables: dict[str, Any], locale: str = "it_IT") -> Fault | str | None:
    try:
        return compiled.render(variables, locale).subject
    except TemplateFault as error:
        return error.fault


def _checked(check: Check, variables: dict[str, Any], locale: str = "it_IT") -> Fault | str | None:
    try:
        return check.subject_for(variables, locale)
    except TemplateFault as error:
        return error.fault


def _assert_same(compiled: Compiled, check: Check, variables: dict[str, Any]) -> bool:
    """Whether there was a fault."""
    said = _said(compiled, variables)
    assert _checked(check, variables) == said, variables
    return isinstance(said, Fault)


@pytest.mark.parametrize(
    "own_text", [None, "{{ order.number }} {% for item in order.items %}{{ item.sku|lower }}{{ item.price|money }}{% endfor %}"]
)
def test_an_order_confirmation_with_every_place_missing_or_wrong(own_text: str | None) -> None:
    order = SOURCES["order"]
    compiled = Compiled(freeze("order", SOURCES | {"order": Source(order.subject, order.html, own_text)}))
    assert compiled.plan is not None
    check = Check(compiled)
    assert not _assert_same(compiled, check, VARIABLES)
    places = list(_places(VARIABLES))
    faults = sum(_assert_same(compiled, check, _spoilt(VARIABLES, path)) for path in places)
    assert faults > 50
    for path in places:
        for wrong in _WRONG:
            _assert_same(compiled, check, _spoilt(VARIABLES, path, wrong))
    assert not check.has_odd_strings


_SNIPPETS = (
    "{{ a }}",
    "{{ a|upper }}",
    "{{ a.b }}",
    "{{ a|money }}",
    '{{ a|money("USD") }}',
    '{{ a|money("XXQ") }}',
    "{{ a|number(2) }}",
    "{{ a|number(2.0) }}",
    "{{ a|number(true) }}",
    "{{ a|money|length }}",
    "{{ a|money ~ b }}",
    "{{ a|date }}",
    '{{ a|datetime("short", "Europe/Rome") }}',
    "{{ a|default('-') }}",
    "{{ a|default(0)|number }}",
    "{{ a * b }}",
    "{{ a / b }}",
    "{{ a ~ b }}",
    "{{ a|safe }}",
    "{{ a|first }}",
    "{{ a|join(', ') }}",
    "{{ a|int|money }}",
    "{{ a|truncate(3) }}",
    "{% if a is defined %}{{ b }}{% endif %}",
    "{% if a %}{{ b|money }}{% else %}{{ a.c }}{% endif %}",
    "{% if a|money == '1,00\xa0€' %}{{ b.d }}{% endif %}",
    "{% for x in a %}{{ x }}{% else %}{{ b }}{% endfor %}",
    "{% for x in a|default([]) %}{{ loop.index }}{{ x.b }}{% endfor %}",
    "{% for x in a %}{% for y in x.b %}{{ y|number }}{% endfor %}{% endfor %}",
    "{{ a if b else a.b }}",
    "{{ a[0] }}",
    "{{ a['b'] }}",
    "{{ a > b }}",
    "{{ a is divisibleby 3 }}",
)
_VALUES: tuple[Any, ...] = (*_WRONG, 1, 3, 2.5, "x", "2026-11-24", "2026-11-24T09:30:00+01:00", {"b": 2}, [{"b": [1, "x"]}], [{"b": 3}])


@pytest.mark.parametrize("snippet", _SNIPPETS)
def test_small_templates_with_all_kinds_of_values(snippet: str) -> None:
    compiled = Compiled(freeze("t", {"t": Source("S {{ s|default('') }}", f"<p>a{snippet}z</p>", None)}))
    assert compiled.plan is not None, "not proven: it is never checked"
    check = Check(compiled)
    chance = random.Random(7)
    kinds = set()
    for _ in range(400):
        variables = {name: chance.choice(_VALUES) for name in "abs" if chance.random() < 0.8}
        kinds.add(_assert_same(compiled, check, variables))
    assert False in kinds or snippet in ('{{ a|money("XXQ") }}', "{{ a|number(2.0) }}", "{{ a|number(true) }}")


def test_a_locale_that_is_not_there() -> None:
    compiled = Compiled(freeze("t", {"t": Source(None, "<p>{{ a }}</p>", None)}))
    assert _checked(Check(compiled), {"a": 1}, "xx_YY") == _said(compiled, {"a": 1}, "xx_YY")


@pytest.mark.parametrize("odd", ["\\0", "\\ud800"])
def test_strings_that_no_mail_carries_are_seen_wherever_they_are(odd: str) -> None:
    sources = {"t": Source("s", '{% include "part" %}', None), "part": Source(None, f"{{% if a %}}{{{{ '{odd}' }}}}{{% endif %}}", None)}
    check = Check(Compiled(freeze("t", sources)))
    check.subject_for({"a": 0}, "en")
    assert check.has_odd_strings
