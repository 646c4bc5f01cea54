"""`smtp-credential`: the user names and passwords that accounts send over SMTP with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts import smtp_credentials
from app.accounts.smtp_credentials import Wish, check_wish
from app.cli.work import AccountName, AsJson, columns, find_account, run_work, say
from app.config import Settings
from app.keyring import Keyring

app = typer.Typer()
smtp_credential = typer.Typer(
    name="smtp-credential", help="User names and passwords for sending over SMTP.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(smtp_credential)

_SHOWN = (
    "name", "allowed_from", "networks", "recipients_per_minute", "tells_failures", "stream", "created_at", "last_used_at", "revoked_at",
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
    as_json: AsJson = False,
) -> None:
    """Make a credential. Its password is shown now and never again."""

    async def work(connection: AsyncConnection, settings: Settings) -> Any:
        row = await find_account(connection, account_name)
        if not name.isprintable() or not name.strip() or len(name) > 100:
            raise ValueError("A name has 1 to 100 printable characters.")
        streams = [each.name for each in await store.streams.list_streams(connection, row.id)]
        wish = Wish(name, tuple(allowed_from or ()), tuple(networks or ()), per_minute, not silent, stream)
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
        return [{"user_name": row.id} | {field: getattr(row, field) for field in _SHOWN} for row in rows]

    found = run_work(work)
    rows = [
        (
            one["user_name"],
            one["name"],
            ",".join(one["allowed_from"]) or "all",
            ",".join(one["networks"]) or "everywhere",
            _day(one["last_used_at"]),
            f"revoked {_day(one['revoked_at'])}" if one["revoked_at"] else "",
        )
        for one in found
    ]
    say(found, as_json, columns(("user name", "name", "from", "used from", "last used", ""), rows, "The account has no SMTP credential."))


@smtp_credential.command("revoke")
def revoke(user_name: Annotated[str, typer.Argument(help="User name of the credential.", metavar="USER")], as_json: AsJson = False) -> None:
    """Revoke a credential, of whatever account."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        await smtp_credentials.revoke_smtp_credential(connection, None, user_name)
        return {"user_name": user_name, "revoked": True}

    seconds = smtp_credentials.CACHE_SECONDS
    say(run_work(work), as_json, f"{user_name} is revoked; open sessions end with their next message after {seconds:.0f} seconds.")


def _day(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d") if at else "-"
