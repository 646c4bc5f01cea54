"""`erase`: forget one person's address in one account."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from app import store
from app.cli.work import AccountName, AsJson, find_account, run_whole, say, show_progress
from app.config import Settings
from app.feedback.erasure import Erased, erase

app = typer.Typer()
_SHOWN_EVERY = 1_000_000


@app.command("erase")
def erase_address(
    name: AccountName,
    email: Annotated[str, typer.Argument(help="The person's address.", metavar="ADDRESS")],
    as_json: AsJson = False,
) -> None:
    """Erase a person's address, and what is kept of mail to it, from an account. What waits for it is cancelled. It cannot be undone."""

    async def work(database: store.db.Database, _settings: Settings) -> Any:
        async with database.reading() as connection:
            account_id = (await find_account(connection, name)).id
        return await erase(database, account_id, email, progress=show_progress("recipients read", _SHOWN_EVERY))

    done: Erased = run_whole(work)
    say(asdict(done), as_json, _words(done))
    if done.in_hand:
        sys.exit(1)


def _words(done: Erased) -> str:
    told = f"{done.recipients} recipients erased, with {done.attempts} attempts and {done.events} events"
    emptied = f"{done.contents} contents, {done.messages} subjects with metadata, {done.reactivations} reactivations"
    lines = [
        f"{told}; {done.cancelled} of them waited and are cancelled.",
        f"{emptied} and {done.webhook_answers} answers of webhook receivers erased.",
        f"{done.inbound} mails that came in from the address erased.",
    ]
    if done.suppressions_kept:
        lines.append(f"{done.suppressions_kept} suppressions stay, so that the address is not written to again.")
    if done.contents_kept:
        lines.append(f"{done.contents_kept} contents stay until their day, because other recipients still wait for them.")
    if done.in_hand:
        lines.append(f"{done.in_hand} recipients are being delivered to right now and are not erased: run this again.")
    return "\n".join(lines)
