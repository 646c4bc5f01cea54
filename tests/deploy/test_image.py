"""Every role, started as compose.yaml starts it: the image's tree and variables, a clean environment, an unprivileged user."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.alive import greets
from app.embedded import EmbeddedServers
from tests.deploy.compose import read_compose, read_example
from tests.deploy.image import DOCKERFILE, Image, instructions, value_of
from tests.doubles.sink import Sink
from tests.flows.conftest import until

SERVICES = read_compose(read_example())["services"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def image(servers: EmbeddedServers, server_directory: Path) -> Image:
    assert servers.owner is not None
    return Image(server_directory, servers.owner)


@pytest.fixture
def settings_of(image: Image, servers: EmbeddedServers, redis_url: str) -> Any:
    """The variables of a service, with the test's servers in place of the other containers."""
    secrets = image.place / "run/secrets"
    secrets.mkdir(parents=True)
    url = servers.create_database(f"image_{image.place.name.replace('-', '_')}")
    (secrets / "staffetta_database_url").write_text(f"{url}\n")

    def settings(service: str, **others: str) -> dict[str, str]:
        variables = {name: str(value) for name, value in SERVICES[service]["environment"].items()}
        here = {"STAFFETTA_REDIS_URL": redis_url, "STAFFETTA_API_PORT": str(_free_port())}
        return variables | here | others

    return settings


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for child in running:
        child.kill()
        child.wait()


def _answer(port: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return int(response.status)
    except OSError:
        return 0


async def test_every_role_of_the_compose_file(image: Image, settings_of: Any, started: list[subprocess.Popen[bytes]]) -> None:
    once = settings_of("migrate")
    for _ in range(2):  # every `docker compose up` runs it
        done = image.run(SERVICES["migrate"]["command"], once)
        assert done.returncode == 0, done.stderr
    keyring = image.home / "keyring.json"
    assert stat.S_IMODE(keyring.stat().st_mode) == 0o600
    before = keyring.read_bytes()

    async with Sink() as sink:
        delivering = {"STAFFETTA_SMARTHOST": f"127.0.0.1:{sink.port}"}
        api, worker = settings_of("api"), settings_of("worker", **delivering)
        started += [image.start(SERVICES["api"]["command"], api), image.start(SERVICES["worker"]["command"], worker)]
        here = {"STAFFETTA_SUBMISSION_PORTS": str(_free_port()), "STAFFETTA_SUBMISSION_TLS_PORTS": ""}
        started.append(image.start(SERVICES["smtp"]["command"], smtp := settings_of("smtp", **here)))
        await until(lambda: greets("127.0.0.1", int(smtp["STAFFETTA_SUBMISSION_PORTS"])), bool, 60)
        await until(lambda: _answer(api["STAFFETTA_API_PORT"], "/readyz"), lambda status: status == 200, 60)
        for service, settings in (("api", api), ("smtp", smtp), ("worker", worker)):
            check = SERVICES[service]["healthcheck"]["test"]
            assert check[:2] == ["CMD", "staffetta"]
            await until(lambda check=check, settings=settings: image.run(check[2:], settings).returncode, lambda status: status == 0, 60)

        for words in (["account", "add", "acme"], ["domain", "add", "acme", "shop.example.test"]):
            done = image.run(words, once)
            assert done.returncode == 0, done.stderr
        token = json.loads(image.run(["key", "create", "acme", "--json"], once).stdout)["key"]
        body = {"from": "a@shop.example.test", "to": "b@x.test", "subject": "s", "text": "t"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{api['STAFFETTA_API_PORT']}/v1/messages",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
        assert answer.status == 202
        await until(lambda: [dot.recipient for dot in sink.dots], lambda got: got == ["b@x.test"], 20)

        for child in started:
            child.send_signal(signal.SIGTERM)
        # The API's server gives the signal back to itself when it has finished.
        assert [await asyncio.to_thread(child.wait, 40) for child in started] == [-signal.SIGTERM, 0, 0]
    for service in ("api", "smtp", "worker"):
        assert image.run(["alive"], settings_of(service)).returncode == 1, "and says so when it has ended"
    assert keyring.read_bytes() == before


async def test_a_lost_keyring_is_not_replaced(image: Image, settings_of: Any) -> None:
    once = settings_of("migrate")
    assert image.run(["migrate", "--with-keyring"], once).returncode == 0
    assert image.run(["account", "add", "acme"], once).returncode == 0
    (image.home / "keyring.json").unlink()
    done = image.run(["migrate", "--with-keyring"], once)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "this database needs the one it was used with" in done.stderr
    assert not (image.home / "keyring.json").exists()


def test_a_missing_directory_of_secrets_is_one_line(image: Image) -> None:
    done = image.run(["worker"], {"STAFFETTA_SECRETS": "/run/none"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "STAFFETTA_SECRETS" in done.stderr


def test_the_linter_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_is_unprivileged_and_has_no_compiler() -> None:
    stage = instructions()
    assert next(words for name, words in stage if name == "USER") == "10001:10001"
    assert value_of("HEALTHCHECK") == ["staffetta", "alive"]
    assert value_of("CMD") == ["serve"]
    installed = " ".join(words for name, words in stage if name == "RUN")
    assert not any(word in installed for word in ("gcc", "build-essential", "-dev", "pip install"))
    assert stage[0] == ("FROM", "${PYTHON}")
