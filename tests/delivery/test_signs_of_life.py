"""Who has died on this machine, and who is only silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.delivery.signs_of_life import has_died, own_mark

_SAY_MARK = "import sys; from app.delivery.signs_of_life import own_mark; print(own_mark(), flush=True); sys.stdin.read()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, "-c", _SAY_MARK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_we_are_there() -> None:
    mark = own_mark()
    assert mark is not None
    assert not has_died(mark)


def test_who_was_killed_has_died_heard_of_or_not(other: tuple[subprocess.Popen[str], str]) -> None:
    process, mark = other
    assert not has_died(mark)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_died(mark), "a zombie"
    process.wait()
    assert has_died(mark)


def test_who_is_frozen_is_there(other: tuple[subprocess.Popen[str], str]) -> None:
    process, mark = other
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert not has_died(mark)


def test_another_process_of_the_same_number_is_another() -> None:
    place, pid, began = str(own_mark()).rsplit(" ", 2)
    assert has_died(f"{place} {pid} {int(began) - 1}")


@pytest.mark.parametrize("mark", [None, "", "x", "a b c", "boot pid:[1] 1 1", " 1 1"])
def test_of_others_nothing_is_said(mark: str | None) -> None:
    assert not has_died(mark)


def test_of_another_boot_or_namespace_nothing_is_said() -> None:
    boot, namespace, _, began = str(own_mark()).split(" ")
    for place in (f"{boot[:-1]}x {namespace}", f"{boot} pid:[1]"):
        assert not has_died(f"{place} {2**22 - 1} {began}")
