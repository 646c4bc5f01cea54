"""One round of an endpoint: posts handed out in order, answers taken in any order, and what follows from both.

A round is cut (hands out nothing more) when the receiver is taken for down, asks for a rest, or says that it is gone. Because
posts are handed out in order, what was handed out is a run from the front: the cursor moves behind it, and each of its
posts that was not taken waits in webhook_retries. No I/O here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from app.events.egress import Answer
from app.events.patience import Patience, jittered, next_wait_seconds, read_retry_after
from app.events.posts import Post
from app.store.events import Cursor
from app.store.webhook_rounds import OwnedEndpoint, RetryRow, RoundResult

GONE = "The receiver answered 410 Gone."


class Round:
    """`posts`: those that waited, then fresh ones in the log's order. `window_end`: the last event that was read."""

    def __init__(
        self,
        endpoint: OwnedEndpoint,
        posts: Sequence[Post],
        window_end: Cursor | None,
        patience: Patience,
        *,
        park_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self.endpoint = endpoint
        self._closed = False
        self._posts = posts
        self._window_end = window_end
        self._patience = patience
        self._park_seconds = park_seconds
        self._now = now
        self._probe = endpoint.down_since is not None
        self._handed_out = 0
        self._answers: dict[int, Answer] = {}
        self._cut = False
        self._gone = False
        self._success = False
        self._failures = 0  # since the last success
        self._rest_seconds: float | None = None
        self._error: str | None = None

    @property
    def size(self) -> int:
        return len(self._posts)

    def is_closed(self) -> bool:
        return self._closed

    def cut(self) -> None:
        self._cut = True

    def next(self) -> tuple[int, Post] | None:
        """The next post to make, or None: the round is cut or at its end."""
        place = self._handed_out
        if self._cut or place >= len(self._posts):
            return None
        self._handed_out = place + 1
        return place, self._posts[place]

    def take(self, place: int, answer: Answer) -> None:
        self._answers[place] = answer
        if answer.success:
            self._success, self._failures = True, 0
            return
        self._failures += 1
        self._error = explain(answer)
        before = 0 if self._success else self.endpoint.failures
        if before + self._failures >= self._patience.down_after:
            self._cut = True
        rest = read_retry_after(self._patience, answer.status, answer.retry_after, self._now())
        if rest is not None:
            self._cut, self._rest_seconds = True, max(rest, self._rest_seconds or 0.0)
        if answer.status == 410:
            self._cut = self._gone = True

    def result(self, owner: int) -> RoundResult:
        """Close the round. A post without an answer is parked: it waits as one that is to be tried again."""
        self._closed = True
        taken: list[str] = []
        retries: list[RetryRow] = []
        given_up = 0
        for place, post in enumerate(self._posts[: self._handed_out]):
            answer = self._answers.get(place)
            retry = None if answer is not None and answer.success else self._retry_of(post, answer)
            if retry is not None:
                if post.waiting or not self._probe:
                    retries.append(retry)
            else:
                given_up += 0 if answer is not None and answer.success else len(post.rows)
                if post.waiting:
                    taken.append(post.webhook_id)
        return RoundResult(
            endpoint_id=self.endpoint.id,
            account_id=self.endpoint.account_id,
            owner=owner,
            cursor=self._new_cursor(),
            success=self._success,
            failures=self._failures,
            rest_seconds=self._rest_seconds,
            error=self._error,
            disabled_reason=GONE if self._gone else None,
            given_up=given_up,
            taken=taken,
            retries=retries,
        )

    def late_result(self, owner: int, post: Post, answer: Answer) -> RoundResult:
        """The result of a single post whose answer came after the round was closed."""
        parked = replace(post, waiting=post.waiting or not self._probe)
        late = Round(self.endpoint, [parked], None, self._patience, park_seconds=self._park_seconds, now=self._now)
        late.next()
        late.take(0, answer)
        return late.result(owner)

    def _retry_of(self, post: Post, answer: Answer | None) -> RetryRow | None:
        """The row of a post that was not taken; None: it is given up. A probe is no attempt of the schedule."""
        failures = post.failures
        wait: float | None
        if answer is None:
            wait = self._park_seconds
        elif self._probe:
            wait = self._patience.probe_most_seconds * jittered(self._patience)
        else:
            failures += 1
            wait = next_wait_seconds(self._patience, failures)
        if wait is None:
            return None
        wait = max(wait, self._rest_seconds or 0.0)
        status, error = (answer.status, explain(answer)) if answer is not None else (None, "no answer yet")
        events = [row.cursor for row in post.rows]
        return RetryRow(post.webhook_id, post.batch, events, failures, wait, status, error)

    def _new_cursor(self) -> Cursor | None:
        fresh = [place for place, post in enumerate(self._posts) if not post.waiting]
        done = [place for place in fresh if place < self._handed_out]
        if self._probe and done and not self._success:
            return None
        if len(done) == len(fresh):
            return self._window_end
        return self._posts[done[-1]].end if done else None


def explain(answer: Answer) -> str:
    """A failed answer in words, for its owner."""
    if answer.status is None:
        return answer.error or "no answer"
    if 300 <= answer.status < 400:
        return f"answered {answer.status}; redirects are not followed"
    return f"answered {answer.status}: {answer.excerpt}" if answer.excerpt else f"answered {answer.status}"
