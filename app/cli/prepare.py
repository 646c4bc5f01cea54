"""What `up` does in the database before anything else runs: the schema, and a first account whose key is kept to be shown again."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from app import store
from app.accounts.first import FIRST_ACCOUNT, ensure_first_account, make_first_smtp_credential, renew_first_key
from app.config import Settings
from app.keyring import Keyring, KeyringError
from app.store.migrate import upgrade


def run_prepare(settings: Settings, first_account: Path) -> None:
    """Migrate, make the first account, keep its API key in `first_account` (readable by its owner alone)."""
    upgrade(settings.database_url, content_days_ahead=settings.content_retention_days + 7)
    try:
        asyncio.run(_first_account(settings, first_account))
    except KeyringError as error:
        sys.exit(f"ERROR: {error}")


def run_migrate(settings: Settings, *, with_keyring: bool) -> None:
    """Migrate; with a keyring, make that too for a new database. An old one without its keyring is a mistake to mend, not to hide."""
    try:
        upgrade(settings.database_url, content_days_ahead=settings.content_retention_days + 7)
        if with_keyring:
            asyncio.run(_first_keyring(settings))
    except KeyringError as error:
        sys.exit(f"staffetta: {error}")


async def _first_keyring(settings: Settings) -> None:
    database = store.db.Database(settings.database_url)
    try:
        async with database.reading() as connection:
            if not settings.keyring_path.exists() and await store.accounts.list_accounts(connection):
                raise KeyringError(f"there is no keyring at {settings.keyring_path}, but this database needs the one it was used with")
        Keyring.load_or_create(settings.keyring_path)
    finally:
        await database.close()


async def _first_account(settings: Settings, path: Path) -> None:
    database = store.db.Database(settings.database_url)
    try:
        keyring = await _open_keyring(settings, database)
        account = await ensure_first_account(database, keyring)
        kept = _read_kept(path)
        token = account.api_token or (kept.get("api_key") if kept.get("account_id") == account.account_id else None)
        if token is None:
            token = await renew_first_key(database, keyring, account.account_id)
        smtp = (kept.get("smtp_user"), kept.get("smtp_password")) if kept.get("account_id") == account.account_id else (None, None)
        if None in smtp:
            smtp = await make_first_smtp_credential(database, keyring, account.account_id)
        shown = {"api_key": token, "from": account.from_address, "smtp_user": smtp[0], "smtp_password": smtp[1]}
        _keep(path, {"account_id": account.account_id, **shown})
    finally:
        await database.close()


async def _open_keyring(settings: Settings, database: store.db.Database) -> Keyring:
    """A lost keyring is not replaced in silence: everything in the database that it sealed would be dead."""
    if not settings.keyring_path.exists():
        async with database.reading() as connection:
            if await store.accounts.find_account(connection, FIRST_ACCOUNT) is not None:
                raise KeyringError(f"{settings.keyring_path} is gone, but this database needs it: restore it, or start with another --data")
    return Keyring.load_or_create(settings.keyring_path)


def _read_kept(path: Path) -> dict[str, object]:
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _keep(path: Path, account: dict[str, object]) -> None:
    if account == _read_kept(path):
        return
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(account) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
