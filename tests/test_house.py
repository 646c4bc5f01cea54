"""The rules of the house that no other tool checks: documents that are true of the code, sizes, names.

When a document is stale the test says how to write it again.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import accounts, doctor, erase, held, inbound_routes, reclass, smtp_credentials
from app.cli.__main__ import app as commands
from app.cli.banner import Running, banner
from app.cli.ports import Ports
from app.store.db import Database
from app.store.states import TRANSITIONS
from tests import settings_docs

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "app"
MODULES = sorted(APP.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MOST_LINES = 400
EMPTY_WORDS = {"service", "manager", "helper", "util", "common", "base", "process", "data", "info"}
EMPTY_WORDS |= {f"{word}s" for word in EMPTY_WORDS} | {"processes"}
# Names that others gave: callbacks of asyncio, html.parser and aiosmtpd. And processes that are the system's own.
EXPECTED_NAMES = {"data_received", "handle_data", "handle_DATA", "smtp_DATA", "_processes"}

# Figures of a machine, written after a run of the tools.
WRITTEN_ELSEWHERE = {"docs/bench.md", "docs/chaos.md"}

_ROOMS = "|".join(sorted({path.stem if path.is_file() else path.name for path in APP.iterdir()} - {"__init__", "__pycache__"}))
_CODE_NAME = re.compile(rf"`((?:{_ROOMS})(?:\.\w+)*)`")
_RFC = re.compile(r"\bRFC (\d{3,5})\b")
_COMMAND = re.compile(r"\./staffetta ([a-z][a-z\-]*)(?: ([a-z][a-z\-]*))?((?: --[a-z0-9-]+(?: [A-Z]\w*)?)*)")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- documents that are written from the code


def test_the_table_of_settings_is_fresh() -> None:
    assert settings_docs.CONFIGURATION.read_text() == settings_docs.configuration(), "stale: run `python -m tests.settings_docs`"


def test_the_example_environment_is_fresh() -> None:
    assert settings_docs.ENV_EXAMPLE.read_text() == settings_docs.env_example(), "stale: run `python -m tests.settings_docs`"


def test_every_setting_is_described() -> None:
    assert [knob.variable for knob in settings_docs.read_knobs() if not knob.meaning] == []
    assert len(list(settings_docs.read_knobs())) == len(settings_docs.Settings.model_fields)


# --- standards


def rfcs_in_the_code() -> dict[str, set[str]]:
    """The files, below app/, that name each RFC."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        for number in _RFC.findall(path.read_text()):
            found.setdefault(number, set()).add(str(path.relative_to(APP)))
    return found


def rfcs_in_the_list() -> dict[str, set[str]]:
    rows = re.findall(r"^\| RFC (\d+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/rfcs.md").read_text(), re.MULTILINE)
    assert len(rows) == len({number for number, _ in rows}), "an RFC is listed twice"
    return {number: set(re.findall(r"`([^`]+)`", files)) for number, files in rows}


def test_every_rfc_of_the_code_is_listed() -> None:
    assert sorted(rfcs_in_the_code().keys() - rfcs_in_the_list().keys()) == []


def test_every_listed_rfc_is_named_in_the_files_listed() -> None:
    in_code = rfcs_in_the_code()
    wrong = {number: files - in_code.get(number, set()) for number, files in rfcs_in_the_list().items()}
    assert {number: files for number, files in wrong.items() if files} == {}


# --- names that documents call by


def resolve(dotted: str) -> Any:
    """The thing behind a dotted name below app; AttributeError when there is none."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(("app", *parts[:length]))
        try:
            is_module = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            is_module = False
        if is_module:
            found: Any = importlib.import_module(name)
            for part in parts[length:]:
                found = getattr(found, part)
            return found
    raise AttributeError(dotted)


@pytest.mark.parametrize("document", ["docs/architecture.md", "docs/glossary.md", "docs/operating.md"])
def test_names_in_documents_exist(document: str) -> None:
    wrong = []
    for name in sorted(set(_CODE_NAME.findall((ROOT / document).read_text()))):
        try:
            resolve(name)
        except AttributeError:
            wrong.append(name)
    assert wrong == []


def test_the_table_of_states_is_the_code_s() -> None:
    rows = re.findall(r"^\| ([a-z_]+) \| [^|]+ \| ([a-z_, ]*) ?\|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    written = {state: {one.strip() for one in after.split(",")} - {""} for state, after in rows if state != "state"}
    assert written == {state.value: {one.value for one in after} for state, after in TRANSITIONS.items()}


def test_figures_in_documents_are_measured() -> None:
    measured = "".join(path.read_text() for path in MODULES if "prometheus_client" in path.read_text())
    files_of_settings = {f"staffetta_{name}" for name in settings_docs.Settings.model_fields}
    named = {name for path in DOCUMENTS for name in re.findall(r"\bstaffetta_[a-z_]+", path.read_text())} - files_of_settings
    assert sorted(name for name in named if f'"{name}"' not in measured and f'"{name.removesuffix("_total")}"' not in measured) == []


async def test_statements_of_the_operator_run(database: Database) -> None:
    statements = re.findall(r"^```sql\n(.+?)^```", (ROOT / "docs/operating.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(statements) > 5
    async with database.hot() as connection:
        for statement in statements:
            await connection.execute(statement)


# --- what a newcomer types


def parameters_of(group: str, name: str | None) -> set[str] | None:
    """The options of a command; None when there is no such command."""
    command: Any = typer.main.get_command(commands).commands.get(group)  # type: ignore[attr-defined]
    for operator_commands in (accounts, doctor, erase, held, inbound_routes, reclass, smtp_credentials):
        if command is None and hasattr(made := typer.main.get_command(operator_commands.app), "commands"):
            command = made.commands.get(group)
        elif command is None and made.name == group:
            command = made
    if hasattr(command, "commands") and name is not None:
        command = command.commands.get(name)
    if command is None:
        return None
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


def test_commands_in_documents_exist() -> None:
    wrong = []
    for document in [*DOCUMENTS, ROOT / ".env.example"]:
        for group, name, options in _COMMAND.findall(document.read_text()):
            known = parameters_of(group, name or None)
            passed_on = {"test", "bench", "chaos", "evaluate", "fuzz"}
            if known is None or (group not in passed_on and not set(re.findall(r"--[a-z0-9-]+", options)) <= known):
                wrong.append(f"{name_of(document)}: {group} {name}{options}")
    assert wrong == []


def test_the_first_message_of_the_readme_is_the_banner_s() -> None:
    account = {"api_key": "stf_…", "from": "hello@shop.example.test", "smtp_user": "smtp-…", "smtp_password": "…"}
    ports = Ports(api=8025, inbox_http=8026, inbox_smtp=8027)
    shown = banner(Running(Path("/data"), Path("/data/keyring.json"), ports, "http://localhost:8025", account))
    command = shown[shown.index("  curl") : shown.index("\n\nCtrl-C")]
    lines = [line[2:] for line in command.splitlines()]
    assert "\n".join(lines) in (ROOT / "README.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for document in DOCUMENTS:
        for target in _LINK.findall(document.read_text()):
            place = (document.parent / target).resolve()
            if not place.exists() and str(place.relative_to(ROOT)) not in WRITTEN_ELSEWHERE:
                broken.append(f"{name_of(document)}: {target}")
    assert broken == []


def test_the_version_is_one() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


# --- sizes and names


def test_no_file_is_longer_than_it_should_be() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}


def test_every_module_says_what_it_does() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []


def declared_names(path: Path) -> Iterator[str]:
    yield from (part for part in path.relative_to(APP).with_suffix("").parts if part != "__init__")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def words_of(name: str) -> set[str]:
    """The words of snake_case and CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_names_say_something() -> None:
    found = {(name_of(path), name) for path in MODULES for name in declared_names(path) if words_of(name) & EMPTY_WORDS}
    assert sorted((path, name) for path, name in found if name not in EXPECTED_NAMES) == []


def test_expected_names_are_still_there() -> None:
    assert {name for path in MODULES for name in declared_names(path)} >= EXPECTED_NAMES
