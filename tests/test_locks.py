"""The three locks name the same packages: uv.lock, and the two that pip reads (`uv export --frozen --no-emit-project [--no-dev]`)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_LOCKED = {
    (package["name"], package["version"])
    for package in tomllib.loads((_ROOT / "uv.lock").read_text())["package"]
    if "version" in package and "virtual" not in package["source"]
}
_HASHES = {
    (package["name"], file["hash"])
    for package in tomllib.loads((_ROOT / "uv.lock").read_text())["package"]
    for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
}


def _pinned(name: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (_ROOT / name).read_text(), re.MULTILINE))


def test_the_development_lock_is_the_whole_of_uv_lock() -> None:
    assert _pinned("requirements-dev.lock") == _LOCKED


def test_the_run_lock_is_a_part_of_it() -> None:
    assert _pinned("requirements.lock") < _LOCKED


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_hash_is_one_of_uv_lock(name: str) -> None:
    found = set()
    for block in re.split(r"^(?=[a-z0-9])", (_ROOT / name).read_text(), flags=re.MULTILINE):
        package = block.partition("==")[0]
        found |= {(package, value) for value in re.findall(r"--hash=(sha256:[0-9a-f]{64})", block)}
    assert found
    assert found <= _HASHES


def test_the_run_lock_has_no_tools_of_development() -> None:
    assert {"pytest", "mypy", "ruff", "hypothesis"}.isdisjoint(name for name, _version in _pinned("requirements.lock"))
