"""Replays: events of the past, posted to an endpoint once more, in the background.

Rules:
1. An endpoint has one replay at a time. It goes in slices, REPLAY_IN_FLIGHT posts at a time beside the endpoint's own posts, and not
   while the receiver is down or asked for rest.
2. A single event keeps its webhook-id, so that a receiver recognises what it had; in a batch, which may be cut differently, the
   events keep theirs.
3. The endpoint's filters hold, and the replay's narrow them further; events that were named are posted in any case.
4. A post that fails is tried again by the schedule of all posts. When most of a slice fails, the replay waits for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from app import store
from app.events.egress import Answer
from app.events.filters import Wanted, has_type, keep_wanted
from app.events.patience import Patience, next_wait_seconds
from app.events.posts import Post, make_posts
from app.events.rounds import explain
from app.store.db import HotConnection
from app.store.events import Cursor, FeedRow
from app.store.webhook_replays import DueReplay, SliceResult
from app.store.webhook_rounds import OwnedEndpoint, RetryRow

MOST_NAMED_EVENTS = 1000
MOST_REPLAYED_EVENTS = 100_000
REPLAY_IN_FLIGHT = 2
SLICE_EVENTS = 200
REST_SECONDS = 5.0

MakePost = Callable[[Post], Awaitable[Answer]]


async def read_posts(connection: HotConnection, endpoint: OwnedEndpoint, due: DueReplay) -> tuple[list[Post], Cursor | None, bool]:
    """A slice: its posts, the last event that was looked at, and whether that was the last of the replay."""
    found = await store.webhook_replays.read_slice(connection, endpoint.account_id, due, SLICE_EVENTS)
    rows = choose([row for row, state in found if due.states is None or state in due.states], endpoint, due)
    over = len(found) < SLICE_EVENTS or len(rows) >= due.left
    posts = [replace(post, replayed=True) for post in make_posts(rows[: due.left], endpoint.batch_size)]
    return posts, found[-1][0].cursor if found else None, over


def choose(rows: Sequence[FeedRow], endpoint: OwnedEndpoint, due: DueReplay) -> Sequence[FeedRow]:
    if due.event_ids is not None:
        return rows
    narrowed = rows if due.event_types is None else [row for row in rows if has_type(row.type, due.event_types)]
    return keep_wanted(narrowed, Wanted(endpoint.event_types, endpoint.streams, endpoint.tags))


async def post_slice(posts: Sequence[Post], make_post: MakePost) -> list[Answer]:
    """The answers, in the order of the posts."""
    answers: list[Answer] = []
    for place in range(0, len(posts), REPLAY_IN_FLIGHT):
        answers += await asyncio.gather(*map(make_post, posts[place : place + REPLAY_IN_FLIGHT]))
    return answers


def conclude(
    endpoint: OwnedEndpoint,
    due: DueReplay,
    posts: Sequence[Post],
    answers: Sequence[Answer],
    *,
    end: Cursor | None,
    over: bool,
    owner: int,
    patience: Patience,
) -> SliceResult:
    """What is written of a slice."""
    taken: list[str] = []
    retries: list[RetryRow] = []
    for post, answer in zip(posts, answers, strict=True):
        if answer.success:
            taken.append(post.webhook_id)
        else:
            events = [row.cursor for row in post.rows]
            wait = next_wait_seconds(patience, 1) or 0.0
            retries.append(RetryRow(post.webhook_id, post.batch, events, 1, wait, answer.status, explain(answer)))
    return SliceResult(
        replay_id=due.id,
        endpoint_id=endpoint.id,
        account_id=endpoint.account_id,
        owner=owner,
        cursor=end,
        events=sum(len(post.rows) for post in posts),
        taken=taken,
        retries=retries,
        over=over,
    )
