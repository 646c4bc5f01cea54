"""What came of single posts, kept for the endpoint's owner to look at.

Rules:
1. Every failure is recorded and every success, as long as an endpoint has allowance for it: RECORDED_AT_ONCE of each, which comes
   back within minutes. So a quiet endpoint sees all of its posts, a busy one sees samples of its successes, and a receiver
   that refuses everything cannot fill the disk. What is left out is counted.
2. Nothing is written while posts are made: what is recorded waits in memory and goes in one statement every FLUSH_SECONDS. A
   crash loses what waited; that is history of posts, not posts.
3. Bodies are not stored: they are made again from the events.
"""

from __future__ import annotations

import time
from uuid import UUID

from prometheus_client import Counter

from app import log, store
from app.events.egress import Answer
from app.events.posts import Post
from app.store.db import Database
from app.store.ids import new_id
from app.store.webhook_attempts import AttemptRow
from app.tally import Buckets

FLUSH_SECONDS = 1.0
RECORDED_AT_ONCE = {True: 30, False: 2000}  # successes, failures
_COMES_BACK_SECONDS = {True: 60.0, False: 200.0}
_MOST_IN_MEMORY = 20_000
_MOST_ALLOWANCES = 10_000

_left_out = Counter("staffetta_webhook_attempts_left_out_total", "Posts to webhook receivers that are not listed one by one.", ["outcome"])
_left_out_of = {True: _left_out.labels("taken"), False: _left_out.labels("failed")}


class AttemptBook:
    """The attempts of one worker's endpoints, until they are written."""

    def __init__(self) -> None:
        self._rows: list[AttemptRow] = []
        self._allowances = Buckets(_MOST_ALLOWANCES, time.monotonic)
        self._flush_at = 0.0

    def note(self, account_id: int, endpoint_id: UUID, post: Post, answer: Answer, seconds: float) -> None:
        """An answer, `seconds` after its post began."""
        success = answer.success
        if not self._may_record(endpoint_id, success):
            _left_out_of[success].inc()
            return
        self._rows.append(make_attempt(account_id, endpoint_id, post, answer, seconds))

    async def flush(self, database: Database, *, at_once: bool = False) -> None:
        """Write what waits, when it is time. A database that is away costs what does not fit into memory."""
        now = time.monotonic()
        if not self._rows or (now < self._flush_at and not at_once):
            return
        self._flush_at = now + FLUSH_SECONDS
        rows, self._rows = self._rows, []
        try:
            async with database.hot() as connection:
                await store.webhook_attempts.insert_attempts(connection, rows)
        except store.db.CONNECTION_ERRORS as error:
            self._rows = (rows + self._rows)[-_MOST_IN_MEMORY:]
            log.loop_failed("webhook_attempts", error)
        except Exception as error:  # history of posts is not worth a post
            log.loop_failed("webhook_attempts", error)

    def _may_record(self, endpoint_id: UUID, success: bool) -> bool:
        if len(self._rows) >= _MOST_IN_MEMORY:
            return False
        return not self._allowances.take((endpoint_id, success), RECORDED_AT_ONCE[success], _COMES_BACK_SECONDS[success])


def make_attempt(
    account_id: int, endpoint_id: UUID, post: Post, answer: Answer, seconds: float, *, kind: str | None = None, body: bytes | None = None
) -> AttemptRow:
    """The row of a post that just had its answer; its id carries when the post began."""
    return AttemptRow(
        account_id=account_id,
        endpoint_id=endpoint_id,
        id=new_id(time.time() - seconds),
        webhook_id=post.webhook_id,
        kind=kind or ("replay" if post.replayed else "retry" if post.waiting else "event"),
        outcome=outcome_of(answer),
        status=answer.status,
        latency_ms=round(seconds * 1000),
        error=answer.error,
        answer=answer.text,
        batch_size=len(post.rows) if post.batch else 0,
        xids=[row.xid for row in post.rows],
        event_ids=[row.id for row in post.rows],
        body=body,
    )


def outcome_of(answer: Answer) -> str:
    return "taken" if answer.success else "unanswered" if answer.status is None else "refused"
