"""The first account: what `up` needs so that the very first message can be sent. Running it again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from app import store
from app.accounts.credentials import ALL, create_key
from app.accounts.domains import add_domain
from app.accounts.smtp_credentials import Wish, create_smtp_credential
from app.keyring import Keyring

FIRST_ACCOUNT = "first"
FIRST_KEY = "first key"


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """`api_token` is there only in the run that made it: it can be shown once."""

    account_id: int
    api_token: str | None
    from_address: str


async def ensure_first_account(database: store.db.Database, keyring: Keyring, *, domain: str = "shop.example.test") -> FirstAccount:
    """An account with a domain, its DKIM keys and an API key that may do everything; made if there is none."""
    async with database.transaction() as connection:
        await store.accounts.lock_accounts(connection)  # two processes that start together: the second waits and finds it
        account = await store.accounts.find_account(connection, FIRST_ACCOUNT)
        if account is not None:
            domains = await store.domains.list_domains(connection, account.id)
            oldest = min(domains, key=lambda row: row.id, default=None)
            return FirstAccount(account.id, None, f"hello@{oldest.name if oldest is not None else domain}")
        account_id = await store.accounts.insert_account(connection, FIRST_ACCOUNT)
        sending = await add_domain(connection, keyring, account_id, domain)
        _, token = await create_key(connection, keyring, account_id, name=FIRST_KEY, scopes=[ALL])
    return FirstAccount(account_id, token, f"hello@{sending.name}")


async def make_first_smtp_credential(database: store.db.Database, keyring: Keyring, account_id: int) -> tuple[str, str]:
    """(user name, password) for sending over SMTP as the first account."""
    async with database.transaction() as connection:
        row, password = await create_smtp_credential(connection, keyring, account_id, Wish(FIRST_KEY))
    return row.id, password


async def renew_first_key(database: store.db.Database, keyring: Keyring, account_id: int) -> str:
    """Another key for the first account, when the first one was lost."""
    async with database.transaction() as connection:
        return (await create_key(connection, keyring, account_id, name=FIRST_KEY, scopes=[ALL]))[1]
