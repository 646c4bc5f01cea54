"""Sending domains: which account may send as which domain, and the DKIM keys that sign for it.

A domain belongs to one account (its name is unique), and only mail with exactly that domain in From is accepted from it: a
parent, a child or a look-alike is another domain. Names are lower-case A-labels.

The DomainBook answers the hot path from memory (accounts.memory); parsed signing keys are kept too (parsing an RSA key costs a
hundred signatures). A removed domain is forgotten elsewhere within KNOWN_SECONDS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts.memory import MOST_KNOWN, Remembered
from app.errors import Conflict, NotFound
from app.keyring import Keyring
from app.mail.address import normalise_domain
from app.mail.dkim import Algorithm, SigningKey, generate_signing_key, load_signing_key
from app.recent import Recent

DKIM_PURPOSE = "dkim"


@dataclass(frozen=True, slots=True)
class SendingDomain:
    id: int
    account_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Signing:
    """What a domain's mail is finished with: the keys that sign, and the host of its links (None: the house's own)."""

    keys: tuple[SigningKey, ...]
    tracking_host: str | None


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record for the owner of the domain to publish; without the required ones mail is refused or filed as spam."""

    type: str
    name: str
    value: str
    purpose: str
    required: bool


class DomainBook:
    """Domains and signing keys as the hot path asks for them, remembered for a few seconds."""

    def __init__(self, database: store.db.Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._found = Remembered(self._ask)
        self._signing = Remembered(self._ask_signing)
        # The same as `signing`, if it was asked for within seconds.
        self.kept_signing = self._signing.kept
        # Parsed keys outlive the seconds: which keys sign is asked again, the same sealed PEM is not parsed again.
        self._parsed: Recent[int, tuple[bytes, SigningKey]] = Recent(MOST_KNOWN)

    async def find(self, account_id: int, domain_name: str) -> SendingDomain | None:
        """The account's domain of this name (lower-case A-labels), or None when the account may not send as it."""
        return await self._found.find((account_id, domain_name))

    async def signing(self, domain_id: int) -> Signing:
        """What a domain's mail is finished with. NotFound when it was removed: its mail must not go unsigned in silence."""
        found = await self._signing.find(domain_id)
        if found is None:
            raise NotFound("The sending domain has no DKIM key (any more).")
        return found

    def forget(self, account_id: int, domain_name: str) -> None:
        """The domain was added, changed or removed here."""
        known = self._found.forget((account_id, domain_name))
        if known is not None:
            self._signing.forget(known.id)

    async def _ask(self, key: tuple[int, str]) -> SendingDomain | None:
        async with store.db.refusing_while_away("nothing was accepted"), self._database.reading() as connection:
            row = await store.domains.find_domain(connection, *key)
        return SendingDomain(row.id, row.account_id, row.name) if row is not None else None

    async def _ask_signing(self, domain_id: int) -> Signing | None:
        async with store.db.refusing_while_away("nothing can be signed"), self._database.reading() as connection:
            rows = await store.domains.list_dkim_keys(connection, [domain_id])
        keys = tuple(self._parse(row) for row in rows if row.signing)
        host = rows[0].tracking_host if rows and rows[0].tracking_verified_at is not None else None
        return Signing(keys, host) if keys else None

    def _parse(self, row: Any) -> SigningKey:
        sealed = bytes(row.private_key)
        parsed = self._parsed.get(row.id)
        if parsed is None or parsed[0] != sealed:
            pem = self._keyring.open(sealed, account_id=row.account_id, purpose=DKIM_PURPOSE)
            parsed = (sealed, load_signing_key(row.name, row.selector, pem))
            self._parsed[row.id] = parsed
        return parsed[1]


async def add_domain(
    connection: AsyncConnection, keyring: Keyring, account_id: int, name: str, algorithms: Sequence[Algorithm] = ("rsa-sha256",)
) -> SendingDomain:
    """Give a domain to an account, with one DKIM key per algorithm. ValueError for no domain, Conflict when anybody has it."""
    name = normalise_domain(name.strip().rstrip("."))
    if name.rpartition(".")[2].isdigit():
        raise ValueError("An IP address is no domain.")
    try:
        domain_id = await store.domains.insert_domain(connection, account_id, name)
    except IntegrityError as error:
        raise Conflict(f"The domain {name} belongs to an account already.") from error
    for number, algorithm in enumerate(algorithms, 1):
        pem, public_record = generate_signing_key(algorithm)
        await store.domains.insert_dkim_key(
            connection,
            domain_id=domain_id,
            selector=f"stf{number}",
            algorithm=algorithm,
            private_key=keyring.seal(pem, account_id=account_id, purpose=DKIM_PURPOSE),
            public_record=public_record,
        )
    return SendingDomain(domain_id, account_id, name)


async def remove_domain(connection: AsyncConnection, account_id: int, name: str, *, even_with_mail: bool = False) -> None:
    """Take a domain, its keys and its inbound routes away. Conflict while its mail waits, because that could no longer be signed."""
    row = await store.domains.find_domain(connection, account_id, name)
    if row is None:
        raise NotFound("There is no such domain.")
    if not even_with_mail and await store.domains.has_waiting_mail(connection, account_id, row.id):
        raise Conflict(f"Mail from {name} still waits to be delivered.")
    await store.inbound_routes.delete_routes_below(connection, account_id, name)
    await store.domains.delete_domain(connection, row.id)


async def list_domains(connection: AsyncConnection, account_id: int, house: str) -> list[tuple[Any, tuple[DnsRecord, ...]]]:
    """The account's domains with the DNS records to publish for each; `house` is the host of the public URL."""
    rows = await store.domains.list_domains(connection, account_id)
    keys = await store.domains.list_dkim_keys(connection, [row.id for row in rows])
    return [(row, dns_records(row, [key for key in keys if key.domain_id == row.id], house)) for row in rows]


def dns_records(domain: Any, keys: Sequence[Any], house: str) -> tuple[DnsRecord, ...]:
    """What the owner of the domain publishes: the public key of each signing key, a DMARC policy, the tracking host as alias of `house`.

    SPF is asked of the return path's domain, which is the operator's: the From domain needs none for alignment, DKIM gives it.
    """
    name = domain.name
    signing = [
        DnsRecord("TXT", f"{key.selector}._domainkey.{name}", key.public_record, f"DKIM public key ({key.algorithm})", required=True)
        for key in keys
        if key.signing
    ]
    policy = DnsRecord("TXT", f"_dmarc.{name}", "v=DMARC1; p=none", "DMARC policy; keep a stricter one that is there", required=False)
    if domain.tracking_host is None:
        return (*signing, policy)
    return (*signing, policy, DnsRecord("CNAME", domain.tracking_host, f"{house}.", "Host of links and of the open pixel", required=False))


async def may_have_certificate(database: store.db.Database, host: str, public_url: str) -> bool:
    """Whether the TLS proxy may get a certificate for a host: our own public name, or one that an account has shown to be its own.

    Anybody can send any name in a handshake. Each that is allowed here costs a request at a certificate authority, which counts them.
    """
    host = host.lower().rstrip(".")
    if host == urlsplit(public_url).hostname:
        return True
    try:
        name = normalise_domain(host)
    except ValueError:
        return False
    async with store.db.refusing_while_away(), database.reading() as connection:
        return await store.domains.is_verified_host(connection, name)


async def find_dkim_record(database: store.db.Database, selector: str, domain: str) -> str | None:
    """The TXT text at selector._domainkey.domain as it should be published; how the local inbox verifies without DNS."""
    async with database.reading() as connection:
        return await store.domains.find_public_record(connection, selector, domain.lower().rstrip("."))
