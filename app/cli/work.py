"""What the operator's commands have in common: one piece of work on the database, its result in words or as JSON."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.cli.settings import read_settings
from app.config import Settings
from app.errors import RelayError
from app.keyring import KeyringError

AsJson = Annotated[bool, typer.Option("--json", help="One JSON value instead of words.")]
AccountName = Annotated[str, typer.Argument(help="Name of the account.", metavar="ACCOUNT")]
Work = Callable[[AsyncConnection, Settings], Awaitable[Any]]
WholeWork = Callable[[store.db.Database, Settings], Awaitable[Any]]


def run_work(work: Work) -> Any:
    """Do the work in one transaction; what cannot be done is one line and exit status 1."""

    async def whole(database: store.db.Database, settings: Settings) -> Any:
        async with database.transaction() as connection:
            return await work(connection, settings)

    return run_whole(whole)


def run_whole(work: WholeWork) -> Any:
    """Do work that makes its own transactions; what cannot be done is one line and exit status 1."""
    settings = read_settings()

    async def run() -> Any:
        database = store.db.Database(settings.database_url)
        try:
            return await work(database, settings)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except RelayError as error:
        sys.exit(f"staffetta: {error.message}")
    except (ValueError, KeyringError) as error:
        sys.exit(f"staffetta: {error}")
    except (*store.db.SCHEMA_ERRORS, *store.db.AWAY) as error:
        sys.exit(f"staffetta: {_why(error, settings.database_url)}")


def _why(error: BaseException, url: str) -> str:
    """What keeps the database from doing it, in one line, and what to do where we know it."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, store.db.SCHEMA_ERRORS):
        return f"the database has not the schema of this release ({cause}): run staffetta migrate first"
    line = f"the database {_without_password(url)} does not answer as it should: {error}".split("\n")[0]
    if url == Settings.model_fields["database_url"].default:
        line += " (set STAFFETTA_DATABASE_URL; that of `staffetta up` stands in docs/operating.md, Roles)"
    return line


async def find_account(connection: AsyncConnection, name: str) -> Any:
    row = await store.accounts.find_account(connection, name)
    if row is None:
        raise ValueError(f"There is no account {name}.")
    return row


def say(value: Any, as_json: bool, words: str) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_UTC_Z).decode() if as_json else words)


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> str:
    if not rows:
        return nothing
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows))


def day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "-"


def clean_name(name: str) -> str:
    if not name.isprintable() or not name.strip() or len(name) > 100:
        raise ValueError("A name has 1 to 100 printable characters.")
    return name


def show_progress(word: str, every: int = 100_000) -> Callable[[int], None]:
    """What shows a line whenever so many rows more are `word`, so that one sees it work."""
    shown = 0

    def show(rows: int) -> None:
        nonlocal shown
        if rows - shown >= every:
            shown = rows
            print(f"staffetta: {rows} {word} …", file=sys.stderr, flush=True)

    return show


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
