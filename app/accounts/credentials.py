"""API keys: who is calling, and what the key allows.

A key reads `stf_<id>_<secret><checksum>`: a public id to find the row by, 36 random characters (214 bits), and a CRC-32 of
all before it, so that secret scanners and typing errors are told without asking the database. It is shown once; the database
keeps an HMAC of it under a pepper of the keyring (the row names the pepper), which a dump of the database alone cannot check.

The Authenticator remembers what it found (accounts.memory): a revoked key dies within KNOWN_SECONDS in other processes, at once
in the one that revoked it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts.memory import Remembered
from app.errors import AccountPaused, Conflict, Forbidden, NotFound, Unauthenticated
from app.keyring import Keyring

# What a key may be allowed; "*" is all of them, later ones included.
SCOPES = {
    "messages:send": "submit and cancel messages",
    "messages:read": "read messages and their history",
    "events:read": "read the event feed",
    "domains:read": "read sending domains and their DNS records",
    "domains:write": "set tracking hosts",
    "streams:read": "read streams",
    "streams:write": "make, change and archive streams",
    "suppressions:read": "read and export suppressions",
    "suppressions:write": "add, import and lift suppressions",
    "erasures:write": "have persons erased, and see how far that is",
    "webhooks:read": "read webhook endpoints",
    "webhooks:write": "create, change and delete webhook endpoints",
    "inbound:read": "read mail that came in, and inbound routes",
    "inbound:write": "make and delete inbound routes",
    "templates:read": "read and preview templates",
    "templates:write": "create, change, publish and archive templates",
    "keys:read": "list API keys and SMTP credentials",
    "keys:write": "create and revoke API keys and SMTP credentials",
}
ALL = "*"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 36
_TOKEN = re.compile(rf"stf_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{6}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sender:
    """The authenticated principal of a call. A paused account reads on, but submits nothing."""

    account_id: int
    key_id: str
    scopes: frozenset[str]
    paused: bool = False

    def require(self, scope: str) -> None:
        """Raise Forbidden unless the key allows `scope`, AccountPaused where its account may not."""
        if scope not in self.scopes and ALL not in self.scopes:
            raise Forbidden(f"This API key does not allow {scope}.")
        if self.paused and scope == "messages:send":
            raise AccountPaused("This account is paused: it may read, but not send.")


class Authenticator:
    """Finds the sender of a key, and remembers it for a few seconds."""

    def __init__(self, database: store.db.Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._senders = Remembered(self._ask)
        # The sender, if it was found within the last seconds; no waiting, nor a call more for each request.
        self.cached = self._senders.kept

    async def authenticate(self, token: str) -> Sender:
        """The sender of a key; raises Unauthenticated when it is none of ours, Unavailable when it cannot be asked."""
        sender = await self._senders.find(token) if read_token(token) is not None else None
        if sender is None:
            raise Unauthenticated("The API key is missing, wrong, expired or revoked.")
        return sender

    def forget(self, key_id: str) -> None:
        """A key was revoked here: it is asked for again at its next use."""
        self._senders.forget_all(lambda token: token.startswith(f"stf_{key_id}_"))

    async def _ask(self, token: str) -> Sender | None:
        key_id, secret = read_token(token) or ("", "")
        async with store.db.refusing_while_away(), self._database.transaction() as connection:
            row = await store.accounts.find_key(connection, key_id)
            # The same work for an id that is not there: no telling which ids are.
            pepper_id = row.pepper_id if row is not None else None
            expected = bytes(row.secret_hash) if row is not None else bytes(32)
            matches = hmac.compare_digest(_hash_secret(self._keyring, key_id, secret, pepper_id), expected)
            if row is None or not matches:
                return None
            if row.stamp_due:
                await store.accounts.stamp_key(connection, key_id)
        return Sender(row.account_id, row.id, frozenset(row.scopes), row.paused_at is not None)


async def create_key(
    connection: AsyncConnection,
    keyring: Keyring,
    account_id: int,
    *,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
) -> tuple[str, str]:
    """Make a key; returns its id and the key itself, which nobody can read again. ValueError for an unknown scope.

    Conflict when the account has so many that hold; one that is over gives way.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope != ALL and scope not in SCOPES]
    if unknown or not wanted:
        raise ValueError(f"Unknown scope; known are {ALL}, {', '.join(SCOPES)}.")
    if not await store.accounts.make_room_for_key(connection, account_id):
        raise Conflict(f"This account has {store.accounts.MOST_KEYS} API keys, which is the most: revoke one of them.")
    key_id, secret = _random_text(_ID_LENGTH), _random_text(_SECRET_LENGTH)
    pepper_id = keyring.current_id
    await store.accounts.insert_key(
        connection,
        key_id=key_id,
        account_id=account_id,
        name=name,
        pepper_id=pepper_id,
        secret_hash=_hash_secret(keyring, key_id, secret, pepper_id),
        scopes=wanted,
        expires_at=expires_at,
    )
    unchecked = f"stf_{key_id}_{secret}"
    return key_id, unchecked + _checksum(unchecked)


async def revoke_key(connection: AsyncConnection, account_id: int | None, key_id: str) -> None:
    """Revoke a key of the account (None: of any, for the operator); NotFound when it has no such key."""
    if not await store.accounts.set_revoked(connection, account_id, key_id):
        raise NotFound("There is no such API key.")


def read_token(token: str) -> tuple[str, str] | None:
    """(id, secret) of what has the form and the checksum of a key, else None."""
    found = _TOKEN.fullmatch(token)
    if found is None or _checksum(token[: -len(found[3])]) != found[3]:
        return None
    return found[1], found[2]


def _hash_secret(keyring: Keyring, key_id: str, secret: str, pepper_id: int | None) -> bytes:
    return hmac.digest(keyring.mac_key("api-key", pepper_id), f"{key_id}_{secret}".encode(), hashlib.sha256)


def _checksum(text: str) -> str:
    """CRC-32 in six characters."""
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
