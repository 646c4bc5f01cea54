"""Whether variables fill a template, without its mail: what is refused when it is rendered is refused here, for a fraction of the cost.

Mail that is rendered at delivery has its variables checked when it is accepted. The check is the template itself, with all that it
writes of its own taken out: conditions are asked, loops are walked, every value is put out and thrown away. So there is no second
meaning of a template that could differ from the first. The subject is what it is in the mail, because whoever sends is told it.

    derived text     is not walked: it puts out what the HTML puts out
    odd characters   a set whose own strings hold what no mail carries (NUL, halves of pairs) has no check: render it

Only for sets that are proven, and variables that are small for them: what more a render could refuse (too much output) they cannot do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.environment import Template
from jinja2.runtime import Context

from app.mail.template import SUBJECT, Compiled, Fault, Part, TemplateFault, fault_of
from app.mail.template_format import FormatError, formats_of
from app.mail.template_sandbox import Sandbox, formats_in, present, show

# Of what is put out at once and thrown away, an amount need not be written: that is half of what a check would take.
_CHECKED = {"money": "checked money", "number": "checked number"}


class _DrySandbox(Sandbox):
    """Templates without their own text: what is left are the values and the ways to them."""

    def __init__(self, sources: Mapping[str, str], *, html: bool) -> None:
        super().__init__(sources, html=html)
        self.has_odd_strings = False
        self.put_out = _put_out
        self.filters = self.filters | {"checked money": _check_money, "checked number": _check_number}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for constant in tree.find_all(nodes.Const):
            if isinstance(constant.value, str) and _is_odd(constant.value):
                self.has_odd_strings = True
        for output in tree.find_all(nodes.Output):
            output.nodes = [node for node in output.nodes if not isinstance(node, nodes.TemplateData)]
            for node in output.nodes:
                if isinstance(node, nodes.Filter) and node.name in _CHECKED:
                    node.name = _CHECKED[node.name]
        return tree


class Check:
    """A proven set, ready to check variables."""

    def __init__(self, compiled: Compiled) -> None:
        frozen = compiled.frozen
        self._compiled = compiled
        self._html = _DrySandbox(frozen.html, html=True)
        self._text = _DrySandbox(frozen.text, html=False)
        self._parts: list[tuple[Part, Template]] = [("html", self._html.get_template(frozen.main))] if frozen.main in frozen.html else []
        if frozen.main in frozen.text and not frozen.derived:
            self._parts.append(("text", self._text.get_template(frozen.main)))
        for environment, name in compiled.plan.reached if compiled.plan is not None else ():
            if name != SUBJECT and (environment.autoescape or not frozen.derived):
                (self._html if environment.autoescape else self._text).get_template(name)

    def subject_for(self, variables: Mapping[str, Any], locale: str) -> str | None:
        """The subject of a mail that can be made. TemplateFault when it cannot, with the words that a render would have."""
        try:
            self._html.formats = self._text.formats = formats_of(locale)
        except FormatError as error:
            raise TemplateFault(Fault("unknown_locale", str(error))) from error
        subject = self._compiled.subject_for(variables, locale)
        for part, template in self._parts:
            try:
                deque(template.root_render_func(template.new_context(dict(variables))), maxlen=0)
            except Exception as error:
                raise TemplateFault(fault_of(error, part, variables)) from error
        return subject

    @property
    def has_odd_strings(self) -> bool:
        """Whether it may put out what no mail carries."""
        return self._html.has_odd_strings or self._text.has_odd_strings


def _put_out(value: Any) -> str:
    """What can be put out is: the sandbox's own function without the escaping, which refuses nothing."""
    str(show(value))
    return ""


@pass_context
def _check_money(context: Context, value: Any, currency: str = "EUR") -> str:
    return formats_in(context).check_money(present(value), currency)


@pass_context
def _check_number(context: Context, value: Any, decimals: int | None = None) -> str:
    return formats_in(context).check_number(present(value), decimals)


def _is_odd(text: str) -> bool:
    if text.isascii():
        return "\0" in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return "\0" in text
