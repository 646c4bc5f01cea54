"""A job made ready for the wire, and what a serving task carries from one message to the next.

On a connection that goes on, the envelope of the next message leaves with the body before it (transport): a write, a reply and a round
trip less for each. That is done only with what is at hand: a message that would wait for the DNS, the database or its content must
not keep the one before it waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.accounts.domains import Signing
from app.config import Settings
from app.delivery.conversation import Hop
from app.delivery.lanes import Job
from app.delivery.transport import Connection
from app.keyring import Keyring
from app.mail.envelope import RETURN_PATH_PURPOSE, Envelope, encode_return_path
from app.mail.finish import CLICKS, NULL_SENDER, OPENS, UNSUBSCRIBE, Finished, finish
from app.mail.tokens import MAC_PURPOSE, TokenWriter
from app.mail.tracking import CutBody, cut_body, plan_of_json, splice
from app.mail.unsubscribe import unsubscribe_fields, unsubscribe_url
from app.store.ids import milliseconds_of


@dataclass(slots=True, eq=False)
class Outgoing:
    """One recipient's mail as it will leave: where to, under which envelope, which octets (signed when they are needed)."""

    job: Job
    hops: Sequence[Hop]
    envelope: Envelope
    wire: Finished


@dataclass(frozen=True, slots=True)
class Marks:
    """What brings home what a mail carries: the domain and the key of return paths, the key of tokens, and where the house is found."""

    return_path_domain: str
    return_path_key: bytes
    token_key_id: int
    token_key: bytes
    public_url: str  # without a slash at the end

    @classmethod
    def of(cls, settings: Settings, keyring: Keyring) -> Marks:
        return cls(
            settings.return_path_domain,
            keyring.mac_key(RETURN_PATH_PURPOSE),
            keyring.current_id,
            keyring.mac_key(MAC_PURPOSE),
            settings.public_url.rstrip("/"),
        )

    def link_origin(self, signing: Signing) -> str:
        """Scheme and host of the links in a domain's mail."""
        return f"https://{signing.tracking_host}" if signing.tracking_host is not None else self.public_url

    def token_writer(self, job: Job) -> TokenWriter:
        return TokenWriter(self.token_key_id, self.token_key, job.claimed.account_id, job.claimed.recipient_id)


def body_of(job: Job, signing: Signing, marks: Marks) -> bytes:
    """The body of this recipient: its own tokens in the links, and its pixel, if the message is tracked."""
    assert job.body is not None
    adds = job.deliverable.adds
    if job.cut is None or not adds & (OPENS | CLICKS):
        return job.body
    opens, clicks = bool(adds & OPENS), bool(adds & CLICKS)
    return splice(job.cut, marks.token_writer(job), marks.link_origin(signing), opens=opens, clicks=clicks)


def cut_content(body: bytes, tracking: str | None) -> CutBody | None:
    """A stored body cut by its stored plan: once for all recipients of a message."""
    return cut_body(body, plan_of_json(orjson.loads(tracking))) if tracking is not None else None


def make_outgoing(job: Job, hops: Sequence[Hop], signing: Signing, marks: Marks) -> Outgoing:
    """Finish the job's content, which must be loaded."""
    assert job.head is not None and job.body is not None
    recipient_id, address, deliverable = job.claimed.recipient_id, job.deliverable.address, job.deliverable
    added = b""
    if deliverable.adds & UNSUBSCRIBE:
        added = unsubscribe_fields(unsubscribe_url(marks.link_origin(signing), marks.token_writer(job), deliverable.stream))
    wire = finish(
        job.head, body_of(job, signing, marks), added_fields=added, keys=signing.keys, timestamp=milliseconds_of(recipient_id) // 1000
    )
    return_path = ""
    if not deliverable.adds & NULL_SENDER:
        return_path = encode_return_path(job.claimed.account_id, recipient_id, marks.return_path_domain, marks.return_path_key)
    envelope = Envelope(return_path, address, not address.isascii() or not job.head.isascii())
    return Outgoing(job, hops, envelope, wire)


class Flow:
    """The next job of a serving task, if it was taken out before its turn, and the connection on which its envelope has left.

    `account_id` and `is_bulk` say what its conversation is counted for (delivery.turns).
    """

    __slots__ = ("account_id", "connection", "is_bulk", "job", "outgoing")

    def __init__(self) -> None:
        self.account_id: int | None = None
        self.is_bulk = False
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
