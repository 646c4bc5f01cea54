"""Three ways to spoil the house that the checker must find. Wrappers of the tests; the product has no such switch.

Each function patches the running process: of a worker (WORKERS) or of the API (`python -m tests.chaos.sabotage` starts such an API).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from app.cli.serve import run_api
from app.cli.settings import read_settings
from app.delivery.lease import Lease
from app.intake import submit
from app.intake.group_commit import GroupCommit
from app.store import settlement
from app.store.states import RecipientState
from app.store.submissions import WrittenRecipient

_COMMIT_LATER_SECONDS = 0.05


def settle_without_fence() -> None:
    """Outcomes count whoever owns the row by now."""
    fenced = settlement._SETTLE
    settlement._SETTLE = fenced.replace(" AND q.owner = i.owner", "")
    assert fenced != settlement._SETTLE, "the statement has another fence by now"


def take_nothing_over() -> None:
    """The rows of dead workers stay theirs."""

    async def nothing(self: Lease, connection: Any, died: Any) -> None:
        return None

    Lease._take_over = nothing  # type: ignore[method-assign]


def reply_before_commit() -> None:
    """The caller gets its yes at once; the group is written a little later."""
    add = GroupCommit.add
    later: set[asyncio.Task[None]] = set()

    def adding(self: GroupCommit, message: submit.NewMessage) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()

        async def write() -> None:
            await asyncio.sleep(_COMMIT_LATER_SECONDS)
            await add(self, message)

        task = loop.create_task(write())
        later.add(task)
        task.add_done_callback(later.discard)
        yes: asyncio.Future[Any] = loop.create_future()
        yes.set_result(
            [WrittenRecipient(r.id, message.account_id, RecipientState.READY, None, 0, message.lane_class) for r in message.recipients]
        )
        return yes

    GroupCommit.add = adding  # type: ignore[method-assign,assignment]


WORKERS: dict[str, Callable[[], None]] = {"settle_without_fence": settle_without_fence, "take_nothing_over": take_nothing_over}


if __name__ == "__main__":
    reply_before_commit()
    run_api(read_settings())
