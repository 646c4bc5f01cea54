"""The sandbox that templates run in: Jinja2's immutable one, with almost everything else taken out of it.

A template sees JSON: objects, lists, strings, numbers, true, false, null. A dot reads a member of an object and nothing else, so
`order.items` is what the order holds and no method of a dict, and attributes of Python do not exist. What may be called is a
macro, a block, `caller`, `super` and the loop. There are no globals: no range, no lipsum, no cycler. `*` and its kin are for
numbers; what grows without bound is ended from outside (app.rendering).

A name that is missing is refused when it is used, unless `default` or `is defined` asks for it first.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from html import unescape
from types import MethodType
from typing import Any, NoReturn

from jinja2 import DictLoader, StrictUndefined, Undefined, filters, nodes, pass_context, tests
from jinja2.compiler import CodeGenerator, Frame, optimizeconst
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape
from markupsafe import _escape_inner as _escape  # type: ignore[attr-defined]  # escape() without its Markup, which nobody here asks for

from app.mail.template_format import DEFAULT_LOCALE, Formats, formats_of

LARGEST_NUMBER = 10**40
_LOOP_WORDS = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem", "cycle", "changed")
)
_KEPT_FILTERS = (
    *("abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby", "indent", "int"),
    *("items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round"),
    *("safe", "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount", "wordwrap"),
)
_NUMBERS = frozenset((int, float, bool))
# No power: two short numbers can make one without end.
_CALCULATE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


class TemplateRefusal(Exception):
    """What a template may not do; the sentence is for its author."""


class MissingVariable(Exception):
    """A name that is not there: `name` in `holder`, or among the variables themselves when that is Jinja's `missing`."""

    def __init__(self, name: str, holder: Any) -> None:
        super().__init__(name)
        self.name = name
        self.holder = holder


class Missing(StrictUndefined):
    """Jinja's strict undefined, that says which name it is about instead of a sentence about Python."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise MissingVariable(str(self._undefined_name), self._undefined_obj)

    __iter__ = __str__ = __len__ = __bool__ = __contains__ = __call__ = __getitem__ = __int__ = __float__ = _refuse
    __eq__ = __ne__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __pos__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse


class _Writer(CodeGenerator):
    """Writes out on the spot what nearly every name and output is, a member of an object and a text; our methods are called for the rest.

    A mail asks for hundreds of them, and a call of Python costs more than what is done in it.
    """

    @optimizeconst
    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802  (as Jinja calls it)
        """Sandbox.getattr."""
        name = repr(node.attr)
        self.write("(t_holder[" + name + "] if type(t_holder := ")
        self.visit(node.node, frame)
        self.write(f") is dict and {name} in t_holder else environment.getattr(t_holder, {name}))")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        """_put_out_html and _put_out_text, instead of finalize and escape around each other."""
        if self._is_plain(frame):
            text = "environment.escape_text(t_text)" if self.environment.autoescape else "t_text"
            self.write(f"({text} if type(t_text := ")
        else:
            super()._output_child_pre(node, frame, finalize)

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if self._is_plain(frame):
            self.write(") is str else environment.put_out(t_text))")
        else:
            super()._output_child_post(node, frame, finalize)

    def _is_plain(self, frame: Frame) -> bool:
        """Whether nothing around says that here is escaped otherwise."""
        return not frame.eval_ctx.volatile and frame.eval_ctx.autoescape == self.environment.autoescape


class Sandbox(ImmutableSandboxedEnvironment):
    """One set of sources that may name each other. `formats` is of the mail that is being rendered."""

    code_generator_class = _Writer
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, sources: Mapping[str, str], *, html: bool) -> None:
        super().__init__(
            loader=DictLoader(sources),
            autoescape=html,
            undefined=Missing,
            finalize=show,
            cache_size=400,
            auto_reload=False,
            trim_blocks=not html,
        )
        self.globals.clear()
        self.filters = _HTML_FILTERS if html else _TEXT_FILTERS
        self.tests = _TESTS
        self.formats: Formats = formats_of(DEFAULT_LOCALE)
        self.put_out = _put_out_html if html else _put_out_text
        self.escape_text = _escape

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if not self.autoescape:
            for safe in tree.find_all(nodes.Filter):
                for inner in safe.find_all(nodes.Filter) if safe.name == "safe" else ():
                    inner.name = _HTML_ESCAPE if inner.name in ("e", "escape") else inner.name
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`."""
        if type(obj) is dict:
            return obj[attribute] if attribute in obj else Missing(obj=obj, name=attribute)
        if isinstance(obj, LoopContext):
            if attribute in _LOOP_WORDS:
                return getattr(obj, attribute)
        elif isinstance(obj, Undefined):
            return obj  # the first name that is missing is the one to be told
        elif isinstance(obj, TemplateReference):
            return _block_of(obj, attribute)
        elif isinstance(obj, tuple) and attribute in ("grouper", "list") and hasattr(obj, "_fields"):
            return getattr(obj, attribute)
        elif attribute in _exports_of(obj):
            return vars(obj)[attribute]
        return Missing(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`."""
        if isinstance(argument, str):
            return self.getattr(obj, str(argument))
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, list | tuple | str) and (type(argument) is int or isinstance(argument, slice)):
            try:
                return obj[argument]
            except (IndexError, TypeError, ValueError):
                pass
        return Missing(obj=obj, name=str(argument)[:40] if isinstance(argument, int | float) else "[…]")

    def is_safe_callable(self, obj: Any) -> bool:
        if isinstance(obj, MethodType):
            return isinstance(obj.__self__, LoopContext)
        return isinstance(obj, Macro | BlockReference | LoopContext)

    def call(self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: PYI063  (as Jinja declares it)
        if isinstance(__obj, Missing):
            __obj._refuse()
        if not self.is_safe_callable(__obj):
            raise TemplateRefusal("Only macros, blocks and the loop can be called; values have no methods.")
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, sign: str, left: Any, right: Any) -> Any:  # noqa: ARG002  (as Jinja calls it)
        calculate = _CALCULATE.get(sign)
        if calculate is not None and type(left) in _NUMBERS and type(right) in _NUMBERS:
            return _bounded(calculate(left, right))
        for side in (left, right):
            if isinstance(side, Missing):
                side._refuse()
        if sign == "+" and isinstance(left, str) and isinstance(right, str):
            return left + right
        raise TemplateRefusal(f"{sign} is not for these values: numbers can be added, multiplied and divided, texts joined with ~.")


def _bounded(number: Any) -> Any:
    if not -LARGEST_NUMBER < number < LARGEST_NUMBER:
        raise TemplateRefusal("A number is too large.")
    return number


def _number_asked(value: Any) -> Any:
    """For a text % writes by it as by a pattern, and "%999999999d" is one of a gigabyte."""
    if type(present(value)) not in _NUMBERS:
        raise TemplateRefusal("even, odd and divisibleby are for numbers.")
    return value


def _block_of(reference: TemplateReference, name: str) -> Any:
    try:
        return reference[name]
    except (KeyError, TypeError):
        return Missing(obj=None, name=name)


def _exports_of(module: Any) -> Any:
    """The names that `import` made visible; no other object of Python has any."""
    if type(module).__name__ != "TemplateModule":
        return ()
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, Macro | str | int | float | list | dict)
    }


def _put_out_html(value: Any) -> str:
    return value if type(value) is Markup else str(escape(show(value)))


def _put_out_text(value: Any) -> str:
    return str(show(value))


def show(value: Any) -> Any:
    """null is nothing in a mail; an object or a list is nobody's text."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise TemplateRefusal("A list or an object cannot be shown as it is: walk it with a loop, or join it.")
    return value


@pass_context
def _money(context: Context, value: Any, currency: str = "EUR") -> str:
    return formats_in(context).money(present(value), currency)


@pass_context
def _number(context: Context, value: Any, decimals: int | None = None) -> str:
    return formats_in(context).number(present(value), decimals)


@pass_context
def _date(context: Context, value: Any, form: str = "medium") -> str:
    return formats_in(context).date(present(value), form)


@pass_context
def _datetime(context: Context, value: Any, form: str = "medium", zone: str | None = None) -> str:
    return formats_in(context).datetime(present(value), form, zone)


def formats_in(context: Context) -> Formats:
    found: Formats = context.environment.formats  # type: ignore[attr-defined]
    return found


def present(value: Any) -> Any:
    if isinstance(value, Missing):
        value._refuse()
    return value


def _safe_as_text(value: Any) -> str:
    """What is said to be HTML becomes text in the text part."""
    text = str(value)
    return _strip_tags(text) if "<" in text else text


def _strip_tags(value: Any) -> str:
    """The words of an HTML text, as Markup.striptags has them, whose time grows with the square of the number of tags."""
    text = str(present(value))
    for begin, end in (("<!--", "-->"), ("<", ">")):
        pieces, place = [], 0
        while (start := text.find(begin, place)) >= 0 and (stop := text.find(end, start)) >= 0:
            pieces.append(text[place:start])
            place = stop + len(end)
        text = "".join((*pieces, text[place:]))
    return unescape(" ".join(text.split()))


def _indent(value: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja takes a text to indent by for HTML wherever what it indents is HTML; a variable is none."""
    if isinstance(value, Markup) and isinstance(width, str):
        width = escape(width)
    return filters.do_indent(present(value), width, first, blank)


_HTML_FILTERS: dict[str, Any] = {name: filters.FILTERS[name] for name in _KEPT_FILTERS} | {
    "striptags": _strip_tags,
    "indent": _indent,
    "money": _money,
    "number": _number,
    "date": _date,
    "datetime": _datetime,
}
# Nothing is escaped in a text, but for what is made HTML there and then a text again (`safe`).
_HTML_ESCAPE = "html escape"
_TEXT_FILTERS: dict[str, Any] = _HTML_FILTERS | {"safe": _safe_as_text, "e": str, "escape": str, _HTML_ESCAPE: filters.FILTERS["e"]}
_TESTS: dict[str, Any] = tests.TESTS | {
    "even": lambda value: _number_asked(value) % 2 == 0,
    "odd": lambda value: _number_asked(value) % 2 == 1,
    "divisibleby": lambda value, num: _number_asked(value) % _number_asked(num) == 0,
}
