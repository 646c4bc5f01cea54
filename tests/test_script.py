"""`./staffetta`, the script: finds a Python, makes the environment once, and never takes half of one for whole.

The real script runs; Python's venv and pip, and uv, are stand-ins that write down how they were called.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_TOOLS = ("sh", "cat", "cksum", "dirname", "grep", "mkdir", "readlink", "rm", "sleep")

# Answers the script's questions as a Python does, and makes "environments" whose python is a copy of itself.
_PYTHON = """\
#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "$*" in
    *version_info*) exit ${VERSION_STATUS:-0} ;;
    *ensurepip*venv*) exit ${VENV_STATUS:-0} ;;
    "-m venv "*) mkdir -p "$3/bin"; cat "$0" > "$3/bin/python"; chmod +x "$3/bin/python" ;;
    *fcntl*) exec "$REAL" "$@" ;;
    *"pip install"*) sleep ${PIP_SECONDS:-0}; exit ${PIP_STATUS:-0} ;;
    *app.cli*) echo "PYTHONPATH=$PYTHONPATH"; for argument; do echo "<$argument>"; done ;;
esac
"""

_UV = """\
#!/bin/sh
echo "uv $*" >> "$CALLS"
[ "${UV_STATUS:-0}" = 0 ] || exit "$UV_STATUS"
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
cat "$BIN/python3" > "$UV_PROJECT_ENVIRONMENT/bin/python"
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


class _Checkout:
    """A checkout with a space in its path and a PATH with nothing on it but what a test puts there."""

    def __init__(self, place: Path) -> None:
        self.root = place / "a checkout"
        self.programs = place / "programs"
        self.calls = place / "calls"
        self.root.mkdir()
        self.programs.mkdir()
        for name in ("staffetta", "requirements.lock", "requirements-dev.lock"):
            shutil.copy(_ROOT / name, self.root)
        for tool in (*_TOOLS, "chmod"):
            (self.programs / tool).symlink_to(shutil.which(tool) or "")
        self.add("python3", _PYTHON)

    def add(self, name: str, text: str) -> None:
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        places = {"PATH": str(self.programs), "BIN": str(self.programs), "CALLS": str(self.calls), "REAL": sys.executable}
        return subprocess.Popen(
            [self.root / "staffetta", *arguments],
            env={**places, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        script = self.start(*arguments, **variables)
        out, err = script.communicate(timeout=60)
        return script.returncode, out, err

    def called(self, part: str) -> list[str]:
        """The calls with this part in them, since the last question."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [line for line in lines if part in line]


@pytest.fixture
def checkout(tmp_path: Path) -> _Checkout:
    return _Checkout(tmp_path)


def test_the_environment_is_made_once_and_arguments_arrive_as_given(checkout: _Checkout) -> None:
    status, out, err = checkout.run("up", "--data", "a b", "")
    assert status == 0, err
    assert out.splitlines() == [f"PYTHONPATH={checkout.root}", "<-P>", "<-m>", "<app.cli>", "<up>", "<--data>", "<a b>", "<>"]
    assert [line.endswith("requirements.lock") for line in checkout.called("pip install")] == [True]
    status, _out, err = checkout.run("up")
    assert (status, err) == (0, ""), "the second run says nothing and installs nothing"
    assert checkout.called("pip install") == []


def test_pip_is_held_to_the_hashes(checkout: _Checkout) -> None:
    checkout.run("up")
    assert all("--require-hashes" in line for line in checkout.called("pip install"))


def test_tests_get_the_development_lock_which_serves_the_rest_too(checkout: _Checkout) -> None:
    checkout.run("up")
    checkout.called("")
    assert checkout.run("test", "-k", "x")[0] == 0
    assert "requirements-dev.lock" in checkout.called("pip install")[0]
    checkout.run("up")
    checkout.run("bench")
    assert checkout.called("pip install") == []


def test_a_changed_lock_is_installed_into_the_same_environment(checkout: _Checkout) -> None:
    checkout.run("up")
    checkout.called("")
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    checkout.run("up")
    calls = checkout.called("")
    assert any("pip install" in line for line in calls)
    assert not any("-m venv" in line for line in calls)


def test_uv_is_used_when_there_and_never_fetches_a_python(checkout: _Checkout) -> None:
    checkout.add("uv", _UV)
    assert checkout.run("up", VENV_STATUS="1")[0] == 0, "uv needs no venv module"
    calls = checkout.called("")
    assert any(line.startswith("uv sync") and "--frozen" in line and "--no-dev" in line for line in calls)
    assert not any("pip install" in line for line in calls)
    checkout.run("test")
    assert "--no-dev" not in checkout.called("uv sync")[0]


def test_pip_takes_over_when_uv_fails(checkout: _Checkout) -> None:
    checkout.add("uv", _UV)
    assert checkout.run("up", UV_STATUS="2")[0] == 0
    assert len(checkout.called("pip install")) == 1


def test_an_interrupted_install_is_made_anew(checkout: _Checkout) -> None:
    script = checkout.start("up", PIP_SECONDS="30")
    until = time.monotonic() + 30
    while not (checkout.calls.exists() and "pip install" in checkout.calls.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(script.pid, signal.SIGKILL)
    script.communicate()
    rest = checkout.root / ".venv" / "rest-of-it"
    rest.touch()
    checkout.called("")
    assert checkout.run("up")[0] == 0
    assert any("-m venv" in line for line in checkout.called(""))
    assert not rest.exists()


def test_a_failed_install_is_one_line_and_is_tried_again(checkout: _Checkout) -> None:
    status, out, err = checkout.run("up", PIP_STATUS="1")
    assert (status, out) == (1, "")
    assert "packages could not be installed" in err.splitlines()[-1]
    assert checkout.run("up")[0] == 0


def test_two_at_once_install_once(checkout: _Checkout) -> None:
    scripts = [checkout.start("up", PIP_SECONDS="1") for _ in range(3)]
    assert [script.communicate()[1].count("installing") for script in scripts].count(1) == 1
    assert len(checkout.called("pip install")) == 1


def test_no_python_is_one_line(checkout: _Checkout) -> None:
    status, out, err = checkout.run("up", VERSION_STATUS="1")
    assert (status, out) == (1, "")
    assert err == "staffetta: no Python 3.11 to 3.14 found: apt-get install python3 python3-venv (or set STAFFETTA_PYTHON)\n"


def test_no_venv_module_is_one_line(checkout: _Checkout) -> None:
    status, out, err = checkout.run("up", VENV_STATUS="1")
    assert (status, out) == (1, "")
    assert err == "staffetta: python3 has no venv module: apt-get install python3-venv (or put uv on PATH)\n"


def test_a_place_that_cannot_be_written_is_one_line(checkout: _Checkout) -> None:
    status, out, err = checkout.run("up", STAFFETTA_VENV="/proc/none/venv")
    assert (status, out) == (1, "")
    assert err == "staffetta: cannot write /proc/none/venv: set STAFFETTA_VENV to a directory of your own\n"


def test_it_may_be_called_by_a_link_from_elsewhere(checkout: _Checkout, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(checkout.root / "staffetta")
    environment = {"PATH": str(checkout.programs), "CALLS": str(checkout.calls), "REAL": sys.executable, "STAFFETTA_VENV": "elsewhere"}
    done = subprocess.run([link, "up"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"PYTHONPATH={checkout.root}\n")
    assert (tmp_path / "elsewhere" / "bin" / "python").exists()
