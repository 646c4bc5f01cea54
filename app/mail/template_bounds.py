"""How long what an expression of a template makes can get, from its syntax alone; and what making it costs.

A bound is linear in what a message brings (`Length`): so many letters of the template's own, so often the longest text of the variables,
so often all of them. A member of the variables is a part of them; from there on every filter and operator has its rule here, and what
has none is Unproven. All of it holds for chains too: what is made is looked at again, and may be longer than the variables by far.

What rewriting adds to a text, of one octet of the variables as JSON (a brute force over all letters stands in the tests):

    as it lies there          1
    as text                   4     a list or an object is written as Python does: DEL becomes \\x7f
    rewritten once            6     an apostrophe there becomes \\' and then \\&#39;
    each time more        and 8     of those six urlencode makes fourteen, of the four % in them eight more again
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes

_LONGEST_CONSTANT = 200
_LARGEST_CONSTANT = 1_000

# Other names than those of the variables: what they are is no JSON.
_NO_VARIABLES = frozenset(("loop", "self", "super"))
_OF_LOOP = 100  # letters of loop.index and its kin
_OTHER_ITEMS = ("previtem", "nextitem")
_NUMBER, _BOOLEAN = 50, 5
# By the sandbox's LARGEST_NUMBER and Babel: forty digits of three octets, with what stands between and around them.
_AMOUNT = 300
_DATE, _OF_PATTERN = 300, 40
# What a float can be as an int: "1e308"|float|int.
_LONGEST_INT = 320

_CHOOSING = ("default", "d")
_PARTS = ("first", "last")
_AMOUNTS = ("money", "number")
_DATES = ("date", "datetime")
# Babel takes so much longer than others.
_DATE_OPERATIONS = 10
_ESCAPING = ("e", "escape", "html escape")
_REWRITING = frozenset(("capitalize", "lower", "title", "upper", "urlencode"))
_PASSING_ON = frozenset(("safe", "striptags", "trim", "truncate"))
# A call of Python for each letter, word or tag of the text, where others pass over it in C.
_SLOW = {"striptags": 4, "title": 4, "urlencode": 2}
_SLOW_SAFE = 4  # in the text part, where it strips tags
_SLOW_JOIN = 4
_NO_MARKUP = frozenset(("join", "striptags", "title", "urlencode"))
_TESTS = frozenset(
    (
        *("defined", "undefined", "none", "true", "false", "string", "number", "mapping", "sequence", "even", "odd", "divisibleby"),
        *("eq", "ne", "lt", "le", "gt", "ge"),
    )
)
_AS_IT_LIES, _AS_TEXT = -1, 0


class Unproven(Exception):
    """There is no bound."""


@dataclass(frozen=True, slots=True)
class Length:
    """At most so many octets: `letters`, and so often the longest text of the variables, all of them, the item that the loop stands at."""

    letters: int = 0
    texts: int = 0
    values: int = 0
    own: int = 0

    def __add__(self, other: Length) -> Length:
        return Length(self.letters + other.letters, self.texts + other.texts, self.values + other.values, self.own + other.own)

    def __mul__(self, times: int) -> Length:
        return Length(self.letters * times, self.texts * times, self.values * times, self.own * times)


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression makes: of what, how often that was rewritten, and whether it may be Markup, which is escaped no more."""

    of: Length
    rewritten: int = _AS_IT_LIES
    markup: bool = False

    @property
    def length(self) -> Length:
        return self.of * (1 if self.rewritten < _AS_TEXT else max(4, 8 * self.rewritten - 2))

    def as_text(self) -> Value:
        return Value(self.of, max(self.rewritten, _AS_TEXT), self.markup)

    def again(self) -> Value:
        return Value(self.of, max(self.rewritten, _AS_TEXT) + 1, self.markup)


@dataclass(slots=True)
class Turn:
    """One turn of a loop (or what is in none): what it costs, as far as it is judged. `own`: the name of the item that it stands at."""

    own: str
    is_html: bool
    count: Callable[[int], None]
    operations: int = 0
    cost: Length = Length()

    def judge(self, node: nodes.Node, depth: int) -> Value:
        """What an expression makes; each step of it is an operation. Unproven when there is no bound."""
        self.count(depth)
        self.operations += 1
        if isinstance(node, nodes.Const):
            return Value(Length(_letters_of(node.value)))
        if isinstance(node, nodes.Name):
            return self._variable(node.name)
        if isinstance(node, nodes.Getattr | nodes.Getitem):
            return self._member(node, depth)
        if isinstance(node, nodes.Filter):
            return self._filtered(node, depth)
        if isinstance(node, nodes.List) and not node.items:
            return Value(Length())
        return self._calculated(node, [self.judge(one, depth + 1) for one in _operands(node)])

    def put_out(self, node: nodes.Node, depth: int) -> None:
        """{{ node }}: a list or an object is refused there, so that a member is one of the texts."""
        value = self.judge(node, depth)
        if self.is_html and not (isinstance(node, nodes.Filter) and node.name in (*_ESCAPING, "safe")):
            self._pay_text(value, value.again())
        else:
            self._pay_text(value, value)

    def _variable(self, name: str) -> Value:
        if name in _NO_VARIABLES:
            raise Unproven
        return Value(Length(own=1) if name == self.own else Length(values=1))

    def _member(self, node: nodes.Getattr | nodes.Getitem, depth: int) -> Value:
        if isinstance(node, nodes.Getitem):
            if not isinstance(node.arg, nodes.Const):
                raise Unproven
            self.judge(node.arg, depth + 1)
        elif isinstance(node.node, nodes.Name) and node.node.name == "loop":
            return Value(Length(_OF_LOOP, values=1 if node.attr in _OTHER_ITEMS else 0))
        return self.judge(node.node, depth + 1)

    def _calculated(self, node: nodes.Node, operands: list[Value]) -> Value:
        if isinstance(node, nodes.And | nodes.Or | nodes.CondExpr):
            return _either(operands)
        if isinstance(node, nodes.Not):
            return Value(Length(_BOOLEAN))
        if isinstance(node, nodes.Compare | nodes.Test):
            if isinstance(node, nodes.Compare) or len(operands) > 1:
                self._pay(_sum(one.length for one in operands))
            return Value(Length(_BOOLEAN))
        if isinstance(node, nodes.Concat | nodes.Add):
            return self._joined(operands)
        if isinstance(node, nodes.Neg | nodes.Pos):
            return Value(operands[0].of + Length(1), operands[0].rewritten)
        return Value(Length(_NUMBER))  # the sandbox refuses all else

    def _joined(self, operands: list[Value]) -> Value:
        """What is put together is as long as all of it; with Markup in it the rest is escaped."""
        made = _either([*operands, Value(Length(_NUMBER))]).as_text()
        if self.is_html and made.markup:
            made = made.again()
        self._pay(made.length)
        return made

    def _filtered(self, node: nodes.Filter, depth: int) -> Value:
        if node.node is None or node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Unproven
        given = self.judge(node.node, depth + 1)
        arguments = [(one, self.judge(one, depth + 1)) for one in (*node.args, *(pair.value for pair in node.kwargs))]
        if node.name in _CHOOSING:
            return _either([given, *(value for _, value in arguments)])
        if not all(isinstance(one, nodes.Const) for one, _ in arguments):
            raise Unproven
        return self._by_name(node, given, _sum(value.of for _, value in arguments))

    def _by_name(self, node: nodes.Filter, given: Value, arguments: Length) -> Value:
        name = node.name
        if name in _PARTS:
            return given
        if name in ("length", "count"):
            return Value(Length(_NUMBER))
        if name in _AMOUNTS:
            self._pay_text(given, given)
            return Value(Length(_AMOUNT))
        if name in _DATES:
            self.operations += _DATE_OPERATIONS
            return Value(Length(_DATE + _OF_PATTERN * arguments.letters))
        if name in ("abs", "float", "int"):
            if name == "int" and len(node.args) + len(node.kwargs) > 1:
                raise Unproven  # with a base of its own a number can have any number of digits, and calculating with it no bound
            self._pay_text(given, given)
            return Value(given.of + Length(_LONGEST_INT), given.rewritten)
        if name == "join":
            return self._join(given, arguments)
        return self._rewrite(name, given, arguments)

    def _join(self, given: Value, between: Length) -> Value:
        """Of a text every letter is an item, and between them stands what is given."""
        items = given.length
        made = Value(given.of + items * between.letters, max(given.rewritten, _AS_TEXT))
        self._pay(made.length + items * _SLOW_JOIN)
        return made

    def _rewrite(self, name: str, given: Value, arguments: Length) -> Value:
        """Filters that make a text of a text."""
        markup = given.markup and name not in _NO_MARKUP
        of = Value(given.of + arguments, given.rewritten).as_text()
        slow = _SLOW.get(name, 1)
        if name in _REWRITING or (name in _ESCAPING and (self.is_html or name == "html escape")):
            made = of.again()
        elif name in _PASSING_ON or name in _ESCAPING:
            made = of
            slow = _SLOW_SAFE if name == "safe" and not self.is_html else slow
        else:
            raise Unproven
        self._pay(made.length * slow)
        return Value(made.of, made.rewritten, markup or name in (*_ESCAPING, "safe"))

    def _pay(self, length: Length) -> None:
        self.cost += length

    def _pay_text(self, value: Value, made: Value) -> None:
        """For what is made of a text: a member that is none is refused before."""
        length = made.length
        if value.rewritten == _AS_IT_LIES:
            length = made.of * (6 if made.rewritten > _AS_TEXT else 1)
            length = Length(length.letters, length.texts + length.values, 0, length.own)
        self._pay(length)


def _operands(node: nodes.Node) -> Iterable[nodes.Node]:
    """What is judged of an operator before it; Unproven for what is none."""
    if isinstance(node, nodes.Compare):
        return (node.expr, *(one.expr for one in node.ops))
    if isinstance(node, nodes.CondExpr):
        return (node.expr1, *([node.expr2] if node.expr2 is not None else ()), node.test)
    if isinstance(node, nodes.Test):
        if node.name not in _TESTS or node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Unproven
        return (node.node, *node.args)
    if isinstance(node, nodes.Concat):
        return node.nodes
    if isinstance(node, nodes.And | nodes.Or | nodes.Add | nodes.Sub | nodes.Mul | nodes.Div | nodes.FloorDiv | nodes.Mod):
        return (node.left, node.right)
    if isinstance(node, nodes.Not | nodes.Neg | nodes.Pos):
        return (node.node,)
    raise Unproven


def _either(values: list[Value]) -> Value:
    """One of them, whichever."""
    return Value(
        _sum(one.of for one in values),
        max((one.rewritten for one in values), default=_AS_IT_LIES),
        any(one.markup for one in values),
    )


def _sum(lengths: Iterable[Length]) -> Length:
    return sum(lengths, Length())


def _letters_of(value: Any) -> int:
    """Of a constant, in octets."""
    if isinstance(value, str):
        if len(value) > _LONGEST_CONSTANT:
            raise Unproven
    elif isinstance(value, int | float):
        if not -_LARGEST_CONSTANT <= value <= _LARGEST_CONSTANT:
            raise Unproven
    elif value is not None:
        raise Unproven
    return len(str(value).encode(errors="surrogatepass"))
