"""One attempt at a recipient: its message is offered to the hops of its route, until one answers.

On a kept connection or a new one; a kept one that says nothing about the message decides nothing. What a server refuses because it
offers too little is offered again in a lesser form. While a message's body leaves, the next one for the same connection is asked for
(`following`), so that its envelope goes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from app.accounts.domains import DomainBook
from app.delivery.connections import Connections
from app.delivery.conversation import TIMED_OUT
from app.delivery.lanes import Site
from app.delivery.lease import Lease
from app.delivery.outgoing import Flow, Marks, Outgoing, body_of, make_outgoing
from app.delivery.transport import Connection, Conversation, Hop, Phase
from app.mail.downgrade import MENDED_BY_DOWNGRADE, downgrade
from app.mail.envelope import Envelope
from app.mail.finish import Wire

_HOPS_PER_ATTEMPT = 4
_CLOSING = 421  # RFC 5321 §3.8

# The next message for a site's connection: its envelope and its octets.
Following = Callable[[Connection, Site, Flow], tuple[Envelope, Wire] | None]


class Attempts:
    """The attempts of one worker. `may_keep`: whether a connection of a site is still ours to keep."""

    def __init__(
        self,
        *,
        lease: Lease,
        domains: DomainBook,
        connections: Connections,
        marks: Marks,
        may_keep: Callable[[Site], bool],
        following: Following,
    ) -> None:
        self._lease = lease
        self._domains = domains
        self._connections = connections
        self._marks = marks
        self._may_keep = may_keep
        self._following = following

    async def make(self, outgoing: Outgoing, site: Site, flow: Flow) -> Conversation | None:
        """Try the hops in their order until one answers; None when the lease ended before the dot."""
        conversation: Conversation | None = None
        for hop in self._connections.in_order(outgoing.hops)[:_HOPS_PER_ATTEMPT]:
            conversation = await self._converse_with(hop, outgoing, site, flow)
            # A host that does not open its door, whatever it says, has not spoken for the others (RFC 5321 §5.1)
            if not conversation.never_opened and (conversation.reply is not None or conversation.dot_sent):
                break
            if not self._lease.holds(outgoing.job.owner):
                return None
        return conversation

    def close_unused(self, flow: Flow) -> None:
        """A connection whose next message was not handed over after all (its lease ended) cannot serve another."""
        if flow.job is None and (unused := flow.take_connection()) is not None:
            self._connections.give_back(unused, keep=False)

    async def _converse_with(self, hop: Hop, outgoing: Outgoing, site: Site, flow: Flow) -> Conversation:
        kept = flow.take_connection() or self._connections.take(hop)
        if kept is not None:
            went_ahead = kept.begun is not None
            conversation = await self._converse_on(kept, outgoing, site, flow)
            if not self._says_nothing(conversation, went_ahead) or not self._lease.holds(outgoing.job.owner):
                return conversation
        opened = await self._connections.open(hop)
        if isinstance(opened, Conversation):
            return opened
        return await self._converse_on(opened, outgoing, site, flow)

    async def _converse_on(self, connection: Connection, outgoing: Outgoing, site: Site, flow: Flow) -> Conversation:
        owner = outgoing.job.owner
        conversation = await connection.converse(
            outgoing.envelope,
            outgoing.wire,
            may_send_dot=lambda: self._lease.holds(owner),
            following=lambda: self._following(connection, site, flow),
        )
        if conversation.is_ours and connection.usable:
            try:
                conversation = await self._converse_for_less(connection, outgoing, conversation)
            except BaseException:
                self._connections.give_back(connection, keep=False)
                raise
        if connection.begun is not None:
            flow.connection = connection
        else:
            self._connections.give_back(connection, keep=self._may_keep(site))
        return conversation

    async def _converse_for_less(self, connection: Connection, outgoing: Outgoing, refused: Conversation) -> Conversation:
        """The same message in a form for a server that offers less, if it has one; else what was refused, with the reason."""
        job = outgoing.job
        if refused.reply is None or refused.reply.enhanced not in MENDED_BY_DOWNGRADE or not job.deliverable.address.isascii():
            return refused
        assert job.head is not None and job.body is not None
        signing = await self._domains.signing(job.deliverable.domain_id)
        try:
            job.head, job.body = downgrade(job.head, body_of(job, signing, self._marks))
        except ValueError as error:
            return replace(refused, reply=replace(refused.reply, text=f"{refused.reply.text}: {error}"))
        job.cut = None  # the new body has its links already
        lesser = make_outgoing(job, outgoing.hops, signing, self._marks)
        return await connection.converse(lesser.envelope, lesser.wire, may_send_dot=lambda: self._lease.holds(job.owner))

    def _says_nothing(self, conversation: Conversation, went_ahead: bool) -> bool:
        """Whether a kept connection told nothing about the message, so that a fresh one decides.

        The server has closed it meanwhile; or it could not do with an envelope that came with the body before: some lose what
        follows a final dot, some take it for a break of protocol and refuse MAIL.
        """
        if conversation.dot_sent:
            return False
        reply = conversation.reply
        if reply is not None and reply.code == _CLOSING:  # so many messages and no more on a connection: nothing is wrong with the server
            return True
        lost = went_ahead and conversation.phase is Phase.MAIL and (reply is not None or conversation.error == TIMED_OUT)
        if lost:
            self._connections.lost_ahead(conversation.hop)
        return lost or reply is None
