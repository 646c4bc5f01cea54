"""The HTTP API as several processes on one socket."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.cli.program import command_line, program_environment
from app.keyring import Keyring

_PATIENCE_SECONDS = 60.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    Keyring.create(tmp_path / "keyring.json")
    return {
        "database_url": database_url,
        "redis_url": redis_url,
        "keyring_path": str(tmp_path / "keyring.json"),
        "api_port": str(_free_port()),
        "api_processes": "2",
    }


@contextlib.contextmanager
def _serving(settings: dict[str, str]) -> Iterator[psutil.Popen]:
    server = psutil.Popen(command_line("serve"), env=program_environment(os.environ, **settings), stderr=subprocess.PIPE)
    try:
        _wait_until(lambda: _status(settings, "/readyz") == 200 and len(server.children()) == int(settings["api_processes"]))
        yield server
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            server.kill()
        server.communicate()


def _status(settings: dict[str, str], path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings['api_port']}{path}", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _wait_until(condition: object) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "did not come about in time"
        time.sleep(0.02)


def test_a_child_that_dies_is_replaced_and_sigterm_ends_all(settings: dict[str, str]) -> None:
    with _serving(settings) as server:
        first = server.children()
        first[0].kill()
        assert {_status(settings, "/healthz") for _ in range(20)} == {200}, "the other one serves meanwhile"
        _wait_until(lambda: len(server.children()) == 2 and first[0] not in server.children())
        children = server.children()
        server.send_signal(signal.SIGTERM)
        assert server.wait(_PATIENCE_SECONDS) == 0
        assert not any(child.is_running() for child in children)


def test_children_end_with_their_parent(settings: dict[str, str]) -> None:
    with _serving(settings) as server:
        children = server.children()
        server.kill()
        _wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
        assert _status(settings, "/healthz") == 0


def test_every_form_of_answer_leaves_and_in_order(settings: dict[str, str]) -> None:
    asked = (
        ("HEAD", "/nothing", b"", 404),  # a head that no body follows
        ("GET", "/healthz", b"", 200),
        ("POST", "/v1/messages", b"{}", 401),
        ("GET", "/nothing", b"", 404),
    )
    port = int(settings["api_port"])
    with _serving(settings):
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
        for method, path, body, status in asked:
            kept.request(method, path, body)
            answer = kept.getresponse()
            assert (answer.status, bool(answer.read())) == (status, method != "HEAD")
        kept.close()
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS) as piped:
            for method, path, body, _ in asked:
                last = "Connection: close\r\n" if (method, path) == ("GET", "/nothing") else ""
                piped.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{last}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answers = b"".join(iter(lambda: piped.recv(65536), b""))
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)] == [status for *_, status in asked]


def test_a_taken_port_is_one_line(settings: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(settings["api_port"])))
        taken.listen()
        done = subprocess.run(
            command_line("serve"), env=program_environment(os.environ, **settings), capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"staffetta: cannot listen on 127.0.0.1 port {settings['api_port']}: ")
    assert done.stderr.count("\n") == 1
