"""docs/deploying.md: what it tells people to type exists, and what can be run here is run."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import accounts, doctor, held
from app.cli.__main__ import app as commands
from app.store.db import sqlalchemy_url
from tests.deploy.compose import ROOT, read_compose, read_example
from tests.deploy.image import instructions

TEXT = (ROOT / "docs" / "deploying.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.+?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind in {"", "sh"} for line in block.splitlines() if line]
SERVICES = read_compose(read_example())["services"]


def staffetta_words(line: str) -> list[str] | None:
    """The words after `staffetta` in a line of a shell, also where a container's entry point says it."""
    words = shlex.split(line)
    if words[:1] == ["./staffetta"]:
        return words[1:]
    if words[:2] == ["docker", "compose"] and words[2] in {"exec", "run"} and "api" in words:
        rest = words[words.index("api") + 1 :]
        return rest[1:] if words[2] == "exec" else rest
    return None


ASKED = [words for line in LINES if (words := staffetta_words(line)) is not None]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_its_commands_exist_and_take_these_words(words: list[str]) -> None:
    command: Any = typer.main.get_command(commands)
    for extra in (accounts, held):
        command.commands |= typer.main.get_command(extra.app).commands  # type: ignore[attr-defined]
    command.commands["doctor"] = typer.main.get_command(doctor.app)
    context = command.make_context("staffetta", list(words), resilient_parsing=False)
    while context.command.name != words[0] or hasattr(context.command, "commands"):
        name, inner, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        context = inner.make_context(name, rest, parent=context)
        if not hasattr(inner, "commands"):
            break


def test_it_says_enough() -> None:
    assert len(ASKED) >= 9


def test_services_it_names_are_those_of_the_compose_file() -> None:
    for line in LINES:
        words = shlex.split(line)
        if words[:2] == ["docker", "compose"] and words[2] in {"exec", "run"}:
            assert {"api", "postgres"} & set(words) <= set(SERVICES)


def test_the_secrets_it_makes_are_those_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/compose.env.example", tmp_path / "deploy")
    block = next(block for kind, block in BLOCKS if kind == "sh")
    done = subprocess.run(["sh", "-eu", "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    spec = read_compose(read_example())
    for secret in spec["secrets"].values():
        assert (tmp_path / secret["file"]).is_file()
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    password = (tmp_path / "secrets/postgres_password").read_text()
    url = (tmp_path / "secrets/staffetta_database_url").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    assert url == f"postgresql://staffetta:{password}@postgres/staffetta"
    sqlalchemy_url(url)
    assert spec["services"]["postgres"]["environment"]["POSTGRES_USER"] == "staffetta"
    assert (tmp_path / ".env").read_text() == (ROOT / "deploy/compose.env.example").read_text()


def test_systemd_installs_what_the_image_has() -> None:
    copied = {word for name, words in instructions() if name == "COPY" and "--from" not in words for word in shlex.split(words)[:-1]}
    line = next(line for line in LINES if line.startswith("cp -r app"))
    assert {word for word in copied if not word.startswith(("--", "deploy/"))} <= set(shlex.split(line))
