"""The documents with blocks to run are true: every block is run against `./staffetta up`, in order, and answers as shown.

sh, python, js   is run; `RELAY` and `KEY` are set, and `MESSAGE` is the id that was seen last
json STATUS      what the curl before it answers; what is shown must be there, "…" stands for anything
text             what the program before it prints
html             what of the last message arrived in the inbox
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.cli.program import command_line, program_environment
from app.embedded import EmbeddedServers
from tests.conftest import new_directory
from tests.house.children import ROOT, Child

_PATIENCE_SECONDS = 60.0
_BLOCK = re.compile(r"^```(\w+) ?(\d*)\n(.+?)^```", re.MULTILINE | re.DOTALL)
_PROGRAMS = {"sh": ["sh", "-eu", "-c"], "python": [sys.executable, "-c"], "js": ["node", "--input-type=module", "-e"]}
_MESSAGE = re.compile(r"\bmsg_[0-9a-f]{32}\b")
_SETTLED = {"delivered", "suppressed", "cancelled", "scheduled"}
_READER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"
_ZONES = {"click.shop.example.test": {"CNAME": "localhost"}}


@dataclass
class Newcomer:
    """Who types what the document says, in a directory with an invoice."""

    directory: Path
    ready: dict[str, Any]
    messages: list[str] = field(default_factory=list)

    def run(self, language: str, block: str) -> tuple[str, int]:
        """What the block prints, and the HTTP status of its last curl (0 without one)."""
        environment = program_environment(
            {"PATH": os.environ["PATH"], "RELAY": self.ready["api_url"], "KEY": self.ready["api_key"], "CURL_HOME": str(self.directory)},
            database_url=EmbeddedServers(Path(self.ready["data"])).database_url,
            keyring_path=f"{self.ready['data']}/keyring.json",
        )
        if self.messages:
            environment["MESSAGE"] = self.messages[-1]
        done = subprocess.run(
            [*_PROGRAMS[language], block], cwd=self.directory, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        self.messages += [one for one in dict.fromkeys(_MESSAGE.findall(done.stdout)) if one not in self.messages]
        return done.stdout, int(done.stderr.split()[-1]) if "curl " in block else 0

    def status_of(self, message: str) -> Any:
        return self._read(f"{self.ready['api_url']}/v1/messages/{message}", Authorization=f"Bearer {self.ready['api_key']}")

    def wait_for_all(self) -> None:
        """Until nothing that was accepted is still under way."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            states = {r["state"] for one in self.messages for r in self.status_of(one)["recipients"]}
            if states <= _SETTLED:
                return
            assert time.monotonic() < until, states
            time.sleep(0.05)

    def received(self) -> list[Any]:
        return list(self._read(f"{self.ready['inbox_url']}/api/messages?limit=500")["messages"])

    def html_received(self) -> str:
        """The HTML of the last message, as it came."""
        self.wait_for_all()
        subject = self.status_of(self.messages[-1])["subject"]
        kept = next(one for one in self.received() if one["subject"] == subject)
        return str(self._read(f"{self.ready['inbox_url']}/api/messages/{kept['id']}")["html"]).replace("\r\n", "\n").strip()

    def read_the_mail(self) -> None:
        """Open the last message and follow its links, like a person; return when that was told."""
        paths = re.findall(r'"https?://[^/"]+(/[oc]/[\w.-]+)"', self.html_received())
        for path in sorted(paths, reverse=True):  # the pixel first
            answer = httpx2.get(self.ready["api_url"] + path, headers={"User-Agent": _READER})
            assert answer.status_code == (200 if path.endswith(".gif") else 302), path
            self._wait_for_event("message.opened" if path.endswith(".gif") else "message.clicked")

    def _wait_for_event(self, kind: str) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while kind not in {event["type"] for event in self.status_of(self.messages[-1])["timeline"]}:
            assert time.monotonic() < until, kind
            time.sleep(0.05)

    def _read(self, url: str, **headers: str) -> Any:
        return httpx2.get(url, headers=headers, timeout=30).raise_for_status().json()


@pytest.fixture
def newcomer(server_directory: Path, tmp_path: Path) -> Iterator[Newcomer]:
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)))
    (tmp_path / ".curlrc").write_text('write-out = "%{stderr}%{http_code}\\n"\n')
    script = tmp_path / "staffetta"
    script.write_text(f'#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(ROOT))}\nexec {shlex.quote(sys.executable)} -P -m app.cli "$@"\n')
    script.chmod(0o755)
    with new_directory() as aside:
        (aside / "zones.json").write_text(json.dumps(_ZONES))
        dns = Child("dns", ["tests.doubles.dns", "--zones", str(aside / "zones.json")], log=aside / "dns.log", speaks=True)
        port = json.loads(dns.first_line())["port"]
        environment = program_environment({"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, dns_servers=f"127.0.0.1:{port}")
        command = command_line("up", "--json", "--data", str(server_directory), "--port", "0", "--workers", "1")
        up = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert up.stdout is not None
            line = up.stdout.readline()
            assert line, up.communicate()[1]
            yield Newcomer(tmp_path, json.loads(line))
            up.terminate()
            assert up.wait(_PATIENCE_SECONDS) == 0
        finally:
            up.kill()
            up.communicate()
            dns.kill()


def differs(shown: Any, real: Any, place: str = "#") -> str | None:
    """Where an answer is not as shown; None when all that is shown is there."""
    if shown == "…":
        return None
    if isinstance(shown, dict) and isinstance(real, dict):
        faults = (
            differs(value, real[key], f"{place}/{key}") if key in real else f"{place}/{key} is missing" for key, value in shown.items()
        )
        return next(filter(None, faults), None)
    if isinstance(shown, list) and isinstance(real, list) and len(shown) == len(real):
        return next(
            filter(None, (differs(one, other, f"{place}/{n}") for n, (one, other) in enumerate(zip(shown, real, strict=True)))), None
        )
    if isinstance(shown, str) and isinstance(real, str) and is_like(shown, real):
        return None
    return None if type(shown) is type(real) and shown == real else f"{place}: shown {shown!r}, real {real!r}"


def is_like(shown: str, real: str) -> bool:
    return re.fullmatch(".*?".join(re.escape(piece) for piece in shown.split("…")), real, re.DOTALL) is not None


def run_document(newcomer: Newcomer, name: str) -> list[str]:
    """Run all blocks of a document; the languages that there were."""
    blocks = _BLOCK.findall((ROOT / "docs" / name).read_text())
    said, sent, status = "", "", 0
    for language, wanted, block in blocks:
        if language in _PROGRAMS:
            if "$MESSAGE" in block:
                newcomer.wait_for_all()
            if "message.clicked" in block:
                newcomer.read_the_mail()
            said, status = newcomer.run(language, block)
            assert status < 500, said
            sent = block
        elif language == "json":
            assert status == int(wanted), said
            until = time.monotonic() + _PATIENCE_SECONDS
            while (fault := differs(json.loads(block), json.loads(said))) is not None:
                # The feed shows an event once no older transaction is open. What changes something is not asked twice.
                assert " -d " not in sent and "-X" not in sent and time.monotonic() < until, f"{fault}\n{said}"
                time.sleep(0.05)
                said, _ = newcomer.run("sh", sent)
        elif language == "text":
            assert is_like(block.strip(), said.strip()), said
        elif language == "html":
            until = time.monotonic() + _PATIENCE_SECONDS
            while not is_like(block.strip(), newcomer.html_received()):
                # Workers see a new tracking host within ten seconds: until then, the same mail again.
                assert time.monotonic() < until, newcomer.html_received()
                time.sleep(0.5)
                newcomer.run("sh", sent)
        else:
            pytest.fail(f"docs/{name}: nothing runs or checks a block of {language}")
    newcomer.wait_for_all()
    return [language for language, _, _ in blocks]


def test_a_difference_is_found() -> None:
    real = {"id": "msg_1", "list": [1, {"a": None}], "yes": True}
    for shown in ({"id": "msg_…"}, {"id": "…", "list": "…"}, {"list": [1, {}]}, {"list": [1, {"a": None}]}, real):
        assert differs(shown, real) is None
    for shown in ({"id": "rcp_…"}, {"is": "…"}, {"list": [1]}, {"list": [1, {"a": 0}]}, {"yes": 1}, {"list": [2, {}]}):
        assert differs(shown, real) is not None


def test_sending(newcomer: Newcomer) -> None:
    languages = run_document(newcomer, "sending.md")
    assert {"sh", "python", "js"} <= set(languages)
    first = next(block for language, _, block in _BLOCK.findall((ROOT / "docs/sending.md").read_text()) if language == "sh")
    again, status = newcomer.run("sh", first)
    assert status == 202
    assert json.loads(again)["id"] == newcomer.messages[0]
    subjects = [one["subject"] for one in newcomer.received()]
    assert sorted(subjects) == sorted(
        [
            *["Your order 1042 is confirmed"] * 2,  # to and bcc
            "Your order 1043 is confirmed",
            "Your order 1044 is confirmed",
            "Your invoice 1042",
            "Order 1042 has shipped",
            "New opening hours",
        ]
    )


def test_finished_mail(newcomer: Newcomer) -> None:
    languages = run_document(newcomer, "finished-mail.md")
    assert {"sh", "json", "html"} <= set(languages)


def test_tracking_and_privacy(newcomer: Newcomer) -> None:
    languages = run_document(newcomer, "tracking-and-privacy.md")
    assert {"sh", "json", "html", "text"} <= set(languages)


def test_templates(newcomer: Newcomer) -> None:
    languages = run_document(newcomer, "templates.md")
    assert {"sh", "json"} <= set(languages)
    assert [one["subject"] for one in newcomer.received()] == ["Ordine 1042 confermato"]
