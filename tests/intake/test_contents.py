"""What is large is written beside the loop that serves everybody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

from app.config import Settings
from app.intake.contents import Contents, Made


async def test_what_is_large_is_written_in_a_thread_one_at_a_time() -> None:
    contents = Contents(cast(Any, None), cast(Any, None), Settings())
    beside: list[bool] = []
    at_once = most = 0

    def write() -> Made:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        beside.append(threading.current_thread() is not threading.main_thread())
        at_once -= 1
        return Made("s", b"", b"")

    for size in (10_000, 1_000_000):
        await asyncio.gather(*(contents._beside(size, write) for _ in range(5)))
    assert beside == [False] * 5 + [True] * 5
    assert most == 1
