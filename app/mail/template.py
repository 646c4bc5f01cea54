"""Templates: a subject, an HTML and a text part that are filled with the variables of a message.

A *set* of sources is what one version needs: its own three parts, and the HTML and text of every layout and partial that it names.
It is frozen once, when the version is made (`freeze`): syntax checked, names resolved, CSS inlined, the text part derived where none
is written. What comes out is compiled once in each process (`compile_set`) and rendered for every message (`Compiled.render`).

Whatever a template does wrong is a Fault with the part, the template's name, the line and, where it is about one, the variable. Time
and memory are not bounded here: untrusted sets run in limited processes (app.rendering).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

from jinja2 import TemplateAssertionError, TemplateError, TemplateNotFound, TemplateSyntaxError, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.utils import missing

from app.mail.template_css import inline_css
from app.mail.template_format import DEFAULT_LOCALE as DEFAULT_LOCALE
from app.mail.template_format import FormatError, formats_of
from app.mail.template_proof import Plan, prove
from app.mail.template_sandbox import MissingVariable, Sandbox, TemplateRefusal
from app.mail.template_text import derive_text, tidy_text

Part = Literal["subject", "html", "text"]
SUBJECT = "subject:"  # no name of a template, which has no colon
# Raised when the sandbox, the filters or the derived forms change their meaning: sets frozen before are not proven any more.
ENGINE = 2
MOST_OUTPUT = 2 * 1024 * 1024
_MOST_DEPTH = 10
_NAMING = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


@dataclass(frozen=True, slots=True)
class Source:
    """What an author wrote under one name; a layout or partial may have no subject, and either part may be missing."""

    subject: str | None
    html: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a template, or with the variables it was given. `line` and `column` count from 1; 0: not known."""

    code: str
    detail: str
    part: Part | None = None
    template: str = ""
    line: int = 0
    column: int = 0
    variable: tuple[str | int, ...] = ()

    @property
    def sentence(self) -> str:
        where = [f"{self.template} ({self.part})" if self.template and self.part else self.template or self.part or ""]
        where += [f"line {self.line}"] if self.line else []
        where += [f"column {self.column}"] if self.column else []
        place = ", ".join(one for one in where if one)
        return f"{place}: {self.detail}" if place else self.detail


class TemplateFault(Exception):
    """A template, or what it was given, is wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


class UnknownNames(Exception):
    """The set names templates that are not in it; the caller looks for them."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """A set ready to be compiled: JSON all of it. `main` names the template itself; the subject lies in `text` under SUBJECT."""

    main: str
    html: Mapping[str, str]
    text: Mapping[str, str]
    derived: bool
    proven: bool
    engine: int = ENGINE


@dataclass(frozen=True, slots=True)
class Rendered:
    """A filled template; a part that the template has not is None."""

    subject: str | None
    html: str | None
    text: str | None


class Compiled:
    """A frozen set as code, with the proof of its cost when there is one."""

    def __init__(self, frozen: FrozenSet) -> None:
        self.frozen = frozen
        self._html = Sandbox(frozen.html, html=True)
        self._text = Sandbox(frozen.text, html=False)
        self._parts: list[tuple[Part, Sandbox, Template]] = []
        for part, sandbox, name in _parts_of(frozen, self._html, self._text):
            try:
                self._parts.append((part, sandbox, sandbox.get_template(name)))
            except Exception as error:
                raise TemplateFault(fault_of(error, part, {})) from error
        self.plan: Plan | None = prove(((sandbox, name) for _, sandbox, name in _parts_of(frozen, self._html, self._text)))
        for environment, name in self.plan.reached if self.plan is not None else ():
            environment.get_template(name)  # or the first render would compile layouts and partials

    def render(self, variables: Mapping[str, Any], locale: str = DEFAULT_LOCALE, *, small: bool = False) -> Rendered:
        """Fill it. TemplateFault when a variable is missing or does not fit, or when more than MOST_OUTPUT characters come out.

        `small`: the plan has said so for these variables, and nobody need watch what comes out.
        """
        try:
            self._html.formats = self._text.formats = formats_of(locale)
        except FormatError as error:
            raise TemplateFault(Fault("unknown_locale", str(error))) from error
        made: dict[str, str] = {}
        for part, _, template in self._parts:
            try:
                made[part] = _write_small(template, variables) if small else _write(template, variables)
            except Exception as error:
                raise TemplateFault(fault_of(error, part, variables)) from error
        if self.frozen.derived and "text" in made:
            made["text"] = tidy_text(made["text"])
        return Rendered(_one_line(made.get("subject")), made.get("html"), made.get("text"))

    def subject_for(self, variables: Mapping[str, Any], locale: str = DEFAULT_LOCALE) -> str | None:
        """The subject alone."""
        self._text.formats = formats_of(locale)
        for part, _, template in self._parts:
            if part == "subject":
                try:
                    return _one_line(_write(template, variables))
                except Exception as error:
                    raise TemplateFault(fault_of(error, part, variables)) from error
        return None


def freeze(main: str, sources: Mapping[str, Source]) -> FrozenSet:
    """Check a set and make it ready. TemplateFault for what is wrong, UnknownNames for templates that it names and has not."""
    html = {name: one.html for name, one in sources.items() if one.html is not None}
    _check(main, html, "html")
    html = inline_css(main, html)
    text = {name: one.text for name, one in sources.items() if one.text is not None}
    derived = {name: derive_text(one) for name, one in html.items() if name not in text}
    subject = sources[main].subject
    written = text | derived
    _check(main, written, "text")
    if subject is not None:
        written[SUBJECT] = subject
        _check(SUBJECT, written, "subject")
    frozen = FrozenSet(main, html, written, main in derived, proven=False)
    proven = Compiled(frozen).plan is not None
    return FrozenSet(main, html, written, main in derived, proven)


def _parts_of(frozen: FrozenSet, html: Sandbox, text: Sandbox) -> Iterator[tuple[Part, Sandbox, str]]:
    if SUBJECT in frozen.text:
        yield "subject", text, SUBJECT
    if frozen.main in frozen.html:
        yield "html", html, frozen.main
    if frozen.main in frozen.text:
        yield "text", text, frozen.main


def _check(main: str, sources: Mapping[str, str], part: Part) -> None:
    """Syntax of what `main` reaches, that all of it is there, and that nothing reaches itself."""
    if main not in sources:
        return
    sandbox = Sandbox(sources, html=part == "html")
    unknown: set[str] = set()
    _follow(sandbox, sources, main, part, (), unknown, set())
    if unknown:
        raise UnknownNames(frozenset(unknown))


def _follow(
    sandbox: Sandbox, sources: Mapping[str, str], name: str, part: Part, path: tuple[str, ...], unknown: set[str], done: set[str]
) -> None:
    if name in path or len(path) > _MOST_DEPTH:
        raise TemplateFault(Fault("recursion", "Layouts and partials lead back to the template itself, or too deep.", part, path[0]))
    if name in done:
        return
    try:
        tree = sandbox.parse(sources[name], name)
        sandbox.compile(tree, name)
    except Exception as error:
        fault = fault_of(error, part, {}, sources[name])
        if not fault.line:
            fault = replace(fault, template=_shown(name), line=_line_read(error.__traceback__))
        raise TemplateFault(fault) from error
    for node in tree.find_all(_NAMING):
        written = node.template  # type: ignore[attr-defined]
        if not (isinstance(written, nodes.Const) and isinstance(written.value, str)):
            raise TemplateFault(
                Fault("dynamic_name", "The name of a layout or partial must be written out.", part, _shown(name), node.lineno)
            )
        if written.value in sources and ":" not in written.value:
            _follow(sandbox, sources, written.value, part, (*path, name), unknown, done)
        else:
            unknown.add(written.value)
    done.add(name)


def _one_line(subject: str | None) -> str | None:
    return " ".join(subject.split()) if subject is not None else None


def _write_small(template: Template, variables: Mapping[str, Any]) -> str:
    written = "".join(template.root_render_func(template.new_context(dict(variables))))
    if len(written) > MOST_OUTPUT:
        raise TemplateRefusal(f"More than {MOST_OUTPUT} characters come out.")
    return written


def _write(template: Template, variables: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    room = MOST_OUTPUT
    stream: Any = template.root_render_func(template.new_context(dict(variables)))
    for piece in stream:
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            # Raised where the template stands, so that its line is told.
            stream.throw(TemplateRefusal(f"More than {MOST_OUTPUT} characters come out."))
    return "".join(pieces)


# --- what went wrong, in the author's words


def fault_of(error: Exception, part: Part, variables: Mapping[str, Any], source: str | None = None) -> Fault:
    if isinstance(error, TemplateFault):
        return error.fault
    if isinstance(error, TemplateSyntaxError):
        code = "unknown_filter" if isinstance(error, TemplateAssertionError) else "syntax"
        column = _column_of(source or "", error.lineno, error.message or "")
        return Fault(code, _bounded(error.message or ""), part, _shown(error.name or ""), error.lineno, column)
    name, line = place_of(error.__traceback__)
    if isinstance(error, MissingVariable):
        holder = () if error.holder is missing else _path_to(error.holder, variables)
        path = (*(holder or ()), error.name)
        known = path if holder is not None else ()
        return Fault("missing_variable", f"The variable {_dotted(path)} is missing.", part, name, line, variable=known)
    wrong = _path_to(error.value[0], variables) if isinstance(error, FormatError) and error.value else None
    return Fault(*_words_for(error), part, name, line, variable=wrong or ())


def _words_for(error: Exception) -> tuple[str, str]:
    if isinstance(error, FormatError | TemplateRefusal):
        return "not_allowed" if isinstance(error, TemplateRefusal) else "wrong_value", str(error)
    if isinstance(error, TemplateNotFound):
        return "unknown_template", "There is no such layout or partial."
    if isinstance(error, SecurityError):
        return "not_allowed", "This is not allowed in a template."
    if isinstance(error, RecursionError):
        return "recursion", "It is nested too deeply, or calls itself without end."
    if isinstance(error, MemoryError):
        return "too_much", "It needs too much memory."
    if isinstance(error, TemplateError):
        return "not_allowed", _bounded(str(error))
    # A filter or an operator that does not fit its value; Python's own words name types, not values.
    return "wrong_value", "A value does not fit what the template does with it."


def place_of(trace: TracebackType | None) -> tuple[str, int]:
    """The innermost line of a template that a traceback passes."""
    name, line = "", 0
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            name, line = _shown(template.name or ""), template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return name, line


def _line_read(trace: TracebackType | None) -> int:
    """How far Jinja had come in a source when it gave up."""
    line = 0
    while trace is not None:
        for one in map(trace.tb_frame.f_locals.get, ("self", "node")):
            if isinstance(one, Parser):
                line = one.stream.current.lineno
            elif isinstance(one, nodes.Node):
                line = one.lineno or line
        trace = trace.tb_next
    return line


def _path_to(wanted: Any, variables: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """Where in the variables a value lies; None for what is not of them, or of which they have several (small numbers are one object)."""
    found = None
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), variables)]
    while waiting:
        path, value = waiting.pop()
        if value is wanted:
            if found is not None:
                return None
            found = path
        steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, step), one) for step, one in steps]
    return found


def _column_of(source: str, line: int, message: str) -> int:
    """Jinja tells no column: where the word that it complains about stands in the line, else where the line's first tag begins."""
    lines = source.splitlines()
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    words = [word for word in message.split("'")[1::2] if word in text]
    marks = [text.find(mark) for mark in ("{%", "{{", "{#") if mark in text]
    return 1 + (text.rfind(words[0]) if words else min(marks, default=0))


def _dotted(path: tuple[str | int, ...]) -> str:
    return _bounded("".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix("."))


def _shown(name: str) -> str:
    return "" if name == SUBJECT else name


def _bounded(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"
