"""The small commands, as an operator types them."""

from __future__ import annotations

import json
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


def test_a_keyring_goes_through_its_backup(tmp_path: Path) -> None:
    path, backup, passphrase = tmp_path / "keyring.json", tmp_path / "backup.json", tmp_path / "passphrase"
    keyring = Keyring.create(path)
    keyring.rotate()
    passphrase.write_text("correct horse battery\n")
    words = ("--passphrase-file", str(passphrase))
    done = staffetta("keyring", "backup", str(backup), *words, STAFFETTA_KEYRING_PATH=str(path))
    assert done.returncode == 0, done.stderr
    assert backup.stat().st_mode & 0o077 == 0
    assert not any(entry["key"] in backup.read_text() for entry in json.loads(path.read_text())["keys"].values())
    again = staffetta("keyring", "backup", str(backup), *words, STAFFETTA_KEYRING_PATH=str(path))
    assert (again.returncode, again.stderr) == (1, f"staffetta: {backup}: File exists\n")
    there = staffetta("keyring", "restore", str(backup), *words, STAFFETTA_KEYRING_PATH=str(path))
    assert (there.returncode, "already" in there.stderr) == (1, True)
    elsewhere = tmp_path / "other" / "keyring.json"
    done = staffetta("keyring", "restore", str(backup), *words, STAFFETTA_KEYRING_PATH=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert Keyring.load(elsewhere).ids == (1, 2)
    assert Keyring.load(elsewhere).mac_key("x") == keyring.mac_key("x")


def test_a_passphrase_that_is_wrong_short_or_not_given_is_one_line(tmp_path: Path) -> None:
    path, backup = tmp_path / "keyring.json", tmp_path / "backup.json"
    backup.write_bytes(Keyring.create(path).backup("correct horse battery"))
    cases = (("wrong horse battery", "another one"), ("short", "another one"))
    for given, said in cases:
        (tmp_path / "passphrase").write_text(given)
        words = ("--passphrase-file", str(tmp_path / "passphrase"))
        done = staffetta("keyring", "restore", str(backup), *words, STAFFETTA_KEYRING_PATH=str(tmp_path / "new.json"))
        assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (1, 1, True)
    done = staffetta("keyring", "backup", str(tmp_path / "b"), *words, STAFFETTA_KEYRING_PATH=str(path))
    assert (done.returncode, "at least 12 characters" in done.stderr) == (1, True)
    done = staffetta("keyring", "backup", str(tmp_path / "b"), STAFFETTA_KEYRING_PATH=str(path))
    assert (done.returncode, "--passphrase-file" in done.stderr) == (1, True)
    assert not (tmp_path / "new.json").exists()
    assert not (tmp_path / "b").exists()


def test_the_keyring_is_checked_against_the_database(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    settings = {"STAFFETTA_KEYRING_PATH": str(path), "STAFFETTA_DATABASE_URL": database_url}
    Keyring.create(path)
    for words in (("account", "add", "acme"), ("domain", "add", "acme", "a.example"), ("key", "create", "acme")):
        done = staffetta(*words, **settings)
        assert done.returncode == 0, done.stderr
    assert staffetta("keyring", "check", **settings).stdout == "The keyring opens all 2 sealed values of the database.\n"
    assert "key 2 was added to 1." in staffetta("keyring", "rotate", **settings).stdout
    assert staffetta("key", "create", "acme", **settings).returncode == 0
    assert staffetta("keyring", "check", **settings).stdout == "The keyring opens all 3 sealed values of the database.\n"
    path.unlink()
    Keyring.create(path)
    done = staffetta("keyring", "check", **settings)
    assert (done.returncode, "DKIM key of a.example" in done.stdout) == (1, True)


def test_a_role_without_a_keyring_says_how_to_make_one(tmp_path: Path) -> None:
    ended = staffetta("worker", STAFFETTA_KEYRING_PATH=str(tmp_path / "none.json"))
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].endswith("(make one with: staffetta keyring create)")
