"""`smtp-credential`: the user names and passwords that accounts send over SMTP with."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts import decisions, smtp_credentials
from app.accounts.memory import KNOWN_SECONDS
from app.accounts.smtp_credentials import Wish, check_wish
from app.cli.work import AccountName, AsJson, clean_name, columns, day, find_account, run_whole, run_work, say
from app.config import Settings
from app.keyring import Keyring
from app.store.incidents import mark_of

app = typer.Typer()
smtp_credential = typer.Typer(
    name="smtp-credential", help="User names and passwords for sending over SMTP.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(smtp_credential)

UserName = Annotated[str, typer.Argument(help="User name of the credential.", metavar="USER")]
_SHOWN = (
    "name", "allowed_from", "networks", "recipients_per_minute", "tells_failures", "stream", "trusted_per_hour",
    "created_at", "last_used_at", "revoked_at",
)  # fmt: skip


@smtp_credential.command("create")
def create(
    account_name: AccountName,
    name: Annotated[str, typer.Option("--name", help="What or whom it is for.")] = "mail program",
    allowed_from: Annotated[
        list[str] | None, typer.Option("--from", help="An address or domain it may send as; several times. Left out: all of the account's.")
    ] = None,
    networks: Annotated[
        list[str] | None, typer.Option("--network", help="An IP address or network it may be used from; several times. Left out: all.")
    ] = None,
    per_minute: Annotated[int | None, typer.Option("--per-minute", help="Most recipients a minute.", min=1)] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Tell final failures by webhook only, not by mail to the sender.")] = False,
    stream: Annotated[str | None, typer.Option("--stream", help="Stream of its mail. Left out: transactional.")] = None,
    trusted: Annotated[
        int | None, typer.Option("--trusted-per-hour", help="So many recipients an hour are right for it, whatever its habits.", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a credential. Its password is shown now and never again."""

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        streams = [each.name for each in await store.streams.list_streams(connection, row.id)]
        wish = Wish(clean_name(name), tuple(allowed_from or ()), tuple(networks or ()), per_minute, not silent, stream, trusted)
        made, password = await smtp_credentials.create_smtp_credential(
            connection, Keyring.load(settings.keyring_path), row.id, check_wish(wish, streams)
        )
        return {"user_name": made.id, "password": password, "account": account_name} | {field: getattr(made, field) for field in _SHOWN}

    made = run_work(work)
    words = f"User name  {made['user_name']}\nPassword   {made['password']}\n\nThis is the only time that the password is shown."
    say(made, as_json, words)


@smtp_credential.command("list")
def list_all(account_name: AccountName, as_json: AsJson = False) -> None:
    """List an account's credentials; never the password."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        rows = await store.smtp_credentials.list_smtp_credentials(connection, (await find_account(connection, account_name)).id)
        return [
            {"user_name": row.id} | {field: getattr(row, field) for field in _SHOWN}
            | {"held": f"{mark_of(row.incident_id)}, {row.incident_reason}" if row.incident_id is not None else None}
            for row in rows
        ]  # fmt: skip

    found = run_work(work)
    rows = [
        (
            one["user_name"],
            one["name"],
            ",".join(one["allowed_from"]) or "all",
            ",".join(one["networks"]) or "everywhere",
            day(one["last_used_at"]),
            ", ".join(_state_of(one)),
        )
        for one in found
    ]
    say(found, as_json, columns(("user name", "name", "from", "used from", "last used", ""), rows, "The account has no SMTP credential."))


@smtp_credential.command("revoke")
def revoke(user_name: UserName, as_json: AsJson = False) -> None:
    """Revoke a credential, of whatever account."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        await smtp_credentials.revoke_smtp_credential(connection, None, user_name)
        return {"user_name": user_name, "revoked": True}

    words = f"{user_name} is revoked; open sessions end with their next message after {KNOWN_SECONDS:.0f} seconds."
    say(run_work(work), as_json, words)


@smtp_credential.command("password")
def renew(user_name: UserName, as_json: AsJson = False) -> None:
    """Give a credential another password, of whatever account; the old one is over. It is shown now and never again."""

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        keyring = Keyring.load(settings.keyring_path)
        return {"user_name": user_name, "password": await smtp_credentials.renew_password(connection, keyring, None, user_name)}

    made = run_work(work)
    say(made, as_json, f"Password   {made['password']}\n\nThis is the only time that the password is shown.")


@smtp_credential.command("release")
def release(user_name: UserName, as_json: AsJson = False) -> None:
    """Let go what is held because a credential did what it never does, and trust it with as much from now on."""
    _decide(user_name, decisions.release, "go out", as_json)


@smtp_credential.command("discard")
def discard(user_name: UserName, as_json: AsJson = False) -> None:
    """Cancel what is held because a credential did what it never does. Renew its password or revoke it first."""
    _decide(user_name, decisions.discard, "are cancelled", as_json)


def _decide(user_name: str, decision: decisions.Decision, word: str, as_json: bool) -> None:
    async def work(database: store.db.Database, _settings: Settings) -> Any:
        async with database.hot() as connection, connection.transaction():
            incident, held = await decision(connection, None, user_name, "operator")
        return {"incident_id": mark_of(incident.id), "decision": incident.decision, "recipients": held}

    done = run_whole(work)
    say(done, as_json, f"{done['recipients']} recipients {word}; workers do it within seconds.")


def _state_of(one: dict[str, Any]) -> list[str]:
    held, revoked_at = one["held"], one["revoked_at"]
    return [*([f"held: {held}"] if held else []), *([f"revoked {day(revoked_at)}"] if revoked_at else [])]
