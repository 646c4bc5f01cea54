"""running  an inbox in a fresh directory that finds the keys in RECORDS
inbox    a client of it
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.inbox import Inbox
from tests.inbox.client import RECORDS, Client, client_of, find_key


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inbox]:
    RECORDS.clear()
    started = Inbox(tmp_path / "inbox", find_key=find_key)
    await started.start()
    yield started
    await started.close()


@pytest.fixture
def inbox(running: Inbox) -> Client:
    return client_of(running)
