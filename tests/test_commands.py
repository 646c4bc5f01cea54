"""The small commands, as an operator types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.keyring import Keyring

_ROOT = Path(__file__).resolve().parents[1]


def staffetta(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | settings
    command = [sys.executable, "-P", "-m", "app.cli", *arguments]
    return subprocess.run(command, cwd=_ROOT, env=environment | {"PYTHONPATH": str(_ROOT)}, capture_output=True, text=True, check=False)


def test_version() -> None:
    assert staffetta("--version").stdout.startswith("staffetta 0.")


def test_a_keyring_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    first = staffetta("keyring", "create", STAFFETTA_KEYRING_PATH=str(path))
    assert (first.returncode, first.stdout) == (0, f"{path}\n")
    keys = Keyring.load(path).ids
    again = staffetta("keyring", "create", STAFFETTA_KEYRING_PATH=str(path))
    assert again.returncode == 1
    assert again.stderr.startswith("staffetta: there is a keyring at")
    assert Keyring.load(path).ids == keys


def test_a_role_without_a_keyring_says_how_to_make_one(tmp_path: Path) -> None:
    ended = staffetta("worker", STAFFETTA_KEYRING_PATH=str(tmp_path / "none.json"))
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].endswith("(make one with: staffetta keyring create)")
