"""Deliveries: each claimed recipient gets its conversation and its verdict.

Per site as many conversations at once as its connections allow, each a task that takes the next job of the site until there is none.
Per recipient: route → finish (sign) → converse → judge → settle. One recipient per transaction: return path and signature are its own.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from app import log, store
from app.accounts.domains import DomainBook
from app.config import Settings
from app.delivery.connections import Connections
from app.delivery.lanes import TRANSACTIONAL, Job, Site
from app.delivery.lease import Lease
from app.delivery.retry import Outcome, judge, next_attempt_at
from app.delivery.route import Route, RouteFailure, Router
from app.delivery.settle import Settler, Verdict
from app.delivery.transport import Conversation, Hop, Phase
from app.delivery.verdicts import verdict_of
from app.errors import NotFound, Unavailable
from app.keyring import Keyring
from app.mail.address import domain_of
from app.mail.envelope import Envelope, encode_return_path
from app.mail.finish import finish
from app.mail.reply import Reply
from app.store.ids import milliseconds_of
from app.store.states import RecipientState

_LARGE_LOADS = 4
_HOPS_PER_ATTEMPT = 4
_CLOSING = 421  # RFC 5321 §3.8


class Deliveries:
    """The conversations of one worker. `want` is told of sites whose buffer is getting low."""

    def __init__(
        self,
        database: store.db.Database,
        settings: Settings,
        *,
        lease: Lease,
        domains: DomainBook,
        keyring: Keyring,
        router: Router,
        connections: Connections,
        settler: Settler,
        want: Callable[[int, int], None],
        strayed: Callable[[], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._domains = domains
        self._return_path_key = keyring.mac_key("return-path")
        self._router = router
        self._connections = connections
        self._settler = settler
        self._want = want
        self._strayed = strayed
        self._sites: dict[int, Site] = {}
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(_LARGE_LOADS)
        # (owner, recipient): a recipient may be claimed anew while a job of a lost lease still ends.
        self._held: dict[tuple[int, UUID], int] = {}
        self.unsettled_bytes = 0
        self.conversing = 0

    # --- what is in hand

    @property
    def unsettled(self) -> int:
        return len(self._held)

    def held_of(self, owner: int) -> list[UUID]:
        """The recipients in our hands that were claimed under `owner`."""
        return [recipient_id for held_by, recipient_id in self._held if held_by == owner]

    def buffered(self, site_id: int, lane_class: int) -> int:
        site = self._sites.get(site_id)
        return site.lanes[lane_class].count if site is not None else 0

    def offer(self, job: Job) -> None:
        """Take a claimed job in; a conversation starts for it when its site has a connection free."""
        site = self._sites.get(job.claimed.site_id)
        if site is None:
            site = self._sites[job.claimed.site_id] = Site(job.claimed.site_id)
        site.push(job)
        self._held[job.held] = job.claimed.bytes if job.body is not None else 0
        self.unsettled_bytes += self._held[job.held]
        self._start(site)

    def settled(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._let_go((verdict.settlement.owner, verdict.settlement.recipient_id))

    def take_back(self) -> list[Job]:
        """Take out the jobs that nobody has begun."""
        taken = [job for site in self._sites.values() for job in site.clear()]
        for job in taken:
            self._let_go(job.held)
        return taken

    def _let_go(self, held: tuple[int, UUID]) -> None:
        self.unsettled_bytes -= self._held.pop(held, 0)

    async def finish_within(self, seconds: float) -> bool:
        """Wait for the conversations under way; whether all of them ended."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return not pending

    # --- who runs when

    def _limit_of(self, site: Site) -> int:
        """Our part of the site's connections."""
        slot = self._lease.slot_of(site.id)
        slots = slot[0] if slot is not None else 1
        return max(1, self._settings.connections_per_site // slots)

    def _start(self, site: Site) -> None:
        if not site.buffered or site.busy >= self._limit_of(site):
            return
        if self.conversing >= self._settings.worker_connections:
            self._waiting[site.id] = None
            if site.lanes[TRANSACTIONAL].count:
                self._waiting.move_to_end(site.id, last=False)
            return
        site.busy += 1
        self.conversing += 1
        task = asyncio.create_task(self._serve(site))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, site: Site) -> None:
        """Deliver the site's jobs one after the other, as long as it has any."""
        try:
            while site.busy <= self._limit_of(site) and (job := site.pop()) is not None:
                self._want(site.id, site.lanes[job.claimed.lane_class].count)
                await self._deliver_safely(job)
                if self._waiting and self.conversing >= self._settings.worker_connections and next(iter(self._waiting)) != site.id:
                    break
        finally:
            site.busy -= 1
            self.conversing -= 1
            self._go_on(site)

    def _go_on(self, site: Site) -> None:
        if site.buffered:
            self._waiting[site.id] = None
        elif not site.busy:
            self._sites.pop(site.id, None)
        while self._waiting and self.conversing < self._settings.worker_connections:
            site_id, _ = self._waiting.popitem(last=False)
            waiting = self._sites.get(site_id)
            if waiting is not None and waiting.buffered:
                self._start(waiting)

    # --- one recipient

    async def _deliver_safely(self, job: Job) -> None:
        try:
            verdict = await self._deliver(job)
        except NotFound as error:
            verdict = verdict_of(job, Outcome(RecipientState.FAILED, None, None, error.message), None)
        except Unavailable:  # the database is away: not the recipient's fault, nothing was tried
            verdict = None
        except Exception as error:  # a fault of ours must neither lose the recipient nor stop the site
            log.loop_failed("deliver", error)
            verdict = self._deferred(job, "internal fault")
        if verdict is None:
            await self._release(job)
        else:
            self._settler.put(verdict)

    async def _deliver(self, job: Job) -> Verdict | None:
        """The verdict on one job; None when it was not tried because the lease is no longer ours."""
        if not self._lease.holds(job.owner):
            return None
        deliverable = job.deliverable
        now = datetime.now(UTC)
        if deliverable.expires_at <= now:
            return verdict_of(job, Outcome(RecipientState.EXPIRED, None, None, "expired before an attempt"), None)
        route = await self._router.resolve(domain_of(deliverable.address))
        if isinstance(route, RouteFailure):
            return self._judged(job, _no_route(route, now), phase=None)
        if job.body is None and not await self._load(job):
            return verdict_of(job, Outcome(RecipientState.FAILED, None, None, "the content is no longer kept"), None)
        assert job.head is not None and job.body is not None
        keys = await self._domains.signing_keys(deliverable.domain_id)
        recipient_id = job.claimed.recipient_id
        wire = finish(job.head, job.body, added_headers=(), keys=keys, timestamp=milliseconds_of(recipient_id) // 1000)
        return_path = encode_return_path(recipient_id, self._settings.return_path_domain, self._return_path_key)
        envelope = Envelope(return_path, deliverable.address, not deliverable.address.isascii() or not job.head.isascii())
        conversation = await self._converse(route, envelope, wire, job)
        job.head = job.body = None
        return self._judged(job, conversation, phase=conversation.phase.value) if conversation is not None else None

    async def _converse(self, route: Route, envelope: Envelope, wire: bytes, job: Job) -> Conversation | None:
        """Try the hops in their order until one answers; None when the lease ended before the dot."""

        def may_send() -> bool:
            return self._lease.holds(job.owner)

        conversation: Conversation | None = None
        for hop in route.hops[:_HOPS_PER_ATTEMPT]:
            conversation = await self._converse_with(hop, envelope, wire, may_send, job.claimed.site_id)
            if conversation.reply is not None or conversation.dot_sent:
                break
            if not may_send():
                return None
        return conversation

    async def _converse_with(self, hop: Hop, envelope: Envelope, wire: bytes, may_send: Callable[[], bool], site_id: int) -> Conversation:
        kept = self._connections.take(hop)
        if kept is not None:
            conversation = await kept.converse(envelope, wire, may_send_dot=may_send)
            self._connections.give_back(kept, keep=self._may_keep(site_id))
            said_something = conversation.reply is not None and conversation.reply.code != _CLOSING
            if said_something or conversation.dot_sent or not may_send():
                return conversation
            # A kept connection that the server has closed meanwhile says nothing about the message: a fresh one decides.
        opened = await self._connections.open(hop)
        if isinstance(opened, Conversation):
            return opened
        conversation = await opened.converse(envelope, wire, may_send_dot=may_send)
        self._connections.give_back(opened, keep=self._may_keep(site_id))
        return conversation

    def _may_keep(self, site_id: int) -> bool:
        """Whether a connection of a site is still ours to keep: not when others serve it now, or it was widened to more workers."""
        site = self._sites.get(site_id)
        return self._lease.slot_of(site_id) is not None and (site is None or site.busy <= self._limit_of(site))

    async def _load(self, job: Job) -> bool:
        """Load a content that was too large to be loaded with the claim; few of these at once."""
        message_id = store.ids.message_of(job.claimed.recipient_id)
        async with self._large, self._database.hot() as connection:
            found = await store.messages.load_content(connection, [job.claimed.account_id], [message_id], job.deliverable.purge_on)
        for _, head, body in found:
            job.head, job.body = head, body
        return bool(found)

    async def _release(self, job: Job) -> None:
        """Not tried: back into the queue, if it is still ours to give."""
        self._let_go(job.held)
        try:
            async with self._database.hot() as connection:
                await store.queue.release(connection, job.owner, [job.claimed.recipient_id])
        except store.db.CONNECTION_ERRORS as error:
            log.loop_failed("release", error)
            self._strayed()

    # --- verdicts

    def _judged(self, job: Job, conversation: Conversation, *, phase: str | None) -> Verdict:
        outcome = judge(
            conversation.reply,
            phase,
            accepted=conversation.accepted,
            error=conversation.error,
            attempts=job.claimed.attempts + 1,
            now=datetime.now(UTC),
            expires_at=job.deliverable.expires_at,
            first_wait_seconds=self._settings.retry_first_seconds,
            chance=random.random(),  # noqa: S311  (jitter)
        )
        return verdict_of(job, outcome, conversation)

    def _deferred(self, job: Job, reason: str) -> Verdict:
        now = datetime.now(UTC)
        due_at = next_attempt_at(
            job.claimed.attempts + 1, now=now, expires_at=job.deliverable.expires_at, first_wait_seconds=60.0, chance=0.5
        )
        state = RecipientState.DEFERRED if due_at is not None else RecipientState.EXPIRED
        return verdict_of(job, Outcome(state, None, due_at, reason), None)


def _no_route(failure: RouteFailure, now: datetime) -> Conversation:
    """What the DNS said, in the form of a conversation that nobody held."""
    reply = Reply(550 if failure.permanent else 450, failure.enhanced, failure.text)
    return Conversation(
        reply=reply,
        phase=Phase.CONNECT,
        error=None,
        dot_sent=False,
        started_at=now,
        connect_ms=0,
        total_ms=0,
        hop=Hop("", "", 0, None),
        tls=None,
    )
