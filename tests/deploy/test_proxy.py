"""The TLS proxy, for real: Caddy with our Caddyfile before our API, with its own authority in place of a public one."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.accounts.first import ensure_first_account
from app.cli.program import command_line, program_environment
from app.keyring import Keyring
from app.store.db import Database
from tests.deploy.compose import ROOT

CADDYFILE = ROOT / "deploy" / "caddy" / "Caddyfile"
PUBLIC, VERIFIED, UNVERIFIED = "mail.example.test", "shop.example.test", "later.example.test"
_PATIENCE_SECONDS = 60.0


def caddy() -> str:
    program = shutil.which("caddy", path=str(Path(sys.executable).parent))
    assert program is not None
    return program


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _ask(port: int, host: str, path: str, authority: Path) -> int:
    """The status of GET https://host/path at the proxy, with its certificate checked against the proxy's own authority."""
    context = ssl.create_default_context(cafile=str(authority))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname=host) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status


@pytest.fixture
async def proxy(database: Database, redis_url: str, tmp_path: Path) -> Any:
    """(its port, the certificate of its authority), before an API that knows one verified domain."""
    keyring = Keyring.create(tmp_path / "keyring.json")
    await ensure_first_account(database, keyring, domain=VERIFIED)
    async with database.hot() as connection:
        await connection.execute("UPDATE domains SET verified_at = now()")
        await connection.execute("INSERT INTO domains (account_id, name) SELECT id, $1 FROM accounts", UNVERIFIED)
    api_port, http_port, https_port = _free_ports(3)
    settings = {
        "database_url": database.url,
        "redis_url": redis_url,
        "keyring_path": str(tmp_path / "keyring.json"),
        "api_port": str(api_port),
        "public_url": f"https://{PUBLIC}",
    }
    variables = {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "kept"),
        "STAFFETTA_PUBLIC_HOST": PUBLIC,
        "STAFFETTA_API": f"127.0.0.1:{api_port}",
        "CADDY_UPSTREAM": f"to 127.0.0.1:{api_port}",
        "CADDY_OPTIONS": f"local_certs\nskip_install_trust\nadmin off\nhttp_port {http_port}\nhttps_port {https_port}",
    }
    children = [subprocess.Popen(command_line("serve"), env=program_environment(os.environ, **settings), stderr=subprocess.DEVNULL)]
    with (tmp_path / "caddy.log").open("wb") as log:
        command = [caddy(), "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
        children.append(subprocess.Popen(command, env=variables, stdout=log, stderr=log))
    authority = tmp_path / "kept/caddy/pki/authorities/local/root.crt"
    try:
        _until_ready(https_port, authority, children, tmp_path / "caddy.log")
        yield https_port, authority
    finally:
        for child in children:
            child.kill()
            child.wait()


def _until_ready(port: int, authority: Path, children: list[subprocess.Popen[bytes]], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        assert all(child.poll() is None for child in children), log.read_text()
        assert time.monotonic() < until, log.read_text()
        try:
            if authority.exists() and _ask(port, PUBLIC, "/readyz", authority) == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)


async def test_certificates_are_got_for_names_that_are_known_alone(proxy: tuple[int, Path]) -> None:
    port, authority = proxy
    assert _ask(port, PUBLIC, "/healthz", authority) == 200
    assert _ask(port, VERIFIED, "/healthz", authority) == 200
    for stranger in (UNVERIFIED, "stranger.example.net", f"deep.{VERIFIED}"):
        with pytest.raises(ssl.SSLError):
            _ask(port, stranger, "/healthz", authority)


@pytest.mark.parametrize(
    "path", ["/internal/tls-allowed?domain=a.test", "/INTERNAL/tls-allowed?domain=a.test", "//internal/tls-allowed", "/metrics"]
)
async def test_what_the_proxy_asks_is_nobody_elses_to_ask(proxy: tuple[int, Path], path: str) -> None:
    port, authority = proxy
    for host in (PUBLIC, VERIFIED):
        assert _ask(port, host, path.replace("a.test", VERIFIED), authority) == 404


@pytest.fixture
def options() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "STAFFETTA_PUBLIC_HOST": PUBLIC, "ACME_EMAIL": "postmaster@example.test"}


def test_the_file_is_valid_as_compose_gives_it(options: dict[str, str], tmp_path: Path) -> None:
    command = [caddy(), "validate", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
    variables = options | {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
