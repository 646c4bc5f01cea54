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

from app.mail.template_bounds import Turn, Unproven

# What one render in the calling process may take: operations, and characters that could be written or looked at.
MOST_OPERATIONS = 4_000
MOST_CHARACTERS = 4_000_000
# Sets larger than these are compiled and rendered elsewhere: Python compiles what it is given in one call, which nothing interrupts.
MOST_SOURCE = 100_000
_MOST_NODES = 1_500
_DEEPEST = 40
_ROOT = 0

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Loop:
    """A loop over the list at `path` of the variables (base 0), or of what the loop `base` stands at. `outer`: the loop around it.

    In each turn: operations, `characters` that the template itself writes, and what is made of values, by their length (template_bounds).
    """

    outer: int
    base: int
    path: Path
    operations: int = 0
    characters: int = 0
    letters: int = 0
    texts: int = 0
    values: int = 0
    own: int = 0


class Plan:
    """The loops of a proven set with what stands in each; the first stands for what is in no loop. `reached`: all templates of it."""

    def __init__(self, loops: list[_Loop], reached: Iterable[tuple[Environment, str]]) -> None:
        self._loops = loops
        self.reached = tuple(reached)

    def cost_of(self, variables: Mapping[str, Any], size: int) -> tuple[int, int]:
        """(operations, characters) that one render takes at most; `size` is that of the variables as JSON."""
        total = self._count(variables)
        if total.operations > MOST_OPERATIONS:
            return total.operations, MOST_CHARACTERS
        most = total.characters + total.letters + (total.texts + total.values + total.own) * size
        if most > MOST_CHARACTERS:
            # Too coarse: a text that is put out is one of the variables, and no list or object (the sandbox refuses those).
            most -= total.texts * (size - min(size, _longest(variables)))
        return total.operations, most

    def about_written(self, variables: Mapping[str, Any], size: int) -> int:
        """About how many characters come out, subject, HTML and text together: what the templates say, and every variable in each part."""
        return self._count(variables).characters + 2 * size

    def _count(self, variables: Mapping[str, Any]) -> _Loop:
        """All turns of all loops as one; cut short when it is too much."""
        one = self._loops[0]
        # Written out: dataclasses.replace takes longer than all the rest.
        total = _Loop(_ROOT, _ROOT, (), one.operations, one.characters, one.letters, one.texts, one.values, one.own)
        # Of each loop: its turns, the items that it stands at, and how often at each.
        turns, stands, times = [1], [[variables]], [1]
        looked = 0
        for loop in self._loops[1:]:
            outer = turns[loop.outer]
            places = stands[loop.base] if outer else ()
            looked += len(places)
            lists = [found for found in (_find(place, loop.path) for place in places) if found]
            # Over a list of the very turn it stands in, each item is met as often as that; else in all turns of the loop around.
            often = times[loop.outer] if loop.base == loop.outer else outer
            number = often * sum(map(len, lists))
            total.operations += number * (loop.operations + 1)
            if total.operations > MOST_OPERATIONS or looked > MOST_OPERATIONS:
                total.operations = max(total.operations, MOST_OPERATIONS + 1)
                break
            total.characters += number * loop.characters
            total.letters += number * loop.letters
            total.texts += number * loop.texts
            total.values += number * loop.values
            total.own += often * loop.own if number else 0  # the items of a list are together a part of the variables
            turns.append(number)
            times.append(often)
            stands.append([item for found in lists for item in found])
        return total

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
    except Unproven:
        return None
    # What stands in a template alone is made when it is compiled.
    if sum(loop.letters for loop in proof.loops) > MOST_CHARACTERS:
        return None
    return Plan(proof.loops, proof.trees)


class _Proof:
    def __init__(self) -> None:
        self.loops = [_Loop(_ROOT, _ROOT, ())]
        self._nodes = 0
        self._source = 0
        self._environment: Environment
        self.trees: dict[tuple[Environment, str], nodes.Template] = {}
        self._turns: dict[int, Turn] = {}

    def add(self, environment: Environment, name: str) -> None:
        self._environment = environment
        self._turns = {_ROOT: self._new_turn("")}
        self._visit_template(name, {}, _ROOT, {}, 0)
        for number, turn in self._turns.items():
            loop = self.loops[number]
            loop.operations += turn.operations
            loop.letters += turn.cost.letters
            loop.texts += turn.cost.texts
            loop.values += turn.cost.values
            loop.own += turn.cost.own

    def _new_turn(self, own: str) -> Turn:
        return Turn(own, is_html=bool(self._environment.autoescape), count=self._count)

    def _tree_of(self, name: str) -> nodes.Template:
        key = (self._environment, name)
        if key not in self.trees:
            assert self._environment.loader is not None
            source, _, _ = self._environment.loader.get_source(self._environment, name)
            self._source += len(source)
            if self._source > MOST_SOURCE:
                raise Unproven
            self.trees[key] = self._environment.parse(source, name)
        return self.trees[key]

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
            raise Unproven

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
                    self._turns[loop].put_out(one, depth + 1)
        elif isinstance(node, nodes.If):
            self._turns[loop].judge(node.test, depth + 1)
            for branch in (node.body, node.elif_, node.else_):
                self._visit_all(branch, scope, loop, blocks, depth + 1)
        elif isinstance(node, nodes.For):
            self._visit_for(node, scope, loop, blocks, depth)
        elif isinstance(node, nodes.Block):
            # A block does not see the variables of a loop around it: inside of one it would mean others than it seems.
            if loop != _ROOT or node.required:
                raise Unproven
            self._visit_all(blocks.get(node.name, node).body, {}, loop, blocks, depth + 1)
        elif isinstance(node, nodes.Include):
            if node.ignore_missing or not node.with_context:
                raise Unproven
            self._visit_template(_constant(node.template), scope, loop, {}, depth + 1)
        else:
            raise Unproven

    def _visit_for(self, node: nodes.For, scope: Mapping[str, int], loop: int, blocks: Any, depth: int) -> None:
        if node.recursive or not isinstance(node.target, nodes.Name):
            raise Unproven
        self._turns[loop].judge(node.iter, depth + 1)
        base, path = _path_of(node.iter, scope)
        inner = len(self.loops)
        self.loops.append(_Loop(loop, base, path))
        self._turns[inner] = self._new_turn(node.target.name)
        if node.test is not None:
            self._turns[inner].judge(node.test, depth + 1)
        self._visit_all(node.body, {**scope, node.target.name: inner}, inner, blocks, depth + 1)
        self._visit_all(node.else_, scope, loop, blocks, depth + 1)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise Unproven


def _longest(value: Any) -> int:
    """The length of the longest text in there; numbers are shorter than the 40 that is the least."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = len(value) if isinstance(value, str) else 40
    for one in inner:
        found = max(found, len(one) if isinstance(one, str) else _longest(one) if isinstance(one, dict | list) else 40)
    return found


def _constant(node: nodes.Node) -> str:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return node.value
    raise Unproven


def _path_of(node: nodes.Node, scope: Mapping[str, int]) -> tuple[int, Path]:
    """The list that a loop walks: (loop whose item it hangs on, steps from there)."""
    steps: list[str | int] = []
    if isinstance(node, nodes.Filter) and node.name in ("default", "d") and isinstance(node.node, nodes.Node):
        if not all(isinstance(one, nodes.List) for one in (*node.args, *(pair.value for pair in node.kwargs))):
            raise Unproven
        node = node.node
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            steps.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
            steps.append(node.arg.value)
        else:
            raise Unproven
        node = node.node
    if not isinstance(node, nodes.Name) or node.name == "loop":
        raise Unproven
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
