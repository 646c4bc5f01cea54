"""The proof that a template cannot cost much: from its syntax, once, and then from the variables of a message.

Proven is a template that puts out variables, chooses by conditions and walks lists of the variables; with layouts, partials and
filters that cannot make much out of little. No macros, calls, assignments, text in a loop over text, or recursion. What it costs is
then the number of turns of its loops, which the variables tell exactly enough (`Plan.cost_of`), times what stands in them.

A proven template with a small cost may be rendered in the calling process. For all others this proves nothing, and harms nothing:
they are rendered in a limited one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, nodes

# What one render in the calling process may take: operations, and characters that could be written or looked at.
MOST_OPERATIONS = 4_000
MOST_CHARACTERS = 4_000_000
# Sets larger than this are compiled and rendered elsewhere.
MOST_SOURCE = 100_000
_MOST_NODES = 4_000
_DEEPEST = 40
_LONGEST_CONSTANT = 200
_LARGEST_CONSTANT = 1_000

# None of them makes more than six times of what it is given ("&" becomes "&amp;", urlencode makes three of one).
_FILTERS = frozenset(
    (
        *("abs", "capitalize", "count", "d", "date", "datetime", "default", "e", "escape", "first", "float", "int", "join", "last"),
        *("length", "lower", "money", "number", "safe", "striptags", "title", "trim", "truncate", "upper", "urlencode"),
    )
)
_TESTS = frozenset(
    (
        "defined",
        "undefined",
        "none",
        "true",
        "false",
        "string",
        "number",
        "mapping",
        "sequence",
        "even",
        "odd",
        "divisibleby",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
    )
)
# Their values are numbers and dates, and short; or they look at no more than whether something is there.
_OF_SHORT = frozenset(("count", "d", "date", "datetime", "default", "first", "last", "length", "money", "number"))
# A call of Python for each word or tag of the text, where others pass over it in C.
_SLOW = {"striptags": 4, "title": 8}
_LOOKING_THROUGH = (nodes.Filter, nodes.Compare, nodes.Concat, nodes.Add, nodes.Mul)
_HARMLESS = (
    *(
        nodes.Name,
        nodes.Getattr,
        nodes.Getitem,
        nodes.Compare,
        nodes.Operand,
        nodes.And,
        nodes.Or,
        nodes.Not,
        nodes.CondExpr,
        nodes.Keyword,
    ),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat),
)
_GROWTH = 6
_ROOT = 0

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Loop:
    """A loop over the list at `path` of the variables (base 0), or of what the loop `base` stands at. `outer`: the loop around it.

    In each turn: operations, `characters` of the template itself, texts that are put out, and values of any kind that are looked through.
    """

    outer: int
    base: int
    path: Path
    operations: int = 0
    characters: int = 0
    texts: int = 0
    values: int = 0


class Plan:
    """The loops of a proven set with what stands in each; the first stands for what is in no loop."""

    def __init__(self, loops: list[_Loop]) -> None:
        self._loops = loops

    def cost_of(self, variables: Mapping[str, Any], size: int) -> tuple[int, int]:
        """(operations, characters) that one render takes at most; `size` is that of the variables as JSON."""
        operations, characters, texts, values = self._count(variables)
        if operations > MOST_OPERATIONS:
            return operations, MOST_CHARACTERS
        most = characters + (texts + values) * size * _GROWTH
        if most > MOST_CHARACTERS:
            # Too coarse: a text that is put out is one of the variables, and no list or object (the sandbox refuses those).
            most = characters + (texts * min(size, _longest(variables)) + values * size) * _GROWTH
        return operations, most

    def about_written(self, variables: Mapping[str, Any], size: int) -> int:
        """About how many characters come out, subject, HTML and text together: what the templates say, and every variable in each part."""
        return self._count(variables)[1] + 2 * size

    def _count(self, variables: Mapping[str, Any]) -> tuple[int, int, int, int]:
        """(operations, characters, texts, values) of all turns of all loops, as `_Loop` has them; cut short when it is too much."""
        turns = [1]
        stands: list[list[Any]] = [[variables]]
        first = self._loops[0]
        operations, characters, texts, values = first.operations, first.characters, first.texts, first.values
        for loop in self._loops[1:]:
            lists = [found for found in (_find(place, loop.path) for place in stands[loop.base]) if found]
            items = [item for one in lists for item in one]
            # Over a list of the very turn it stands in, the turns are the items; else each turn may meet all of them.
            number = len(items) if loop.base == loop.outer else turns[loop.outer] * len(items)
            turns.append(number)
            stands.append(items)
            operations += number * (loop.operations + 1)
            characters += number * loop.characters
            texts += number * loop.texts
            values += number * loop.values
            if operations > MOST_OPERATIONS:
                break
        return operations, characters, texts, values

    def is_small(self, variables: Mapping[str, Any], size: int) -> bool:
        """Whether a render may be done where others wait for it."""
        operations, characters = self.cost_of(variables, size)
        return operations <= MOST_OPERATIONS and characters <= MOST_CHARACTERS


def prove(parts: Iterable[tuple[Environment, str]]) -> Plan | None:
    """The plan of all parts together, or None when there is no proof."""
    proof = _Proof()
    try:
        for environment, name in parts:
            proof.add(environment, name)
    except _Unproven:
        return None
    return Plan(proof.loops)


class _Unproven(Exception):
    pass


class _Proof:
    def __init__(self) -> None:
        self.loops = [_Loop(_ROOT, _ROOT, ())]
        self._nodes = 0
        self._source = 0
        self._environment: Environment
        self._trees: dict[tuple[int, str], nodes.Template] = {}

    def add(self, environment: Environment, name: str) -> None:
        self._environment = environment
        self._visit_template(name, {}, _ROOT, {}, 0)

    def _tree_of(self, name: str) -> nodes.Template:
        key = (id(self._environment), name)
        if key not in self._trees:
            assert self._environment.loader is not None
            source, _, _ = self._environment.loader.get_source(self._environment, name)
            self._source += len(source)
            if self._source > MOST_SOURCE:
                raise _Unproven
            self._trees[key] = self._environment.parse(source, name)
        return self._trees[key]

    def _visit_template(self, name: str, scope: Mapping[str, int], loop: int, blocks: Mapping[str, nodes.Block], depth: int) -> None:
        tree = self._tree_of(name)
        parents = [node for node in tree.body if isinstance(node, nodes.Extends)]
        blocks = {block.name: block for block in tree.find_all(nodes.Block)} | dict(blocks)
        if not parents:
            self._visit_all(tree.body, scope, loop, blocks, depth + 1)
        elif len(parents) == 1 and tree.body and all(isinstance(node, nodes.Extends | nodes.Block | nodes.Output) for node in tree.body):
            # What stands around the blocks of a child is not put out.
            self._visit_template(_constant(parents[0].template), scope, loop, blocks, depth + 1)
        else:
            raise _Unproven

    def _visit_all(self, body: Iterable[nodes.Node], scope: Mapping[str, int], loop: int, blocks: Any, depth: int) -> None:
        for node in body:
            self._visit(node, scope, loop, blocks, depth)

    def _visit(self, node: nodes.Node, scope: Mapping[str, int], loop: int, blocks: Any, depth: int) -> None:
        self._count(depth)
        if isinstance(node, nodes.Output):
            for one in node.nodes:
                if isinstance(one, nodes.TemplateData):
                    self.loops[loop].characters += len(one.data)
                else:
                    self.loops[loop].texts += 1
                    self._judge(one, loop, depth + 1)
        elif isinstance(node, nodes.If):
            self._judge(node.test, loop, depth + 1)
            for branch in (node.body, node.elif_, node.else_):
                self._visit_all(branch, scope, loop, blocks, depth + 1)
        elif isinstance(node, nodes.For):
            self._visit_for(node, scope, loop, blocks, depth)
        elif isinstance(node, nodes.Block):
            # A block does not see the variables of a loop around it: inside of one it would mean others than it seems.
            if loop != _ROOT or node.required:
                raise _Unproven
            self._visit_all(blocks.get(node.name, node).body, {}, loop, blocks, depth + 1)
        elif isinstance(node, nodes.Include):
            if node.ignore_missing or not node.with_context:
                raise _Unproven
            self._visit_template(_constant(node.template), scope, loop, {}, depth + 1)
        else:
            raise _Unproven

    def _visit_for(self, node: nodes.For, scope: Mapping[str, int], loop: int, blocks: Any, depth: int) -> None:
        if node.recursive or not isinstance(node.target, nodes.Name):
            raise _Unproven
        self._judge(node.iter, loop, depth + 1)
        base, path = _path_of(node.iter, scope)
        self.loops.append(_Loop(loop, base, path))
        inner = len(self.loops) - 1
        if node.test is not None:
            self._judge(node.test, inner, depth + 1)
        self._visit_all(node.body, {**scope, node.target.name: inner}, inner, blocks, depth + 1)
        self._visit_all(node.else_, scope, loop, blocks, depth + 1)

    def _judge(self, node: nodes.Node, loop: int, depth: int) -> None:
        """An expression: each step of it is an operation."""
        self._count(depth)
        self.loops[loop].operations += 1
        if isinstance(node, nodes.Filter) and node.name in _OF_SHORT:
            self.loops[loop].texts += 1
        elif isinstance(node, _LOOKING_THROUGH):
            # Of several values in one: what is joined is as long as all of them.
            self.loops[loop].values += max(1, sum(1 for _ in node.find_all((nodes.Name, nodes.Const))))
        if isinstance(node, nodes.Filter):
            self.loops[loop].values += _SLOW.get(node.name, 0)
        if isinstance(node, nodes.Const):
            _check_constant(node.value)
        elif isinstance(node, nodes.Filter):
            if node.name not in _FILTERS or node.node is None or node.dyn_args is not None or node.dyn_kwargs is not None:
                raise _Unproven
            if node.name not in ("default", "d") and not all(isinstance(one, nodes.Const) for one in _arguments(node)):
                raise _Unproven
        elif isinstance(node, nodes.Test):
            if node.name not in _TESTS:
                raise _Unproven
        elif isinstance(node, nodes.List):
            if node.items:
                raise _Unproven
        elif not isinstance(node, _HARMLESS):
            raise _Unproven
        if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
            raise _Unproven
        for child in node.iter_child_nodes():
            self._judge(child, loop, depth + 1)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise _Unproven


def _longest(value: Any) -> int:
    """The length of the longest text in there; numbers are shorter than the 40 that is the least."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = len(value) if isinstance(value, str) else 40
    for one in inner:
        found = max(found, len(one) if isinstance(one, str) else _longest(one) if isinstance(one, dict | list) else 40)
    return found


def _arguments(node: nodes.Filter) -> Iterable[nodes.Node]:
    return (*node.args, *(pair.value for pair in node.kwargs))


def _constant(node: nodes.Node) -> str:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return node.value
    raise _Unproven


def _check_constant(value: Any) -> None:
    if isinstance(value, str):
        if len(value) > _LONGEST_CONSTANT:
            raise _Unproven
    elif isinstance(value, int | float):
        if not -_LARGEST_CONSTANT <= value <= _LARGEST_CONSTANT:
            raise _Unproven
    elif value is not None:
        raise _Unproven


def _path_of(node: nodes.Node, scope: Mapping[str, int]) -> tuple[int, Path]:
    """The list that a loop walks: (loop whose item it hangs on, steps from there)."""
    steps: list[str | int] = []
    if isinstance(node, nodes.Filter) and node.name in ("default", "d") and isinstance(node.node, nodes.Node):
        if not all(isinstance(one, nodes.List) for one in _arguments(node)):
            raise _Unproven
        node = node.node
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            steps.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
            steps.append(node.arg.value)
        else:
            raise _Unproven
        node = node.node
    if not isinstance(node, nodes.Name) or node.name == "loop":
        raise _Unproven
    if node.name in scope:
        return scope[node.name], tuple(reversed(steps))
    return _ROOT, (node.name, *reversed(steps))


def _find(value: Any, path: Path) -> Any:
    """What lies at a path and can be walked; None when nothing does."""
    for step in path:
        if isinstance(value, list) and isinstance(step, int):
            if not -len(value) <= step < len(value):
                return None
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return None
    return value if isinstance(value, list | dict | str) else None
