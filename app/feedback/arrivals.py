"""Mail that other hosts bring to port 25: to a return path, or to an address at which an account receives.

`find` says what an address is, while the other host can still be told no; `take` returns when what the mail means is committed. Mail to a
return path is a report (feedback.reports). Mail to a route is stored as it came and read afterwards by a worker
(feedback.inbound_reading): what is odd in it, or a DNS that is away, cannot keep the host waiting, and nothing of it is lost.

A mail that comes again because its 250 was lost is taken once: the same octets, Message-ID and trace among them, to the same address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app import log, store
from app.accounts.inbound_routes import InboundRoute, InboundRouteBook
from app.config import Settings
from app.feedback.reports import ReturnAddress, ReturnPaths, Taken
from app.jobs import Wakes
from app.keyring import Keyring
from app.mail.address import suppression_key
from app.mail.inbound_trace import Origin, has_message_id, trace
from app.store.db import Database

# Hosts try for up to five days (RFC 5321 §4.5.4.1).
_KNOWN_FOR = timedelta(days=6)
_DIGEST_OCTETS = 16


@dataclass(frozen=True, slots=True)
class InboundAddress:
    """An address at which an account receives, in lower case."""

    route: InboundRoute
    address: str


Destination = ReturnAddress | InboundAddress


class Arrivals:
    """All addresses of this house, and what to do with mail to them."""

    def __init__(self, database: Database, wakes: Wakes, keyring: Keyring, settings: Settings) -> None:
        self._database = database
        self._returns = ReturnPaths(database, wakes, keyring, settings.return_path_domain)
        self._routes = InboundRouteBook(database)
        self._host = settings.helo_name
        self._kept_days = settings.content_retention_days

    async def find(self, address: str) -> Destination | None:
        """What mail to an address is for; None when it is none of ours. Raises Unavailable when nobody can be asked."""
        if (returned := self._returns.find(address)) is not None:
            return returned
        route = await self._routes.find(address)
        return InboundAddress(route, suppression_key(address)) if route is not None else None

    async def take(self, destination: Destination, origin: Origin, raw: bytes) -> Taken:
        """Take a mail; committed when it returns. Raises what the database raises when it is away."""
        if isinstance(destination, ReturnAddress):
            return await self._returns.take(destination, raw)
        now = datetime.now(UTC)
        row = store.inbound.NewInbound(
            account_id=destination.route.account_id,
            id=store.ids.new_message_id(),
            route_id=destination.route.id,
            envelope_from=origin.sender,
            envelope_to=destination.address,
            client_ip=origin.client_ip,
            helo=origin.helo,
            digest=_digest(destination.address, raw) if has_message_id(raw) else None,
            purge_on=(now + timedelta(days=self._kept_days)).date(),
            raw=b"",
        )
        row.raw = trace(origin, self._host, row.id.hex, destination.address, now) + raw
        async with self._database.hot() as connection, connection.transaction():
            is_new = await store.inbound.insert_inbound(connection, row, store.ids.floor_of(now - _KNOWN_FOR))
        log.inbound_taken(row.account_id, len(raw), is_new=is_new)
        return Taken.RECORDED if is_new else Taken.KNOWN


def _digest(address: str, raw: bytes) -> bytes:
    return hashlib.blake2b(address.encode() + b"\0" + raw, digest_size=_DIGEST_OCTETS, person=b"inbound").digest()
