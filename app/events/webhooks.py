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

What a post looks like stands in `posts`, where it may go in `addresses` and `egress`, what a round decides in `rounds`.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Counter
from yarl import URL

from app import log, store
from app.config import Settings
from app.events.egress import Answer, GuardedClient
from app.events.patience import Patience, jittered
from app.events.posts import SECRET_PURPOSE, Post, encode, make_posts, sign
from app.events.rounds import Round
from app.keyring import Keyring, KeyringError
from app.store.db import HotConnection
from app.store.events import Cursor
from app.store.webhook_rounds import DownRule, Health, OwnedEndpoint, RoundResult

IN_FLIGHT = 16  # single posts at a time to one endpoint
BATCHES_IN_FLIGHT = 4
FAILING_AFTER = 3  # failures in a row: a receiver that fails now and then keeps its speed
FAILING_IN_FLIGHT = 2
ENDPOINTS_AT_ONCE = 48
WINDOW_EVENTS = 500
MOST_WINDOW_EVENTS = 2000
RETRIES_PER_ROUND = 50
LINGER_SECONDS = 0.05  # between rounds of a log that was read to its end: fewer, larger rounds
CLAIM_SECONDS = 2.0
RECOVERY_SECONDS = 1.0

_posts = Counter("staffetta_webhook_posts_total", "Posts to webhook receivers, by what came of them.", ["outcome"])
_taken, _refused, _unanswered = (_posts.labels(outcome) for outcome in ("taken", "refused", "unanswered"))


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
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._settings = settings
        self._worker_id = worker_id
        self._patience = patience or Patience()
        self._rule = DownRule(self._patience.down_after, self._patience.probe_first_seconds, self._patience.probe_most_seconds)
        self._given_client = client
        self._client: GuardedClient
        self._stopping = False
        self._next_claim = 0.0
        self._owner = False  # whether any endpoint was this worker's when it last claimed
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._stragglers: dict[UUID, set[asyncio.Task[None]]] = {}
        self._secrets: dict[UUID, tuple[bytes, bytes]] = {}

    async def run(self, stop: asyncio.Event, wake: asyncio.Event) -> None:
        """Post until `stop` is set; `wake` says that there may be new events. Ends when the posts under way are settled."""
        self._client = self._given_client or GuardedClient(
            allow_private=self._settings.webhook_allow_private, timeout_seconds=self._settings.webhook_timeout_seconds
        )
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
        try:
            async with self._database.hot() as connection:
                if time.monotonic() >= self._next_claim:
                    await store.webhook_rounds.release_surplus(connection, self._worker_id, list(self._running))
                    await store.webhook_rounds.claim_endpoints(connection, self._worker_id)
                    self._owner = await store.webhook_rounds.owns_any(connection, self._worker_id)
                    self._next_claim = time.monotonic() + CLAIM_SECONDS
                if not self._owner:
                    return CLAIM_SECONDS
                due = await store.webhook_rounds.find_due_endpoints(connection, self._worker_id, list(self._running))
        except Exception as error:  # the loop outlives whatever befalls the database
            log.loop_failed("webhooks", error)
            return RECOVERY_SECONDS
        random.shuffle(due)
        for endpoint_id in due[: max(ENDPOINTS_AT_ONCE - len(self._running), 0)]:
            self._running[endpoint_id] = asyncio.create_task(self._serve(endpoint_id, wake), name=f"webhook {endpoint_id}")
        return self._settings.poll_seconds

    async def _serve(self, endpoint_id: UUID, wake: asyncio.Event) -> None:
        """Rounds of one endpoint while there is something to post."""
        posted = False
        try:
            while not self._stopping and (pause := await self._go_round(endpoint_id)) is not None:
                posted = True
                await asyncio.sleep(pause)
        except Exception as error:  # one endpoint's trouble is not the others'
            log.loop_failed("webhook_endpoint", error)
            await asyncio.sleep(RECOVERY_SECONDS)
        finally:
            del self._running[endpoint_id]
            if posted:
                wake.set()  # for events that came while this endpoint was passed over as busy

    async def _finish(self) -> None:
        """Rounds under way have been cut: they end when their last answers came or were parked."""
        under_way = {*self._running.values(), *(task for tasks in self._stragglers.values() for task in tasks)}
        if under_way:
            await asyncio.wait(under_way, timeout=self._patience.straggler_seconds + 2)

    async def _leave(self) -> None:
        under_way = [*self._running.values(), *(task for tasks in self._stragglers.values() for task in tasks)]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.close()
        try:
            async with self._database.hot() as connection:
                await store.webhook_rounds.release_endpoints(connection, self._worker_id)
        except store.db.CONNECTION_ERRORS as error:
            log.loop_failed("webhooks", error)

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
            waiting = await store.webhook_rounds.read_waiting_posts(connection, endpoint.id, limit, due_or_not=down)
            posts = [Post(w.webhook_id, w.batch, w.rows, w.attempts, waiting=True) for w in waiting if w.rows]
            if len(posts) < len(waiting):  # their events are no longer kept
                await store.webhook_rounds.forget_posts(connection, endpoint.id, [w.webhook_id for w in waiting if not w.rows])
        if (down and posts) or endpoint.retries_waiting >= self._patience.most_waiting:
            return posts, None, False
        limit = max(WINDOW_EVENTS, min(endpoint.batch_size * BATCHES_IN_FLIGHT, MOST_WINDOW_EVENTS))
        rows = await store.events.read_feed(connection, endpoint.account_id, endpoint.cursor, limit)
        if not rows:
            return posts, None, False
        wanted = rows if endpoint.event_types is None else [row for row in rows if row.type in endpoint.event_types]
        fresh = make_posts(wanted, endpoint.batch_size)
        window_end = Cursor(rows[-1].xid, rows[-1].id)
        if down and fresh:
            return fresh[:1], fresh[0].end, True
        return posts + fresh, window_end, len(rows) == limit

    async def _post_all(self, current: Round) -> None:
        """Hand the posts out to as many runners as the receiver is good for, and wait for all but stragglers."""
        if current.size == 0:
            return
        endpoint = current.endpoint
        secret, url = self._secret_of(endpoint), URL(endpoint.url)
        stragglers = self._stragglers.setdefault(endpoint.id, set())
        most = FAILING_IN_FLIGHT if endpoint.failures >= FAILING_AFTER else IN_FLIGHT if endpoint.batch_size == 1 else BATCHES_IN_FLIGHT
        clock_offset = endpoint.clock - time.time()  # signatures carry the database's time, like all of the house
        all_out = asyncio.Event()
        count = min(max(most - len(stragglers), 1), current.size)
        runners = {asyncio.create_task(self._run_posts(current, url, secret, clock_offset, all_out)) for _ in range(count)}
        await all_out.wait()
        _, late = await asyncio.wait(runners, timeout=self._patience.straggler_seconds)
        for task in late:
            stragglers.add(task)
            task.add_done_callback(stragglers.discard)

    async def _run_posts(self, current: Round, url: URL, secret: bytes | None, clock_offset: float, all_out: asyncio.Event) -> None:
        """One post after the other, until the round hands out no more."""
        try:
            while not current.is_closed():
                if self._stopping:
                    current.cut()
                handed = current.next()
                if handed is None:
                    return
                place, post = handed
                answer = await self._post(url, secret, post, clock_offset)
                if current.is_closed():
                    await self._settle_late(current, post, answer)
                else:
                    current.take(place, answer)
        finally:
            all_out.set()

    async def _post(self, url: URL, secret: bytes | None, post: Post, clock_offset: float) -> Answer:
        if secret is None:
            return Answer(None, error="the signing secret does not open with this server's keyring")
        body = encode(post)
        answer = await self._client.post(url, body, sign(secret, post.webhook_id, int(time.time() + clock_offset), body))
        (_taken if answer.success else _unanswered if answer.status is None else _refused).inc()
        return answer

    async def _settle_late(self, current: Round, post: Post, answer: Answer) -> None:
        try:
            await self._settle(current.endpoint, current.late_result(self._worker_id, post, answer))
        except Exception as error:  # the post stands as waiting and will be made again
            log.loop_failed("webhook_endpoint", error)

    async def _settle(self, endpoint: OwnedEndpoint, result: RoundResult) -> Health | None:
        async with self._database.hot() as connection, nullcontext() if result.lone else connection.transaction():
            health = await store.webhook_rounds.settle_round(connection, result, self._rule, jittered(self._patience))
        if health is None:
            return None
        name = str(endpoint.id)
        if result.given_up:
            log.webhook_given_up(name, result.given_up, result.error or "")
        if result.disabled_reason is not None:
            log.webhook_disabled(name, result.disabled_reason)
        if (health.down_since is None) != (endpoint.down_since is None):
            log.webhook_health(name, down=health.down_since is not None, failures=health.failures, cause=result.error)
        return health

    def _secret_of(self, endpoint: OwnedEndpoint) -> bytes | None:
        known = self._secrets.get(endpoint.id)
        if known is None or known[0] != endpoint.secret:
            try:
                opened = self._keyring.open(endpoint.secret, account_id=endpoint.account_id, purpose=SECRET_PURPOSE)
            except KeyringError as error:
                log.loop_failed("webhook_secret", error)
                return None
            known = self._secrets[endpoint.id] = (endpoint.secret, opened)
        return known[1]


def _now() -> datetime:
    return datetime.now(UTC)
