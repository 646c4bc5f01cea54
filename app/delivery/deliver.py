"""Deliveries: each claimed recipient gets its conversation and its verdict.

Per site as many conversations at once as its connections allow, each a task that takes the next job of the site until there is none.
Per recipient: route → fill (if it has a template) → finish → converse (sign) → judge → settle. One recipient per transaction: return
path and signature are its own.
What is said with which server stands in `attempts`. When the next job of the task is at hand for the same hop, its envelope leaves with the
body before it (`outgoing`).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from app import log, store
from app.accounts.domains import DomainBook
from app.config import Settings
from app.delivery.attempts import Attempts
from app.delivery.connections import Connections
from app.delivery.contents import Contents
from app.delivery.filling import Filler, NotNow
from app.delivery.lanes import Job, Site
from app.delivery.lease import Lease
from app.delivery.outgoing import Flow, Marks, Outgoing, make_outgoing
from app.delivery.restraint import Restraint
from app.delivery.route import Route, RouteFailure, Router
from app.delivery.settle import Settler, Verdict
from app.delivery.site_names import SiteNames
from app.delivery.transport import Connection, Conversation, Hop
from app.delivery.turns import Turns
from app.delivery.verdicts import Chance, conversation_of, judged, put_off, untried
from app.errors import InvalidMessage, NotFound, Unavailable
from app.keyring import Keyring
from app.mail.address import domain_of
from app.mail.envelope import Envelope
from app.mail.finish import Wire
from app.store.queue import NO_SITE, UNKNOWN_SITE
from app.store.states import RecipientState

_FAULT_SECONDS = 60.0
_MOST_PLACED_ANEW = 10_000


class _Misplaced(Exception):
    """The job lies in the lane of another site than its mail goes to."""


class Deliveries:
    """The conversations of one worker. `want` is told of lanes whose buffer is getting low."""

    def __init__(
        self,
        database: store.db.Database,
        settings: Settings,
        *,
        lease: Lease,
        names: SiteNames,
        domains: DomainBook,
        contents: Contents,
        filler: Filler,
        keyring: Keyring,
        router: Router,
        connections: Connections,
        settler: Settler,
        want: Callable[[int, int, int], None],
        strayed: Callable[[], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._names = names
        self._domains = domains
        self._contents = contents
        self._filler = filler
        self._marks = Marks.of(settings, keyring)
        self._router = router
        self._connections = connections
        self._settler = settler
        self._want = want
        self._strayed = strayed
        self._restraint = Restraint(settings, lease, self._start)
        self._attempts = Attempts(
            lease=lease,
            domains=domains,
            connections=connections,
            marks=self._marks,
            may_keep=self._may_keep,
            following=self._find_following,
        )
        self._sites: dict[int, Site] = {}
        self._turns = Turns(settings.worker_connections)
        self._tasks: set[asyncio.Task[None]] = set()
        # (owner, recipient): a recipient may be claimed anew while a job of a lost lease still ends.
        self._held: dict[tuple[int, UUID], tuple[int, int]] = {}  # its account, its bytes
        self._rows_of: dict[int, int] = {}
        self._placed_anew: OrderedDict[UUID, None] = OrderedDict()
        self.unsettled_bytes = 0

    # --- what is in hand

    @property
    def conversing(self) -> int:
        return self._turns.conversing

    @property
    def unsettled(self) -> int:
        return len(self._held)

    def held_of(self, owner: int) -> list[UUID]:
        """The recipients in our hands that were claimed under `owner`."""
        return [recipient_id for held_by, recipient_id in self._held if held_by == owner]

    def rows_of(self, account_id: int) -> int:
        """How many recipients of an account are in our hands."""
        return self._rows_of.get(account_id, 0)

    def buffered(self, site_id: int, lane_class: int) -> int:
        site = self._sites.get(site_id)
        return site.lanes[lane_class].count if site is not None else 0

    def is_limited(self, site_id: int) -> bool:
        """Whether a site has limits of its own, so that more workers would not make it faster."""
        return self._restraint.is_limited(site_id)

    def held_back(self) -> dict[str, str]:
        """The sites whose mail waits for a limit: why, by the site's id as text."""
        return self._restraint.figures(self._sites)

    def offer(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs in; conversations start for them, in a fair order, when their sites have a connection free."""
        sites = []
        for job in jobs:
            site_id = job.claimed.site_id
            site = self._sites.get(site_id)
            if site is None:
                site = self._sites[site_id] = Site(site_id, self._names.of(site_id))
                self._restraint.remind(site)
            site.push(job)
            sites.append(site)
            self._hold(job, job.claimed.bytes if job.is_loaded else 0)
        for site in sites:
            self._start(site)

    def turn_away(self, job: Job, state: RecipientState, reason: str) -> None:
        """Take a claimed job in that is not to be tried at all."""
        self._hold(job, 0)
        self._settler.put(untried(job, state, reason))

    def settled(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._let_go((verdict.settlement.owner, verdict.settlement.recipient_id))

    def take_back(self) -> list[Job]:
        """Take out the jobs that nobody has begun."""
        taken = [job for site in self._sites.values() for job in site.clear()]
        for job in taken:
            self._let_go(job.held)
        return taken

    def _hold(self, job: Job, size: int) -> None:
        account_id = job.claimed.account_id
        self._held[job.held] = account_id, size
        self._rows_of[account_id] = self._rows_of.get(account_id, 0) + 1
        self.unsettled_bytes += size

    def _let_go(self, held: tuple[int, UUID]) -> None:
        account_id, size = self._held.pop(held, (None, 0))
        if account_id is None:
            return
        self.unsettled_bytes -= size
        left = self._rows_of[account_id] = self._rows_of[account_id] - 1
        if not left:
            del self._rows_of[account_id]

    async def finish_within(self, seconds: float) -> None:
        """Wait for the conversations under way, and end those that last longer."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while self._tasks and (left := ends_at - loop.time()) > 0:  # one that ends may begin another, for a job that it left
            await asyncio.wait(self._tasks, timeout=left)
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    # --- who runs when

    def _start(self, site: Site) -> None:
        """One more conversation with a site, if it may have one; as many as its pace lets go at once, if it has a pace."""
        while site.buffered and not site.is_resting and site.busy < self._restraint.connections_of(site):
            if not self._turns.may_begin(site):
                return
            flow = Flow()
            site.busy += 1
            self._turns.begin()
            flow.job = self._next_job(site, flow)
            if flow.job is None:
                site.busy -= 1
                self._turns.end(flow)
                return
            task = asyncio.create_task(self._serve(site, flow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if site.pace is None:
                return

    async def _serve(self, site: Site, flow: Flow) -> None:
        """Deliver the site's jobs one after the other, as long as it has any."""
        try:
            while (job := flow.take_job() or self._next_job(site, flow)) is not None:
                if not await self._deliver_safely(job, site, flow):
                    break
                self._attempts.close_unused(flow)
                if flow.job is None and self._turns.others_wait(site, flow):
                    break
        finally:
            site.busy -= 1
            self._end_turn(site, flow)

    def _next_job(self, site: Site, flow: Flow) -> Job | None:
        if not site.buffered or site.busy > self._restraint.connections_of(site):
            return None
        if site.pace is not None and not self._restraint.lets_go(site):
            return None
        job = self._turns.take(site, flow)
        if job is not None:
            self._want(site.id, job.claimed.lane_class, site.lanes[job.claimed.lane_class].count)
        return job

    async def _is_one_too_many(self, site: Site, job: Job) -> bool:
        """Whether the site's limits, known with its first route, have no room for this task."""
        route = await self._router.resolve(domain_of(job.deliverable.address))
        if not isinstance(route, Route) or _leads_elsewhere(route, site):
            return False  # it says nothing of this site
        self._restraint.learn(site, route.provider)
        return site.busy > self._restraint.connections_of(site) or (site.pace is not None and not self._restraint.lets_go(site))

    def _end_turn(self, site: Site, flow: Flow) -> None:
        """A task of a site has ended: the next in line goes on."""
        if site.buffered:
            self._turns.stand_in_line(site)  # as what it was: behind those that waited for the same
        elif not site.busy:
            self._sites.pop(site.id, None)
        self._turns.end(flow)
        while (site_id := self._turns.next_in_line()) is not None:
            if (waiting := self._sites.get(site_id)) is not None:
                self._start(waiting)

    # --- one recipient

    async def _deliver_safely(self, job: Job, site: Site, flow: Flow) -> bool:
        """Settle a job, or give it back, whatever happens; False when it is in its lane again, because this task is one too many.

        Everything that may fail between the lane and the verdict stands in here: nobody else takes a row that is in our hands.
        """
        try:
            if not site.is_known and await self._is_one_too_many(site, job):
                site.push(job)
                return False
            verdict = await self._deliver(job, site, flow)
        except (NotFound, InvalidMessage) as error:
            words = error.message if isinstance(error, NotFound) else f"the mail could not be made: {error.message}"
            verdict = untried(job, RecipientState.FAILED, words)
        except NotNow as not_now:
            verdict = self._put_off(job, not_now.reason, not_now.seconds)
        except _Misplaced:
            await self._place_anew(job)
            return True
        except Unavailable:  # the database is away: not the recipient's fault, nothing was tried
            verdict = None
        except Exception as error:  # a fault of ours must neither lose the recipient nor stop the site
            log.loop_failed("deliver", error)
            verdict = self._put_off(job, "internal fault")
        if verdict is None:
            await self._release(job)
        else:
            self._settler.put(verdict)
        return True

    async def _deliver(self, job: Job, site: Site, flow: Flow) -> Verdict | None:
        """The verdict on one job; None when it was not tried because the lease is no longer ours."""
        if not self._lease.holds(job.owner):
            return None
        if site.silence is not None and (reason := self._restraint.put_off(site)) is not None:
            return self._put_off(job, *reason)
        outgoing = flow.take_outgoing(job) or await self._make_ready(job, site)
        if not isinstance(outgoing, Outgoing):
            return outgoing
        conversation = await self._attempts.make(outgoing, site, flow)
        job.head = job.body = job.cut = job.filling = None
        if conversation is None:
            return None
        if conversation.never_opened or site.silence is not None:
            self._restraint.heed(site, conversation)
        return self._judged(job, conversation, phase=conversation.phase.value)

    async def _make_ready(self, job: Job, site: Site) -> Outgoing | Verdict:
        """The job with all that its conversation needs, or the verdict that makes a conversation needless."""
        deliverable = job.deliverable
        now = self._lease.now()
        if deliverable.expires_at <= now:
            return untried(job, RecipientState.EXPIRED, "expired before an attempt")
        route = await self._router.resolve(domain_of(deliverable.address))
        if isinstance(route, RouteFailure):
            return self._judged(job, conversation_of(route, now), phase=None)
        if _leads_elsewhere(route, site):
            raise _Misplaced
        if not job.is_loaded and not await self._contents.load(job):
            return untried(job, RecipientState.FAILED, "the content is no longer kept")
        await self._filler.fill(job)
        signing = await self._domains.signing(deliverable.domain_id)
        return make_outgoing(job, route.hops, signing, self._marks)

    def _make_ready_at_once(self, job: Job, site: Site, hop: Hop) -> Outgoing | None:
        """The same without waiting for anything; None unless all of it is at hand and the job goes to this hop."""
        deliverable = job.deliverable
        route = self._router.kept(domain_of(deliverable.address))
        signing = self._domains.kept_signing(deliverable.domain_id)
        is_at_hand = isinstance(route, Route) and route.hops[0] == hop and signing is not None and job.is_loaded
        if not is_at_hand or deliverable.expires_at <= self._lease.now() or not self._lease.holds(job.owner):
            return None
        assert isinstance(route, Route) and signing is not None
        if _leads_elsewhere(route, site):
            return None
        try:
            return make_outgoing(job, route.hops, signing, self._marks) if self._filler.fill_at_once(job) else None
        except Exception:  # it comes again when the job's own turn has come, and is dealt with there
            return None

    def _find_following(self, connection: Connection, site: Site, flow: Flow) -> tuple[Envelope, Wire] | None:
        """The next message for this connection. Whatever is taken out of the lane is the task's next job, at hand or not."""
        if (
            self._connections.is_spent(connection)
            or not self._connections.takes_ahead(connection.hop)
            or not self._may_keep(site)
            or self._turns.others_wait(site, flow)
        ):
            return None
        flow.job = self._next_job(site, flow)
        if flow.job is None:
            return None
        flow.outgoing = outgoing = self._make_ready_at_once(flow.job, site, connection.hop)
        return (outgoing.envelope, outgoing.wire) if outgoing is not None else None

    def _may_keep(self, site: Site) -> bool:
        """Whether a connection of a site is still ours to keep: not when others serve it now, or it was widened to more workers."""
        return self._lease.slot_of(site.id) is not None and site.busy <= self._restraint.connections_of(site)

    async def _place_anew(self, job: Job) -> None:
        """Its domain has moved since it was placed: back to those that are not placed yet.

        If we have sent it there before, DNS tells others something else than us, and it would go round and round: it is tried as what
        has no site.
        """
        recipient_id = job.claimed.recipient_id
        lane = NO_SITE if recipient_id in self._placed_anew else UNKNOWN_SITE
        self._placed_anew[recipient_id] = None
        if len(self._placed_anew) > _MOST_PLACED_ANEW:
            self._placed_anew.popitem(last=False)
        await self._release(job, lane)

    async def _release(self, job: Job, lane: int | None = None) -> None:
        """Not tried: back into the queue, if it is still ours to give; to a lane of exceptions when it is in the wrong one."""
        self._let_go(job.held)
        claimed = job.claimed
        try:
            async with self._database.hot() as connection:
                if lane is not None:
                    await store.sites.forget_domain(connection, domain_of(job.deliverable.address), claimed.site_id)
                await store.queue.release(connection, job.owner, [claimed.recipient_id], lane)
        except Exception as error:
            log.loop_failed("release", error)
            self._strayed()

    # --- verdicts

    def _judged(self, job: Job, conversation: Conversation, *, phase: str | None) -> Verdict:
        return judged(job, conversation, self._chance(), phase=phase)

    def _put_off(self, job: Job, reason: str, seconds: float = _FAULT_SECONDS) -> Verdict:
        return put_off(job, reason, self._chance(), seconds=seconds)

    def _chance(self) -> Chance:
        return Chance(self._lease.now(), self._settings.retry_first_seconds, random.random())  # noqa: S311  (jitter)


def _leads_elsewhere(route: Route, site: Site) -> bool:
    """Whether mail in the lane of a site goes to another one: its domain has moved since it was placed."""
    return site.name is not None and route.site != site.name
