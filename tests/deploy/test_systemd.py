"""The systemd units, as systemd reads them, with a program in the place of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from app.config import Settings
from tests.deploy.compose import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def verify(directory: Path, name: str) -> str:
    command = ["systemd-analyze", "verify", "--man=no", str(directory / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # What it says of other units of the machine is not ours.
    return "\n".join(line for line in (done.stderr + done.stdout).splitlines() if "staffetta" in line)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    for unit in UNITS:
        name = unit.name.replace("@.", "@1.")
        (tmp_path / name).write_text(unit.read_text().replace("/usr/local/bin/staffetta", "/bin/true"))
    return tmp_path


def test_systemd_understands_them(units: Path) -> None:
    assert len(UNITS) == 4
    for unit in sorted(units.iterdir()):
        assert verify(units, unit.name) == ""


def test_systemd_does_not_understand_everything(units: Path) -> None:
    unit = units / "staffetta-api.service"
    unit.write_text(unit.read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in verify(units, unit.name)


def test_a_worker_is_given_the_time_it_drains() -> None:
    text = (ROOT / "deploy/systemd/staffetta-worker@.service").read_text()
    seconds = next(int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("TimeoutStopSec"))
    assert seconds >= Settings().drain_seconds + 10
