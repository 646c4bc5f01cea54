"""The commands for people who change Staffetta: tests, the checks beside them, and the tools in tests/.

A tool that is missing fails the check; nothing is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.embedded import EmbeddedServers, StartError

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = _ROOT / "tests" / "apt.txt"
_MOST_SHARES = 4


def run_tests(arguments: Sequence[str]) -> None:
    """Become pytest; the whole suite is shared out among the cores, each of which has servers of its own."""
    _require_packages()
    shared = () if arguments else ("--numprocesses", str(min(os.cpu_count() or 1, _MOST_SHARES)), "--dist", "worksteal")
    _become("pytest", [*shared, *arguments])


def run_tool(name: str, arguments: Sequence[str]) -> None:
    """Become the tool `tests/<name>`."""
    if importlib.util.find_spec(f"tests.{name}") is None:
        sys.exit(f"staffetta: there is no tests/{name}")
    _become(f"tests.{name}", arguments)


def run_checks() -> int:
    """Run all checks, however many fail; 0 when none did."""
    checks: list[tuple[str, Callable[[], bool]]] = [
        ("lint", lambda: _passes("ruff", "check", ".")),
        ("format", lambda: _passes("ruff", "format", "--check", ".")),
        ("types", lambda: _passes("mypy")),
        ("imports", _imports_keep_the_rules),
        ("openapi", lambda: _passes("app.cli", "openapi", "--check")),
        ("migrations", _migrations_are_current),
    ]
    failed = []
    for name, check in checks:
        began = time.monotonic()
        passed = check()
        print(f"{name}: {'ok' if passed else 'FAILED'} ({time.monotonic() - began:.1f} s)", flush=True)
        if not passed:
            failed.append(name)
    if failed:
        print(f"staffetta: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _passes(module: str, *arguments: str) -> bool:
    return subprocess.run(_command(module, arguments), cwd=_ROOT, check=False).returncode == 0  # noqa: S603


def _imports_keep_the_rules() -> bool:
    # The package has no __main__, and its script's first line breaks when a checkout is moved.
    command = [sys.executable, "-P", "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo"]
    return subprocess.run(command, cwd=_ROOT, check=False).returncode == 0  # noqa: S603


def _migrations_are_current() -> bool:
    """`alembic check`: the tables that the migrations make are those that the code names."""
    # Not before: these load SQLAlchemy and Alembic, which `test` and the tools do not need in this process.
    from alembic import command
    from alembic.util import CommandError

    from app.store.migrate import alembic_config, upgrade

    directory = Path(tempfile.mkdtemp(prefix="staffetta-check-"))
    directory.chmod(0o711)
    try:
        with EmbeddedServers(directory) as servers:
            upgrade(servers.database_url)
            command.check(alembic_config(servers.database_url))
    except (StartError, CommandError) as error:
        print(error, file=sys.stderr)
        return False
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return True


def _require_packages() -> None:
    """The Debian packages of tests/apt.txt: root installs what is missing, anybody else is told the one command that does."""
    lines = [line.partition("#")[0].strip() for line in _PACKAGES.read_text().splitlines()]
    wanted = [line for line in lines if line]
    if not wanted:
        return
    if shutil.which("dpkg-query") is None:
        sys.exit(f"staffetta: the tests need Debian or a relative of it, with these packages: {' '.join(wanted)}")
    missing = [name for name in wanted if not _is_installed(name)]
    if missing and os.geteuid() == 0:
        print(f"staffetta: installing for the tests: {' '.join(missing)}", file=sys.stderr, flush=True)
        _install(missing)
        missing = [name for name in wanted if not _is_installed(name)]
    if missing:
        sys.exit(f"staffetta: the tests need these packages: apt-get install {' '.join(missing)}")


def _install(packages: Sequence[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    if subprocess.run(install, env=environment, stdout=sys.stderr, check=False).returncode != 0:  # noqa: S603
        # Most likely the lists of packages are old or were never fetched.
        subprocess.run(["apt-get", "update", "-qq"], env=environment, stdout=sys.stderr, check=False)  # noqa: S607
        subprocess.run(install, env=environment, stdout=sys.stderr, check=False)  # noqa: S603


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    return done.returncode == 0 and done.stdout == b"installed"


def _become(module: str, arguments: Sequence[str]) -> None:
    os.chdir(_ROOT)
    sys.stdout.flush()
    os.execv(sys.executable, _command(module, arguments))  # noqa: S606


def _command(module: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", module, *arguments]
