"""What docs/webhooks.md tells its reader to write works: the Python receiver takes what is really posted, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from yarl import URL

from app.api.webhook_actions import MOST_OVERLAP_SECONDS
from app.events.attempts import RECORDED_AT_ONCE
from app.events.egress import GuardedClient
from app.events.patience import Patience
from app.events.posts import show_secret
from app.store.db import Database
from app.store.webhooks import MOST_ENDPOINTS
from tests.events.webhook_house import House, Told, until
from tests.house.house import free_port

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


@dataclass
class Receiver:
    """The receiver of the document, as a program."""

    url: str
    lines: list[str]


@asynccontextmanager
async def _receiving(directory: Path, told: Told, port: int) -> AsyncIterator[Receiver]:
    (snippet,) = re.findall(r"^```python\n(.+?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    path = directory / "receiver.py"
    path.write_text(snippet, encoding="utf-8")
    environment = os.environ | {"WEBHOOK_SECRET": show_secret(told.secret), "PORT": str(port)}
    program = await asyncio.create_subprocess_exec(sys.executable, str(path), env=environment, stdout=asyncio.subprocess.PIPE)
    receiver = Receiver(f"http://127.0.0.1:{port}/hook", [])
    reading = asyncio.create_task(_read(program, receiver.lines))
    try:
        await until(lambda: _answers(port), 30)
        yield receiver
    finally:
        program.terminate()
        await program.wait()
        await reading


async def _read(program: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert program.stdout is not None
    while line := await program.stdout.readline():
        lines.append(line.decode().strip())


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("batch_size", [1, 10])
async def test_the_python_receiver_takes_what_is_posted_and_refuses_what_is_forged(house: House, tmp_path: Path, batch_size: int) -> None:
    port = free_port()
    told = await house.subscribe(f"http://127.0.0.1:{port}/hook", batch_size=batch_size)
    async with _receiving(tmp_path, told, port) as receiver:
        await house.happen(told, 12)
        async with house.posting():
            await until(lambda: len(receiver.lines) == 12)
        assert sorted(receiver.lines) == sorted(f"message.delivered r{n}@example.net" for n in range(1, 13))
        assert await house.waiting(told) == []
        client = GuardedClient(allow_private=True, timeout_seconds=5)
        headers = {"webhook-id": "evt_1", "webhook-timestamp": "1614265330", "webhook-signature": "v1,AAAA"}
        assert (await client.post(URL(receiver.url), b'{"data": []}', headers)).status == 400
        await client.close()
        assert len(receiver.lines) == 12


def test_its_figures_are_those_of_the_code() -> None:
    patience = Patience()
    assert patience.schedule_seconds == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert (patience.down_after, patience.tell_after_seconds, patience.disable_after_seconds) == (20, 86400, 3 * 86400)
    assert f"up to {MOST_ENDPOINTS} endpoints" in DOCUMENT
    assert MOST_OVERLAP_SECONDS == 7 * 86400
    assert f"up to {RECORDED_AT_ONCE[False]:,} at a time" in DOCUMENT
    assert f"of the successes {RECORDED_AT_ONCE[True]} at a time" in DOCUMENT
