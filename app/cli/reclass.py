"""`reclass`: have opens and clicks of a span of time judged again, after the rules have changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from app import store
from app.cli.work import AsJson, find_account, run_whole, say
from app.config import Settings
from app.feedback.second_looks import look_at_span
from app.mail.times import read_time

app = typer.Typer()


@app.command("reclass")
def reclass(
    begin: Annotated[str, typer.Option("--from", help="Told at this time or later (RFC 3339 with offset).", metavar="TIME")],
    end: Annotated[str | None, typer.Option("--to", help="Told before this time; now unless given.", metavar="TIME")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only this account's.", metavar="NAME")] = None,
    as_json: AsJson = False,
) -> None:
    """Have opens and clicks judged again, by the rules of this release. The workers do it; only what changes is told."""

    async def work(database: store.db.Database, _settings: Settings) -> Any:
        span = read_time(begin), read_time(end) if end is not None else datetime.now(UTC)
        async with database.reading() as connection:
            chosen = [await find_account(connection, account)] if account else await store.accounts.list_accounts(connection)
        return {"hits": sum([await look_at_span(database, one.id, *span) for one in chosen])}

    done = run_whole(work)
    say(done, as_json, f"{done['hits']} opens and clicks are looked at again by the workers, from half a minute on.")
