"""A job made ready for the wire, and what a serving task carries from one message to the next.

On a connection that goes on, the envelope of the next message leaves with the body before it (transport): a write, a reply and a round
trip less for each. That is done only with what is at hand: a message that would wait for the DNS, the database or its content must
not keep the one before it waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.delivery.conversation import Hop
from app.delivery.lanes import Job
from app.delivery.transport import Connection
from app.mail.dkim import SigningKey
from app.mail.envelope import Envelope, encode_return_path
from app.mail.finish import finish
from app.store.ids import milliseconds_of


@dataclass(slots=True, eq=False)
class Outgoing:
    """One recipient's mail as it will leave: where to, under which envelope, which octets."""

    job: Job
    hops: Sequence[Hop]
    envelope: Envelope
    wire: bytes


def make_outgoing(job: Job, hops: Sequence[Hop], keys: Sequence[SigningKey], return_path_domain: str, return_path_key: bytes) -> Outgoing:
    """Finish and sign the job's content, which must be loaded."""
    assert job.head is not None and job.body is not None
    recipient_id, address = job.claimed.recipient_id, job.deliverable.address
    wire = finish(job.head, job.body, added_headers=(), keys=keys, timestamp=milliseconds_of(recipient_id) // 1000)
    return_path = encode_return_path(recipient_id, return_path_domain, return_path_key)
    envelope = Envelope(return_path, address, not address.isascii() or not job.head.isascii())
    return Outgoing(job, hops, envelope, wire)


class Flow:
    """The next job of a serving task, if it was taken out before its turn, and the connection on which its envelope has left."""

    __slots__ = ("connection", "job", "outgoing")

    def __init__(self) -> None:
        self.job: Job | None = None
        self.outgoing: Outgoing | None = None
        self.connection: Connection | None = None

    def take_job(self) -> Job | None:
        job, self.job = self.job, None
        return job

    def take_outgoing(self, job: Job) -> Outgoing | None:
        """What was made ready ahead, if it is this job's."""
        outgoing, self.outgoing = self.outgoing, None
        return outgoing if outgoing is not None and outgoing.job is job else None

    def take_connection(self) -> Connection | None:
        connection, self.connection = self.connection, None
        return connection
