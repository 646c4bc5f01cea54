"""SMTP credentials: the user names and passwords of mail programs and applications that send over SMTP.

Both are made here: `smtp-<12 characters>` and 36 random characters (214 bits), in an alphabet that survives being typed into an old
dialogue box. The password is shown once; the database keeps an HMAC of it under a pepper of the keyring, as of API keys.

The SmtpCredentialBook remembers rows, also that a user name is not there (accounts.memory): a revoked credential dies within
KNOWN_SECONDS, in sessions that are open too, because they ask again for each message. A wrong password and an unknown user name cost
the same work. How often one may guess is the door's business.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts.credentials import Sender
from app.accounts.memory import Remembered
from app.accounts.streams import unknown_stream
from app.errors import Conflict, FieldError, InvalidRequest, NotFound
from app.ip import Network, address_of
from app.keyring import Keyring
from app.mail.address import normalise_domain, parse_mailbox
from app.store.incidents import mark_of

MOST_ALLOWED_FROM = 100
MOST_NETWORKS = 100
MOST_PER_MINUTE = 1_000_000
MOST_PER_HOUR = 100_000_000
PURPOSE = "smtp-password"

_USER_NAME = re.compile(r"smtp-[0-9a-z]{12}", re.ASCII)
_NAME_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class SmtpCredential:
    """One as the door uses it; without its hash it is not to be had, so it never leaves the process."""

    user_name: str
    sender: Sender
    allowed_from: tuple[str, ...]
    networks: tuple[Network, ...]
    recipients_per_minute: int | None
    tells_failures: bool
    stream: str | None
    pepper_id: int
    secret_hash: bytes
    trusted_per_hour: int | None = None
    held_for: str | None = None  # there is an incident, and its mail is held

    def may_be_used_from(self, address: str) -> bool:
        """Whether a client at this IP address may log in with it."""
        ip = address_of(address)
        return not self.networks or (ip is not None and any(ip in network for network in self.networks))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new credential shall be allowed, checked by `check_wish`."""

    name: str
    allowed_from: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    recipients_per_minute: int | None = None
    tells_failures: bool = True
    stream: str | None = None
    trusted_per_hour: int | None = None


class SmtpCredentialBook:
    """Credentials by user name, remembered for a few seconds."""

    def __init__(self, database: store.db.Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._found = Remembered(self._ask)

    async def verify(self, user_name: str, password: str) -> SmtpCredential | None:
        """The credential, if the password is its; raises Unavailable when nobody can be asked."""
        found = await self.find(user_name)
        pepper_id = found.pepper_id if found is not None else None
        expected = found.secret_hash if found is not None else bytes(32)
        matches = hmac.compare_digest(_hash(self._keyring, user_name, password, pepper_id), expected)
        return found if matches else None

    async def find(self, user_name: str) -> SmtpCredential | None:
        """The credential of this user name, unless it is revoked."""
        return await self._found.find(user_name) if _USER_NAME.fullmatch(user_name) is not None else None

    async def was_used_from(self, user_name: str, network: str) -> bool:
        """Whether mail was sent with it from this network (app.ip.network_of) for longer than a day, or its owner trusts the place."""
        if _USER_NAME.fullmatch(user_name) is None:
            return False
        try:
            async with self._database.hot() as connection:
                return await store.credential_habits.is_network_known(connection, user_name, network)
        except store.db.CONNECTION_ERRORS:
            return False

    def disguise(self, user_name: str) -> str:
        """What stands for a user name where others may read: people type their passwords there."""
        key = self._keyring.mac_key("smtp-user-name")
        return hmac.digest(key, user_name.encode(errors="surrogateescape"), hashlib.sha256)[:16].hex()

    def forget(self, user_name: str) -> None:
        """It was changed here: it is asked for again at its next use."""
        self._found.forget(user_name)

    async def _ask(self, user_name: str) -> SmtpCredential | None:
        async with store.db.refusing_while_away(), self._database.transaction() as connection:
            row = await store.smtp_credentials.find_smtp_credential(connection, user_name)
            if row is not None and row.stamp_due:
                await store.smtp_credentials.stamp_smtp_credential(connection, user_name)
        return _credential(row) if row is not None else None


def check_wish(wish: Wish, streams: Sequence[str] | None = None) -> Wish:
    """The wish in normal form; InvalidRequest points at what cannot be. `streams`: those the account has, when they are known."""
    errors: list[FieldError] = []
    allowed = _each(wish.allowed_from, "allowed_from", _normal_from, errors)
    networks = _each(wish.networks, "networks", _normal_network, errors)
    if len(wish.allowed_from) > MOST_ALLOWED_FROM:
        errors.append(FieldError("#/allowed_from", "too_many", f"At most {MOST_ALLOWED_FROM} are allowed."))
    if len(wish.networks) > MOST_NETWORKS:
        errors.append(FieldError("#/networks", "too_many", f"At most {MOST_NETWORKS} are allowed."))
    if wish.recipients_per_minute is not None and not 1 <= wish.recipients_per_minute <= MOST_PER_MINUTE:
        errors.append(FieldError("#/recipients_per_minute", "out_of_range", f"It must be between 1 and {MOST_PER_MINUTE}."))
    if wish.trusted_per_hour is not None and not 1 <= wish.trusted_per_hour <= MOST_PER_HOUR:
        errors.append(FieldError("#/trusted_per_hour", "out_of_range", f"It must be between 1 and {MOST_PER_HOUR}."))
    if wish.stream is not None and streams is not None and wish.stream not in streams:
        errors.append(unknown_stream("#/stream", streams))
    if errors:
        raise InvalidRequest.of_fields(errors)
    return Wish(wish.name, allowed, networks, wish.recipients_per_minute, wish.tells_failures, wish.stream, wish.trusted_per_hour)


async def create_smtp_credential(connection: AsyncConnection, keyring: Keyring, account_id: int, wish: Wish) -> tuple[Any, str]:
    """Make one of a checked wish; returns its row and the password, which nobody can read again.

    Conflict when the account has so many that hold; a revoked one gives way.
    """
    if not await store.smtp_credentials.make_room_for_smtp_credential(connection, account_id):
        most = store.smtp_credentials.MOST_SMTP_CREDENTIALS
        raise Conflict(f"This account has {most} SMTP credentials, which is the most: revoke one of them.")
    user_name = "smtp-" + "".join(secrets.choice(_NAME_ALPHABET) for _ in range(12))
    password, pepper_id = _new_password(), keyring.current_id
    row = {
        "id": user_name,
        "account_id": account_id,
        "name": wish.name,
        "pepper_id": pepper_id,
        "secret_hash": _hash(keyring, user_name, password, pepper_id),
        "allowed_from": list(wish.allowed_from),
        "networks": list(wish.networks),
        "recipients_per_minute": wish.recipients_per_minute,
        "tells_failures": wish.tells_failures,
        "stream": wish.stream,
        "trusted_per_hour": wish.trusted_per_hour,
    }
    return await store.smtp_credentials.insert_smtp_credential(connection, row), password


async def renew_password(connection: AsyncConnection, keyring: Keyring, account_id: int | None, user_name: str) -> str:
    """Another password for one of the account (None: of any), the old one is over; NotFound when it has no such credential."""
    password, pepper_id = _new_password(), keyring.current_id
    secret_hash = _hash(keyring, user_name, password, pepper_id)
    if not await store.smtp_credentials.set_smtp_credential_password(connection, account_id, user_name, pepper_id, secret_hash):
        raise NotFound("There is no such SMTP credential.")
    return password


async def revoke_smtp_credential(connection: AsyncConnection, account_id: int | None, user_name: str) -> None:
    """Revoke one of the account (None: of any, for the operator); NotFound when it has no such credential."""
    if not await store.smtp_credentials.set_smtp_credential_revoked(connection, account_id, user_name):
        raise NotFound("There is no such SMTP credential.")


def _new_password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(36))


def _credential(row: Any) -> SmtpCredential:
    return SmtpCredential(
        user_name=row.id,
        sender=Sender(row.account_id, row.id, frozenset({"messages:send"}), row.paused_at is not None),
        allowed_from=tuple(row.allowed_from),
        networks=tuple(ipaddress.ip_network(network) for network in row.networks),
        recipients_per_minute=row.recipients_per_minute,
        tells_failures=row.tells_failures,
        stream=row.stream,
        pepper_id=row.pepper_id,
        secret_hash=bytes(row.secret_hash),
        trusted_per_hour=row.trusted_per_hour,
        held_for=f"{mark_of(row.incident_id)}, {row.incident_reason}" if row.incident_id is not None else None,
    )


def _hash(keyring: Keyring, user_name: str, password: str, pepper_id: int | None) -> bytes:
    return hmac.digest(keyring.mac_key(PURPOSE, pepper_id), f"{user_name}\0{password}".encode(errors="surrogateescape"), hashlib.sha256)


def _each(values: Sequence[str], field: str, normal: Any, errors: list[FieldError]) -> tuple[str, ...]:
    """Each in normal form, once, in the order given."""
    kept: dict[str, None] = {}
    for place, value in enumerate(values):
        try:
            kept[normal(value)] = None
        except ValueError as error:
            errors.append(FieldError(f"#/{field}/{place}", "invalid_value", str(error)))
    return tuple(kept)


def _normal_from(text: str) -> str:
    """An address, or a domain for all addresses in it."""
    return parse_mailbox(text).lower() if "@" in text else normalise_domain(text.strip())


def _normal_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError as error:
        raise ValueError("It is no IP address or network, like 192.0.2.7 or 192.0.2.0/24.") from error
