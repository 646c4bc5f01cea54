"""`account`, `domain` and `key`: the operator's commands on the database, with words for people or `--json` for programs.

They need the database and the keyring of the running house (STAFFETTA_DATABASE_URL, STAFFETTA_KEYRING_PATH); servers that are
running notice a change within ten seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts import credentials, domains
from app.accounts.memory import KNOWN_SECONDS
from app.accounts.tracking_hosts import look_at_host, public_host, set_tracking_host
from app.cli.work import AccountName, AsJson, clean_name, columns, day, find_account, run_work, say
from app.config import Settings
from app.keyring import Keyring
from app.mail.address import normalise_domain
from app.mail.dkim import Algorithm
from app.resolver import Resolver

app = typer.Typer()
_options: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False, "rich_markup_mode": None}
account = typer.Typer(name="account", help="Accounts: tenants that send.", **_options)
domain = typer.Typer(name="domain", help="Sending domains of accounts, and their DNS records.", **_options)
key = typer.Typer(name="key", help="API keys of accounts.", **_options)
for _commands in (account, domain, key):
    app.add_typer(_commands)

DomainName = Annotated[str, typer.Argument(help="The domain, like shop.example.com.", metavar="DOMAIN")]


@account.command("add")
def add_account(name: AccountName, as_json: AsJson = False) -> None:
    """Add an account."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        try:
            return {"id": await store.accounts.insert_account(connection, clean_name(name)), "name": name}
        except IntegrityError as error:
            raise ValueError(f"There is an account {name} already.") from error

    made = run_work(work)
    say(made, as_json, f"Account {name} added. Next: staffetta domain add {name} DOMAIN; staffetta key create {name}")


@account.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        shown = ("id", "name", "created_at", "paused_at", "tracking")
        return [{field: getattr(row, field) for field in shown} for row in await store.accounts.list_accounts(connection)]

    found = run_work(work)
    rows = [(str(one["id"]), one["name"], day(one["created_at"]), "paused" if one["paused_at"] else "") for one in found]
    say(found, as_json, columns(("id", "name", "created", ""), rows, "There is no account yet: staffetta account add NAME"))


@account.command("pause")
def pause_account(
    name: AccountName, resume: Annotated[bool, typer.Option("--resume", help="Let it send again.")] = False, as_json: AsJson = False
) -> None:
    """Stop an account from submitting mail (what was accepted is still delivered), or let it go on."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        row = await find_account(connection, name)
        await store.accounts.set_paused(connection, row.id, not resume)
        return {"id": row.id, "name": name, "paused": not resume}

    say(run_work(work), as_json, f"Account {name} {'may send again' if resume else 'is paused: its submissions are refused'}.")


@account.command("tracking")
def set_tracking(
    name: AccountName,
    off: Annotated[bool, typer.Option("--off", help="Track nothing, whatever streams and messages say.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an account's streams and messages say what is tracked, or track nothing of it at all."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        row = await find_account(connection, name)
        await store.accounts.set_tracking(connection, row.id, not off)
        return {"id": row.id, "name": name, "tracking": not off}

    say(run_work(work), as_json, f"Account {name}: {'nothing is tracked' if off else 'its streams and messages say what is tracked'}.")


@domain.command("add")
def add_domain(
    account_name: AccountName,
    name: DomainName,
    ed25519: Annotated[bool, typer.Option("--ed25519", help="Sign with Ed25519 too (RFC 8463), beside RSA.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an account send as a domain, with new DKIM keys; shows the DNS records to publish."""
    algorithms: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519-sha256") if ed25519 else ("rsa-sha256",)

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        added = await domains.add_domain(connection, Keyring.load(settings.keyring_path), row.id, name, algorithms)
        return await _described(connection, settings, row.id, added.name)

    made = run_work(work)
    say(made, as_json, f"{account_name} may send as {made['name']}. Publish these DNS records:\n\n{_zone(made['records'])}")


@domain.command("list")
def list_domains(account_name: Annotated[str | None, typer.Argument(metavar="ACCOUNT")] = None, as_json: AsJson = False) -> None:
    """List the domains of an account, or of all."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        rows = [await find_account(connection, account_name)] if account_name else await store.accounts.list_accounts(connection)
        return [
            {"account": row.name, "name": found.name, "created_at": found.created_at}
            for row in rows
            for found in await store.domains.list_domains(connection, row.id)
        ]

    found = run_work(work)
    rows = [(one["name"], one["account"], day(one["created_at"])) for one in found]
    say(found, as_json, columns(("domain", "account", "added"), rows, "There is no domain yet: staffetta domain add ACCOUNT DOMAIN"))


@domain.command("records")
def show_records(account_name: AccountName, name: DomainName, as_json: AsJson = False) -> None:
    """Show the DNS records to publish for a domain."""

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        return await _described(connection, settings, (await find_account(connection, account_name)).id, normalise_domain(name))

    found = run_work(work)
    say(found, as_json, _zone(found["records"]))


@domain.command("tracking")
def set_host(
    account_name: AccountName,
    name: DomainName,
    host: Annotated[str | None, typer.Argument(help="A name below the domain, like click.shop.example.com.", metavar="HOST")] = None,
    off: Annotated[bool, typer.Option("--off", help="Take it away: links lead to this server's own name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the host of links in a domain's mail, and check whether it leads here. Run it again when its record is published."""
    if (host is None) != off:
        sys.exit("staffetta: name a HOST, or give --off")

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        domain_name = normalise_domain(name)
        resolver = Resolver(settings.dns_servers)
        seen = await look_at_host(resolver, domain_name, host, settings.public_url) if host is not None else None
        found = await set_tracking_host(connection, row.id, domain_name, seen)
        if found is None:
            return {"domain": name, "host": None}
        target = public_host(settings.public_url)
        return {"domain": name, "host": found.host, "verified_at": found.verified_at, "problem": found.problem, "target": target}

    made = run_work(work)
    words = f"Links in mail from {name} lead to this server's own name."
    if made["host"] is not None:
        words = f"Links in mail from {name} go by {made['host']}."
        if made["problem"] is not None:
            use = "It is still used." if made["verified_at"] else "It is not used yet."
            words = f"{made['problem']} {use} Publish: {made['host']}. IN CNAME {made['target']}."
    say(made, as_json, words)


@domain.command("remove")
def remove_domain(
    account_name: AccountName,
    name: DomainName,
    even_with_mail: Annotated[
        bool, typer.Option("--even-with-mail", help="Though mail from it waits, which can then not be signed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a domain and its DKIM keys away from an account."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        await domains.remove_domain(connection, row.id, normalise_domain(name), even_with_mail=even_with_mail)
        return {"account": account_name, "removed": name}

    say(run_work(work), as_json, f"{account_name} may no longer send as {name}. Remove its DNS records when no mail of it is under way.")


@key.command("create")
def create_key(
    account_name: AccountName,
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "key",
    scopes: Annotated[list[str] | None, typer.Option("--scope", help="What it allows; may be given several times. Left out: all.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="Days until it expires.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown now and never again."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        wanted = scopes or [credentials.ALL]
        keyring = Keyring.load(settings.keyring_path)
        made = await credentials.create_key(connection, keyring, row.id, name=clean_name(name), scopes=wanted, expires_at=expires_at)
        return {"id": made[0], "key": made[1], "account": account_name, "scopes": wanted, "expires_at": expires_at}

    made = run_work(work)
    say(
        made, as_json, f"{made['key']}\n\nThis is the only time it is shown. Its id is {made['id']}, it allows {', '.join(made['scopes'])}."
    )


@key.command("list")
def list_keys(account_name: AccountName, as_json: AsJson = False) -> None:
    """List an account's keys; never the secret."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        rows = await store.accounts.list_keys(connection, (await find_account(connection, account_name)).id)
        shown = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
        return [{field: getattr(row, field) for field in shown} for row in rows]

    found = run_work(work)
    rows = [
        (one["id"], one["name"], ",".join(one["scopes"]), day(one["created_at"]), day(one["last_used_at"]), _fate(one)) for one in found
    ]
    say(found, as_json, columns(("id", "name", "scopes", "created", "last used", ""), rows, "The account has no key."))


@key.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="Id of the key.", metavar="ID")], as_json: AsJson = False) -> None:
    """Revoke an API key, of whatever account."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        await credentials.revoke_key(connection, None, key_id)
        return {"id": key_id, "revoked": True}

    say(run_work(work), as_json, f"Key {key_id} is revoked; running servers forget it within {KNOWN_SECONDS:.0f} seconds.")


async def _described(connection: AsyncConnection, settings: Settings, account_id: int, name: str) -> Any:
    for row, records in await domains.list_domains(connection, account_id, public_host(settings.public_url)):
        if row.name == name:
            shown = [{"type": r.type, "name": r.name, "value": r.value, "purpose": r.purpose, "required": r.required} for r in records]
            return {"name": row.name, "records": shown}
    raise ValueError(f"The account has no domain {name}.")


def _zone(records: Sequence[dict[str, Any]]) -> str:
    """The records as lines of a zone file: texts in strings of at most 255 octets (RFC 1035 §3.3)."""
    lines = []
    for record in records:
        value = record["value"]
        texts = " ".join(f'"{value[start : start + 255]}"' for start in range(0, len(value), 255)) if record["type"] == "TXT" else value
        lines.append(f"; {record['purpose']}{'' if record['required'] else ' (advised)'}\n{record['name']}. IN {record['type']} {texts}")
    return "\n".join(lines)


def _fate(found: dict[str, Any]) -> str:
    if found["revoked_at"]:
        return f"revoked {day(found['revoked_at'])}"
    return f"expires {day(found['expires_at'])}" if found["expires_at"] else ""
