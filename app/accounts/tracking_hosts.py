"""Tracking hosts: the name that stands in the links of a domain's mail instead of the house's own.

A reader, and a filter, trust a link that lies in the sender's own domain. So the host lies below the sending domain, which only its
account can use; and it is used from when it was seen to lead here: as an alias of the house's public name, or at an address of it.
A look-up that fails for now changes nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.errors import Conflict, FieldError, InvalidRequest, NotFound
from app.mail.address import normalise_domain
from app.resolver import Found, Lack, Missing, Resolver


@dataclass(frozen=True, slots=True)
class TrackingHost:
    """A domain's tracking host; `verified_at` None: it is not used yet, `problem` says why."""

    host: str
    verified_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a host does not lead here; `passing`: nobody knows right now."""

    text: str
    passing: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """A host that may be one, and what is wrong with it."""

    host: str
    problem: Problem | None


def public_host(public_url: str) -> str:
    """The host that tracking hosts must lead to."""
    return (urlsplit(public_url).hostname or "").rstrip(".")


def check_host(domain_name: str, host: str) -> str:
    """The host as it is kept. ValueError says what is wrong."""
    try:
        host = normalise_domain(host.strip().rstrip("."))
    except ValueError as error:
        raise ValueError("It is not a host name.") from error
    if not host.endswith(f".{domain_name}"):
        raise ValueError(f"It must lie below the domain, like click.{domain_name}.")
    return host


async def look_at_host(resolver: Resolver, domain_name: str, host: str, public_url: str) -> Seen:
    """What the DNS says of a host that a domain shall have; InvalidRequest when it cannot be one. Not within a transaction."""
    try:
        host = check_host(domain_name, host)
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("#/host", "invalid_host", str(error))]) from error
    return Seen(host, await find_problem(resolver, host, public_host(public_url)))


async def set_tracking_host(connection: AsyncConnection, account_id: int, domain_name: str, seen: Seen | None) -> TrackingHost | None:
    """Give a domain the tracking host that was looked at, or take it away (None).

    NotFound when the domain is not the account's, Conflict when another domain has the host.
    """
    row = await store.domains.find_domain(connection, account_id, domain_name)
    if row is None:
        raise NotFound("There is no such domain.")
    if seen is None:
        await store.domains.set_tracking_host(connection, row.id, None, is_verified=False)
        return None
    problem = seen.problem
    was_verified = row.tracking_host == seen.host and row.tracking_verified_at is not None
    is_verified = problem is None or (was_verified and problem.passing)
    try:
        verified_at = await store.domains.set_tracking_host(connection, row.id, seen.host, is_verified=is_verified)
    except IntegrityError as error:
        raise Conflict("Another domain has this tracking host.") from error
    return TrackingHost(seen.host, verified_at, problem.text if problem is not None else None)


async def find_problem(resolver: Resolver, host: str, target: str) -> Problem | None:
    """None when `host` is an alias of `target` or has an address of it."""
    alias = await resolver.cname(host)
    if isinstance(alias, Found) and target in alias.records:
        return None
    there = await resolver.addresses(host)
    if isinstance(there, Missing):
        return Problem(f"{there.text}.", there.lack is Lack.FAILED)
    ours = await _addresses_of(resolver, target)
    if isinstance(ours, Missing):
        return Problem(f"This server's own name cannot be looked up: {ours.text}.", ours.lack is Lack.FAILED)
    if not {ipaddress.ip_address(one) for one in there.records} & {ipaddress.ip_address(one) for one in ours.records}:
        return Problem(f"{host} leads elsewhere: it must be an alias (CNAME) of {target}.", passing=False)
    return None


async def _addresses_of(resolver: Resolver, target: str) -> Found[str] | Missing:
    try:
        return Found((str(ipaddress.ip_address(target)),), 0.0)
    except ValueError:
        return await resolver.addresses(target)
