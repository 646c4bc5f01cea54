"""Inbound routes: the addresses at which an account receives mail, `support@reply.shop.example` or all of a domain, `*@reply.shop.example`.

1. The domain is one of the account's own, or lies below one of them; of several the nearest decides. So nobody takes another's mail.
2. An address has one route, over all accounts. An exact one goes before `*`; mail to `support+order@` goes by `support@` where nothing
   nearer is there (RFC 5233).
3. `postmaster@` a domain that has routes is always taken (RFC 5321 §4.5.1): by the domain's oldest route if it has none itself.

The InboundRouteBook answers the SMTP door from memory for seconds, a whole domain at once: who guesses addresses costs one look-up.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.errors import Conflict, DomainNotOwned, FieldError, InvalidRequest, NotFound, Unavailable
from app.mail.address import normalise_domain, parse_mailbox, suppression_key
from app.store.inbound_routes import EVERY_ADDRESS

CACHE_SECONDS = 10.0
MOST_ROUTES = 1000
_UNKNOWN_SECONDS = 2.0
_REMEMBERED = 10_000
_AWAY: tuple[type[BaseException], ...] = (*store.db.CONNECTION_ERRORS, DBAPIError, PoolTimeout)


@dataclass(frozen=True, slots=True)
class InboundRoute:
    id: UUID
    account_id: int


class InboundRouteBook:
    """Routes as the SMTP door asks for them, by domain, remembered for a few seconds."""

    def __init__(self, database: store.db.Database) -> None:
        self._database = database
        self._known: OrderedDict[str, tuple[Mapping[str, InboundRoute], float]] = OrderedDict()
        # Apart from the known: a flood of invented domains drives out other invented ones only.
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Mapping[str, InboundRoute]]] = {}

    async def find(self, address: str) -> InboundRoute | None:
        """The route of a mailbox (normalised); raises Unavailable when nobody can be asked."""
        local, _, domain = suppression_key(address).rpartition("@")
        routes = await self._at(domain)
        if not routes:
            return None
        for name in (local, local.partition("+")[0], EVERY_ADDRESS):
            if (found := routes.get(name)) is not None:
                return found
        return next(iter(routes.values())) if local == "postmaster" else None

    async def _at(self, domain: str) -> Mapping[str, InboundRoute]:
        now = time.monotonic()
        known = self._known.get(domain)
        if known is not None and known[1] > now:
            return known[0]
        if self._unknown.get(domain, 0.0) > now:
            return {}
        task = self._under_way.get(domain)
        if task is None:
            task = self._under_way[domain] = asyncio.create_task(self._ask(domain))
            task.add_done_callback(lambda done: self._told(domain, done))
        return await asyncio.shield(task)

    async def _ask(self, domain: str) -> Mapping[str, InboundRoute]:
        try:
            async with self._database.reading() as connection:
                rows = await store.inbound_routes.list_routes_at(connection, domain)
        except _AWAY as error:
            raise Unavailable("The database is not reachable.", retry_after_seconds=2) from error
        return {row.local: InboundRoute(row.id, row.account_id) for row in rows}

    def _told(self, domain: str, done: asyncio.Task[Mapping[str, InboundRoute]]) -> None:
        self._under_way.pop(domain, None)
        if done.cancelled() or done.exception() is not None:
            return
        found, now = done.result(), time.monotonic()
        if found:
            _remember(self._known, domain, (found, now + CACHE_SECONDS))
        else:
            self._known.pop(domain, None)
            _remember(self._unknown, domain, now + _UNKNOWN_SECONDS)


async def create_route(connection: AsyncConnection, account_id: int, address: str) -> Any:
    """Have an account receive mail at an address, or at all of a domain; returns the row."""
    local, domain = _read_address(address)
    owner = await store.inbound_routes.find_owner(connection, domain)
    if owner != account_id:
        detail = f"{domain} is no domain of the account, and lies below none."
        raise DomainNotOwned.of_fields([FieldError("#/address", "domain_not_owned", detail)])
    if await store.inbound_routes.count_routes(connection, account_id) >= MOST_ROUTES:
        raise Conflict(f"The account has {MOST_ROUTES} routes already.")
    row = {"id": store.ids.new_id(), "account_id": account_id, "domain": domain, "local": local}
    try:
        return await store.inbound_routes.insert_route(connection, row)
    except IntegrityError as error:
        raise Conflict(f"{local}@{domain} has a route already.") from error


async def delete_route(connection: AsyncConnection, account_id: int | None, route_id: UUID) -> None:
    """Take one away (None: of any account, for the operator). Mail that came in by it stays."""
    if not await store.inbound_routes.delete_route(connection, account_id, route_id):
        raise NotFound("There is no such inbound route.")


def _read_address(address: str) -> tuple[str, str]:
    """(local part, domain) as they are kept; InvalidRequest says what is wrong."""
    try:
        local, at_sign, domain = address.strip().rpartition("@")
        if at_sign and local == EVERY_ADDRESS:
            return local, normalise_domain(domain)
        local, _, domain = suppression_key(parse_mailbox(address)).rpartition("@")
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("#/address", "invalid_address", str(error))]) from error
    return local, domain


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
