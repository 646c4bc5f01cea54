"""inbox: a running inbox in a fresh directory, and its client; it finds the keys in RECORDS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.inbox import Inbox
from tests.inbox.client import RECORDS, Client, find_key


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Client]:
    RECORDS.clear()
    running = Inbox(tmp_path / "inbox", find_key=find_key)
    await running.start()
    yield Client(running)
    await running.close()
