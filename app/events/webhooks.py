"""Webhooks: every event of an account is posted to its endpoint, in signed posts, at least once. The log is the outbox.

A resident loop of the worker. An endpoint has one owner, which goes through rounds: read the events after the cursor and the
posts that are due again, post them, several at a time, then write what came of it in one transaction.

Rules:
1. Up. The cursor moves over everything that was posted; only posts that failed are written down, and tried again by the
   schedule in `patience`; after its last attempt a post is given up, counted and logged. Any answer but 2xx is a failure.
2. 410 disables the endpoint. 429 or 503 with Retry-After rests the whole endpoint for that long (an hour at most).
3. Down: after 20 failures in a row with no success between, whatever their kind. The cursor then stays where it is and no
   new post is written down; a single one is tried as a probe, after 5 s, then waits that grow with the time down, to 5 min. The
   probe is the post that has waited longest (each probe another one), or the next event of the log. One success and
   all goes on from the cursor. Probes are no attempts of the schedule; what is older than 76 h meanwhile is given up.
4. So that a receiver that fails half of the time cannot pile up posts without end, the cursor also stays while 10,000
   posts of the endpoint wait.
5. An answer that takes longer than its round is not waited for: its post is written down as waiting, and the answer settles
   it when it comes. A receiver that fails gets two posts at a time, not sixteen.
6. No order is promised, and a post may come twice (a crash, a lost answer): the webhook-id is the same each time.
7. Long down: after a day the account is told by an event (webhook.failing), after three the endpoint is disabled (webhook.disabled),
   as it is by 410. The cursor stays; the account's own feed and its other endpoints tell.
8. A worker posts for 48 endpoints at a time. While others wait, an endpoint has a turn of some seconds, however much it has to post.

What a post looks like stands in `posts`, where it may go in `addresses` and `egress`, what a round decides in `rounds`, which events
an endpoint wants in `filters`, what is kept of single posts in `attempts`, and posting once more in `replays`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Counter
from yarl import URL

from app import log, store
from app.config import Settings
from app.events import replays
from app.events.attempts import AttemptBook, outcome_of
from app.events.egress import Answer, GuardedClient, client_of
from app.events.filters import Wanted, keep_wanted
from app.events.notices import tell_account
from app.events.patience import Patience, hurried, jittered
from app.events.posts import Post, encode, make_posts, sign
from app.events.rounds import Round
from app.events.secrets import SecretBox
from app.keyring import Keyring
from app.store.db import HotConnection
from app.store.events import Cursor
from app.store.webhook_replays import DueReplay
from app.store.webhook_rounds import DownRule, Health, OwnedEndpoint, RoundResult

IN_FLIGHT = 16  # single posts at a time to one endpoint
BATCHES_IN_FLIGHT = 4
FAILING_AFTER = 3  # failures in a row: a receiver that fails now and then keeps its speed
FAILING_IN_FLIGHT = 2
ENDPOINTS_AT_ONCE = 48
TURN_SECONDS = 5.0
REPLAYS_AT_ONCE = 8
WINDOW_EVENTS = 500
MOST_WINDOW_EVENTS = 2000
RETRIES_PER_ROUND = 50
LINGER_SECONDS = 0.05  # between rounds of a log that was read to its end: fewer, larger rounds
CLAIM_SECONDS = 2.0
RECOVERY_SECONDS = 1.0

_posts = Counter("staffetta_webhook_posts_total", "Posts to webhook receivers, by what came of them.", ["outcome"])
_posts_of = {outcome: _posts.labels(outcome) for outcome in ("taken", "refused", "unanswered")}


class WebhookPoster:
    """Posts for the endpoints that worker `worker_id` owns, until told to stop."""

    def __init__(
        self,
        database: store.db.Database,
        keyring: Keyring,
        settings: Settings,
        worker_id: int,
        *,
        patience: Patience | None = None,
        client: GuardedClient | None = None,
        hear: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        """`hear` is told whether this worker posts for anybody, so that it need be woken for events."""
        self._hear = hear
        self._database = database
        self._settings = settings
        self._worker_id = worker_id
        self._patience = patience or hurried(Patience(), settings.webhook_haste)
        self._rule = _down_rule(self._patience)
        self._given_client = client
        self._client: GuardedClient
        self._stopping = False
        self._next_claim = 0.0
        self._owner = False  # whether any endpoint was this worker's when it last claimed
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._turn_ends: dict[UUID, float] = {}  # of those that run
        self._others_wait = False
        self._stragglers: dict[UUID, set[asyncio.Task[None]]] = {}
        self._replaying: dict[UUID, asyncio.Task[None]] = {}
        self._secrets = SecretBox(keyring)
        self._attempts = AttemptBook()

    async def run(self, stop: asyncio.Event, wake: asyncio.Event) -> None:
        """Post until `stop` is set; `wake` says that there may be new events. Ends when the posts under way are settled."""
        self._client = self._given_client or client_of(self._settings)
        stopped, woken = asyncio.create_task(stop.wait()), asyncio.create_task(wake.wait())
        try:
            while not stop.is_set():
                if woken.done():
                    wake.clear()
                    woken = asyncio.create_task(wake.wait())
                pause = await self._start_rounds(wake)
                # A wake is answered at once, but not more often than this.
                await asyncio.wait({stopped}, timeout=LINGER_SECONDS)
                heard = {stopped, woken} if self._owner else {stopped}
                await asyncio.wait(heard, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            await self._finish()
        finally:
            stopped.cancel()
            woken.cancel()
            await self._leave()

    # --- the loop

    async def _start_rounds(self, wake: asyncio.Event) -> float:
        """Own what is free, start rounds of what is due; returns how long nothing needs to be looked at."""
        await self._attempts.flush(self._database)
        try:
            async with self._database.hot() as connection:
                if time.monotonic() >= self._next_claim:
                    await store.webhook_owners.release_surplus(connection, self._worker_id, [*self._running, *self._replaying])
                    await store.webhook_owners.claim_endpoints(connection, self._worker_id)
                    self._owner = await store.webhook_owners.owns_any(connection, self._worker_id)
                    self._next_claim = time.monotonic() + CLAIM_SECONDS
                    if self._hear is not None:
                        await self._hear(self._owner)
                    if self._owner:
                        await self._start_replays(connection)
                if not self._owner:
                    return CLAIM_SECONDS
                due = await store.webhook_rounds.find_due_endpoints(connection, self._worker_id, list(self._running))
        except Exception as error:  # the loop outlives whatever befalls the database
            log.loop_failed("webhooks", error)
            return RECOVERY_SECONDS
        random.shuffle(due)
        free = max(ENDPOINTS_AT_ONCE - len(self._running), 0)
        self._others_wait = len(due) > free
        for endpoint_id in due[:free]:
            self._turn_ends[endpoint_id] = time.monotonic() + TURN_SECONDS
            self._running[endpoint_id] = asyncio.create_task(self._serve(endpoint_id, wake), name=f"webhook {endpoint_id}")
        return self._settings.poll_seconds

    async def _start_replays(self, connection: HotConnection) -> None:
        found = await store.webhook_replays.find_due_replays(connection, self._worker_id, list(self._replaying))
        random.shuffle(found)  # the oldest would have their places until they are over
        for due in found:
            if len(self._replaying) < REPLAYS_AT_ONCE:
                self._replaying[due.endpoint_id] = asyncio.create_task(self._replay(due), name=f"replay {due.id}")

    async def _serve(self, endpoint_id: UUID, wake: asyncio.Event) -> None:
        """Rounds of one endpoint while there is something to post, and its turn is not over."""
        posted = False
        try:
            while not self._must_leave(endpoint_id) and (pause := await self._go_round(endpoint_id)) is not None:
                posted = True
                await asyncio.sleep(pause)
        except Exception as error:  # one endpoint's trouble is not the others'
            log.loop_failed("webhook_endpoint", error)
            await asyncio.sleep(RECOVERY_SECONDS)
        finally:
            del self._running[endpoint_id], self._turn_ends[endpoint_id]
            if posted:
                wake.set()  # for events that came while this endpoint was passed over as busy, and for who waits for its place

    def _must_leave(self, endpoint_id: UUID) -> bool:
        """Whether an endpoint begins nothing more now. One that runs no longer has only answers to wait for."""
        return self._stopping or (self._others_wait and self._turn_ends.get(endpoint_id, 0.0) < time.monotonic())

    async def _finish(self) -> None:
        """Rounds under way have been cut: they end when their last answers came or were parked."""
        under_way = set(self._under_way())
        if under_way:
            await asyncio.wait(under_way, timeout=self._patience.straggler_seconds + 2)

    async def _leave(self) -> None:
        under_way = self._under_way()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.close()
        await self._attempts.flush(self._database, at_once=True)
        try:
            async with self._database.hot() as connection:
                await store.webhook_owners.release_endpoints(connection, self._worker_id)
        except store.db.CONNECTION_ERRORS as error:
            log.loop_failed("webhooks", error)

    def _under_way(self) -> list[asyncio.Task[None]]:
        stragglers = [task for tasks in self._stragglers.values() for task in tasks]
        return [*self._running.values(), *self._replaying.values(), *stragglers]

    # --- a round

    async def _go_round(self, endpoint_id: UUID) -> float | None:
        """Read, post, settle. Returns the pause before the next round; None when there is nothing to post now."""
        stragglers = self._stragglers.get(endpoint_id, set())
        if len(stragglers) >= IN_FLIGHT:
            await asyncio.wait(stragglers, return_when=asyncio.FIRST_COMPLETED)
        async with self._database.hot() as connection:
            endpoint = await store.webhook_rounds.read_owned_endpoint(connection, endpoint_id, self._worker_id, self._patience.most_waiting)
            if endpoint is None:
                return None
            posts, window_end, more = await self._read_posts(connection, endpoint)
        if not posts and window_end is None:
            return None
        current = Round(endpoint, posts, window_end, self._patience, park_seconds=self._settings.webhook_timeout_seconds + 5, now=_now)
        await self._post_all(current)
        health = await self._settle(endpoint, current.result(self._worker_id))
        if health is None or health.resume_at is not None:
            return None
        return 0.0 if more else LINGER_SECONDS

    async def _read_posts(self, connection: HotConnection, endpoint: OwnedEndpoint) -> tuple[list[Post], Cursor | None, bool]:
        """What this round posts, the last event it read, and whether there is more to read at once."""
        down = endpoint.down_since is not None
        if down:
            floor = store.ids.floor_of(_now() - timedelta(seconds=self._patience.give_up_seconds))
            given_up = await store.webhook_rounds.give_up_older(connection, endpoint.id, self._worker_id, floor)
            if given_up:
                log.webhook_given_up(str(endpoint.id), given_up, "down for too long")
        posts: list[Post] = []
        if endpoint.retries_due:
            limit = 1 if down else RETRIES_PER_ROUND
            waiting = await store.webhook_rounds.read_waiting_posts(connection, endpoint.account_id, endpoint.id, limit, due_or_not=down)
            posts = [Post(w.webhook_id, w.batch, w.rows, w.attempts, waiting=True) for w in waiting if w.rows]
            if len(posts) < len(waiting):  # their events are no longer kept
                await store.webhook_rounds.forget_posts(connection, endpoint.id, [w.webhook_id for w in waiting if not w.rows])
        if (down and posts) or endpoint.retries_waiting >= self._patience.most_waiting:
            return posts, None, False
        limit = max(WINDOW_EVENTS, min(endpoint.batch_size * BATCHES_IN_FLIGHT, MOST_WINDOW_EVENTS))
        rows, more = await store.events.read_feed(connection, endpoint.account_id, endpoint.cursor, limit)
        if not rows:
            return posts, None, False
        fresh = make_posts(keep_wanted(rows, Wanted(endpoint.event_types, endpoint.streams, endpoint.tags)), endpoint.batch_size)
        window_end = rows[-1].cursor
        if down and fresh:
            return fresh[:1], fresh[0].end, True
        return posts + fresh, window_end, more

    async def _post_all(self, current: Round) -> None:
        """Hand the posts out to as many runners as the receiver is good for, and wait for all but stragglers."""
        if current.size == 0:
            return
        endpoint = current.endpoint
        secrets, url = self._secrets.open(endpoint), URL(endpoint.url)
        stragglers = self._stragglers.setdefault(endpoint.id, set())
        most = FAILING_IN_FLIGHT if endpoint.failures >= FAILING_AFTER else IN_FLIGHT if endpoint.batch_size == 1 else BATCHES_IN_FLIGHT
        clock_offset = endpoint.clock - time.time()  # signatures carry the database's time, like all of the house
        all_out = asyncio.Event()
        count = min(max(most - len(stragglers), 1), current.size)
        runners = {asyncio.create_task(self._run_posts(current, url, secrets, clock_offset, all_out)) for _ in range(count)}
        await all_out.wait()
        _, late = await asyncio.wait(runners, timeout=self._patience.straggler_seconds)
        for task in late:
            stragglers.add(task)
            task.add_done_callback(stragglers.discard)

    async def _run_posts(self, current: Round, url: URL, secrets: Sequence[bytes], clock_offset: float, all_out: asyncio.Event) -> None:
        """One post after the other, until the round hands out no more."""
        try:
            while not current.is_closed():
                if self._must_leave(current.endpoint.id):
                    current.cut()
                handed = current.next()
                if handed is None:
                    return
                place, post = handed
                answer = await self._post(current.endpoint, url, secrets, post, clock_offset)
                if current.is_closed():
                    await self._settle_late(current, post, answer)
                else:
                    current.take(place, answer)
        finally:
            all_out.set()

    async def _post(self, endpoint: OwnedEndpoint, url: URL, secrets: Sequence[bytes], post: Post, clock_offset: float) -> Answer:
        if not secrets:
            return Answer(None, error="the signing secret does not open with this server's keyring")
        body, began = encode(post), time.monotonic()
        answer = await self._client.post(url, body, sign(secrets, post.webhook_id, int(time.time() + clock_offset), body))
        self._attempts.note(endpoint.account_id, endpoint.id, post, answer, time.monotonic() - began)
        _posts_of[outcome_of(answer)].inc()
        return answer

    async def _settle_late(self, current: Round, post: Post, answer: Answer) -> None:
        try:
            await self._settle(current.endpoint, current.late_result(self._worker_id, post, answer))
        except Exception as error:  # the post stands as waiting and will be made again
            log.loop_failed("webhook_endpoint", error)

    async def _settle(self, endpoint: OwnedEndpoint, result: RoundResult) -> Health | None:
        async with self._database.hot() as connection, nullcontext() if result.lone else connection.transaction():
            health = await store.webhook_rounds.settle_round(connection, result, self._rule, jittered(self._patience))
            if health is not None and not result.lone:
                await tell_account(connection, endpoint, health, result.error)
        if health is None:
            return None
        name = str(endpoint.id)
        if result.given_up:
            log.webhook_given_up(name, result.given_up, result.error or "")
        if health.disabled_for is not None:
            log.webhook_disabled(name, health.disabled_for)
        if (health.down_since is None) != (endpoint.down_since is None):
            log.webhook_health(name, down=health.down_since is not None, failures=health.failures, cause=result.error)
        return health

    # --- a replay

    async def _replay(self, due: DueReplay) -> None:
        """A slice; the next one begins when it is looked for again, with the endpoint as it is then."""
        try:
            pause = await self._replay_slice(due)
            if pause and not self._stopping:
                await asyncio.sleep(pause)
        except Exception as error:  # one replay's trouble is not the others'
            log.loop_failed("webhook_replay", error)
            await asyncio.sleep(RECOVERY_SECONDS)
        finally:
            del self._replaying[due.endpoint_id]
            self._next_claim = 0.0  # go on at once

    async def _replay_slice(self, due: DueReplay) -> float:
        """Read, post, settle; returns how long the receiver is left in peace."""
        async with self._database.hot() as connection:
            endpoint = await store.webhook_rounds.read_owned_endpoint(
                connection, due.endpoint_id, self._worker_id, self._patience.most_waiting
            )
            if endpoint is None or endpoint.retries_waiting >= self._patience.most_waiting:
                return replays.REST_SECONDS
            posts, end, over = await replays.read_posts(connection, endpoint, due)
        secrets, url = self._secrets.open(endpoint), URL(endpoint.url)
        clock_offset = endpoint.clock - time.time()
        answers = await replays.post_slice(posts, lambda post: self._post(endpoint, url, secrets, post, clock_offset))
        result = replays.conclude(endpoint, due, posts, answers, end=end, over=over, owner=self._worker_id, patience=self._patience)
        async with self._database.hot() as connection, connection.transaction():
            await store.webhook_replays.settle_slice(connection, result)
        return replays.REST_SECONDS if len(result.retries) > len(posts) / 2 else 0.0


def _down_rule(patience: Patience) -> DownRule:
    return DownRule(
        patience.down_after,
        patience.probe_first_seconds,
        patience.probe_most_seconds,
        patience.tell_after_seconds,
        patience.disable_after_seconds,
    )


def _now() -> datetime:
    return datetime.now(UTC)
