"""`staffetta up`: one command, and a mail goes through; whatever was killed, the next start goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.cli.program import command_line, program_environment
from app.cli.up import default_directory
from app.embedded.child import running_with
from tests.conftest import new_directory

# Slow machines are no failure: what is tested here is not speed.
_PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One directory for all tests that need no fresh one: a later `up` finds what an earlier one left."""
    with new_directory() as directory:
        yield directory


def _start(*arguments: str | Path, **settings: str) -> subprocess.Popen[str]:
    environment = program_environment({"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, **settings)
    command = command_line("up", *(str(argument) for argument in arguments))
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _refused(*arguments: str | Path, **settings: str) -> str:
    """What `up` says when it does not start."""
    up = _start(*arguments, **settings)
    out, err = up.communicate(timeout=_PATIENCE_SECONDS)
    assert (up.returncode, out) == (1, ""), err
    lines = [line for line in err.splitlines() if "does not run as root" not in line]
    assert len(lines) == 1, err
    return lines[0]


@contextlib.contextmanager
def _up(directory: Path, *arguments: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    up = _start("--json", "--data", directory, "--port", str(port), "--workers", "1", *arguments)
    try:
        assert up.stdout is not None
        line = up.stdout.readline()
        assert line, up.communicate()[1]
        yield up, json.loads(line)
    finally:
        up.kill()
        up.communicate()


def _ask(url: str, *, key: str | None = None, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body is not None else None)
    request.add_header("Content-Type", "application/json")
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def _submit(ready: dict[str, Any], subject: str) -> str:
    body = {"from": ready["from"], "to": ["ada@example.com"], "subject": subject, "text": "Thank you."}
    answer = _ask(f"{ready['api_url']}/v1/messages", key=ready["api_key"], body=body)
    return str(answer["id"])


def _subjects(ready: dict[str, Any]) -> set[str]:
    return {message["subject"] for message in _ask(f"{ready['inbox_url']}/api/messages")["messages"]}


def _wait_for(condition: Any, seconds: float = _PATIENCE_SECONDS) -> None:
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if condition():
                return
        assert time.monotonic() < until, "did not come about in time"
        time.sleep(0.05)


def _children(directory: Path) -> dict[str, int]:
    """The programs that a run of `up` on this directory has, by their command."""
    found = {}
    for pid in running_with("STAFFETTA_STARTED_FOR", str(directory)):
        with contextlib.suppress(psutil.Error):
            command = psutil.Process(pid).cmdline()
            if command:  # else it is ending
                found[command[-1]] = pid
    return found


def _is_quiet(directory: Path) -> bool:
    servers = [process for process in psutil.process_iter(["cwd"]) if str(process.info["cwd"] or "").startswith(str(directory))]
    return not servers and not _children(directory)


def test_a_mail_goes_through_and_is_there_after_a_restart(home: Path) -> None:
    with _up(home) as (up, ready):
        assert set(ready) == {
            "api_url", "api_key", "from", "smtp_user", "smtp_password", "inbox_url", "public_url", "ports", "data", "pid",
        }  # fmt: skip
        assert ready["pid"] == up.pid
        assert ready["data"] == str(home)
        message = _submit(ready, "first")
        _wait_for(lambda: "first" in _subjects(ready))
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=_PATIENCE_SECONDS)
        assert up.returncode == 0, err
        assert out == "", "nothing but the one line"
    assert _is_quiet(home)
    for secret in ("keyring.json", "first-account.json"):
        assert (home / secret).stat().st_mode & 0o077 == 0

    with _up(home) as (up, again):
        assert again["api_key"] == ready["api_key"]
        assert _ask(f"{again['api_url']}/v1/messages/{message}", key=again["api_key"])["recipients"][0]["state"] == "delivered"
        assert "first" in _subjects(again)
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=_PATIENCE_SECONDS)
        assert up.returncode == 0
    assert _is_quiet(home)


@pytest.mark.parametrize("victims", [{"up"}, {"up", "serve", "worker", "inbox", "postgres", "valkey-server"}], ids=["up", "everything"])
def test_the_next_start_recovers_from_kill_9(home: Path, victims: set[str]) -> None:
    with _up(home) as (up, ready):
        subject = f"before the kill of {len(victims)}"
        _submit(ready, subject)
        pids = _children(home)
        for process in psutil.process_iter(["cwd", "name"]):
            if str(process.info["cwd"] or "").startswith(str(home)) and process.info["name"] in victims:
                pids[f"{process.info['name']} {process.pid}"] = process.pid
        up.kill()
        for name, pid in pids.items():
            if name.partition(" ")[0] in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        up.wait()
    # At once, and on the same ports, which orphans may still hold.
    with _up(home, port=ready["ports"]["api"]) as (up, again):
        # Those of SMTP are the usual ones where --port names one, as far as they are free.
        assert all(again["ports"][name] == ready["ports"][name] for name in ("api", "inbox_http", "inbox_smtp"))
        _wait_for(lambda: subject in _subjects(again))
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=_PATIENCE_SECONDS)
    assert _is_quiet(home)


def test_what_dies_is_started_again_and_two_signals_end_it_at_once(home: Path) -> None:
    with _up(home) as (up, ready):
        for name, pid in _children(home).items():
            os.kill(pid, signal.SIGKILL)
            _wait_for(lambda name=name, pid=pid: _children(home).get(name, pid) != pid)
        for process in psutil.process_iter(["cwd", "name"]):
            if process.info["cwd"] == str(home / "postgres") and process.info["name"] == "postgres":
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        _wait_for(lambda: _ask(f"{ready['api_url']}/readyz")["status"] in {"ready", "degraded"})
        _submit(ready, "after all had died")
        _wait_for(lambda: "after all had died" in _subjects(ready))
        up.send_signal(signal.SIGINT)
        up.send_signal(signal.SIGTERM)
        _out, err = up.communicate(timeout=_PATIENCE_SECONDS)
        assert up.returncode == 0
        assert "starting it again" in err
        assert "postgres had ended and runs again" in err
    assert _is_quiet(home)


def test_a_taken_port_is_told_before_anything_starts(server_directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = _refused("--data", server_directory, "--port", str(port))
    assert line.startswith(f"staffetta: port {port} (api) cannot be used: ")
    assert "--port" in line
    assert not (server_directory / "postgres").exists()


def test_a_second_run_on_the_same_directory_is_refused(home: Path) -> None:
    with _up(home) as (up, _ready):
        assert f"another run (pid {up.pid}) uses {home}" in _refused("--data", home, "--port", "0")
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=_PATIENCE_SECONDS)


def test_a_lost_keyring_is_told_and_not_replaced(home: Path) -> None:
    kept = home / "keyring.json"
    aside = kept.rename(home / "keyring.aside")
    try:
        assert f"{kept} is gone" in _refused("--data", home, "--port", "0")
        assert not kept.exists()
    finally:
        aside.rename(kept)


def test_a_wrong_setting_is_one_line(server_directory: Path) -> None:
    line = _refused("--data", server_directory, log_level="INFO", worker_processes="many")
    assert line.startswith("staffetta: STAFFETTA_WORKER_PROCESSES: ")


def test_a_signal_while_starting_ends_it_cleanly(server_directory: Path) -> None:
    up = _start("--data", server_directory, "--port", "0")
    _wait_for(lambda: (server_directory / "run").exists())
    up.send_signal(signal.SIGTERM)
    out, err = up.communicate(timeout=_PATIENCE_SECONDS)
    assert (up.returncode, out) == (0, ""), err
    assert "Traceback" not in err
    assert _is_quiet(server_directory)


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory() == Path("/var/lib/staffetta")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for home, expected in (("", root / "data"), ("/nonexistent", root / "data"), (str(tmp_path), tmp_path / ".local/share/staffetta")):
        monkeypatch.setenv("HOME", home)
        assert default_directory() == expected
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "staffetta"
