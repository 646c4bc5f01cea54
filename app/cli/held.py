"""`restored` and `held`: what was due before a restore waits, and the operator says what becomes of it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app import store
from app.cli.work import AsJson, columns, find_account, run_whole, say, show_progress
from app.config import Settings
from app.delivery import held as held_rows
from app.delivery.restored import mark_restored as hold_what_was_due
from app.store.held import Wanted
from app.store.ids import public_id, time_of

app = typer.Typer()
held = typer.Typer(
    name="held", help="Mail that waits for your word.", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.add_typer(held)

_MOST_SHOWN = 100
Account = Annotated[str | None, typer.Option("--account", help="Only this account's.", metavar="NAME")]
Reason = Annotated[str, typer.Option("--reason", help="Only what is held for a reason that begins so.", metavar="TEXT")]
All = Annotated[bool, typer.Option("--all", help="Of all accounts and for every reason.")]


@app.command("restored")
def mark_restored(
    scheduled_too: Annotated[
        bool, typer.Option("--scheduled-too", help="Hold also what is due later: its account may have cancelled it since the backup.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run once on a restored database, before its first worker: what was due is held, the event feed goes on."""

    async def work(database: store.db.Database, _settings: Settings) -> Any:
        done = await hold_what_was_due(database, scheduled_too=scheduled_too, progress=show_progress("held"))
        return {"held": done.held, "era_offset": done.era_offset}

    done = run_whole(work)
    say(done, as_json, f"{done['held']} recipients are held. Next: staffetta held list; staffetta held release or drop")


@held.command("list")
def list_held(account: Account = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Show what is held: how many by account and reason, and the oldest recipients."""

    async def work(database: store.db.Database, _settings: Settings) -> Any:
        wanted, names = await _read_wanted(database, account, reason)
        async with database.hot() as connection:
            groups = await store.held.count_held(connection, wanted)
            rows = await store.held.list_held(connection, wanted, _MOST_SHOWN)
        return {
            "groups": [
                {"account": names[g.account_id], "reason": g.reason, "recipients": g.recipients, "oldest_at": time_of(g.oldest_id)}
                for g in groups
            ],
            "oldest": [
                {"id": public_id("rcp", r.id), "account": names[r.account_id], "to": r.address, "maybe_sent": r.maybe_sent} for r in rows
            ],
        }

    found = run_whole(work)
    counts = [(g["account"], str(g["recipients"]), f"{g['oldest_at']:%Y-%m-%d %H:%M}", g["reason"] or "") for g in found["groups"]]
    rows = [(r["id"], r["account"], r["to"], "maybe sent" if r["maybe_sent"] else "") for r in found["oldest"]]
    words = columns(("account", "recipients", "oldest", "reason"), counts, "Nothing is held.")
    if rows:
        words += "\n\n" + columns(("oldest", "account", "to", ""), rows, "")
    say(found, as_json, words)


@held.command("release")
def release_held(account: Account = None, reason: Reason = "", everything: All = False, as_json: AsJson = False) -> None:
    """Let held mail go: it is delivered now. What was sent before the backup's end arrives twice."""
    _decide("released", held_rows.release, account, reason, everything, as_json)


@held.command("drop")
def drop_held(account: Account = None, reason: Reason = "", everything: All = False, as_json: AsJson = False) -> None:
    """Cancel held mail for good, with an event for each recipient."""
    _decide("dropped", held_rows.drop, account, reason, everything, as_json)


def _decide(word: str, step: Any, account: str | None, reason: str, everything: bool, as_json: bool) -> None:
    # A word on all there is must be meant.
    if everything == bool(account or reason):
        sys.exit("staffetta: say which: --account NAME, --reason TEXT or both; or --all")

    async def work(database: store.db.Database, _settings: Settings) -> Any:
        wanted, _ = await _read_wanted(database, account, reason)
        return {word: await step(database, wanted, progress=show_progress(word))}

    done = run_whole(work)
    say(done, as_json, f"{done[word]} recipients are {word}.")


async def _read_wanted(database: store.db.Database, account: str | None, reason: str) -> tuple[Wanted, dict[int, str]]:
    async with database.reading() as connection:
        account_id = (await find_account(connection, account)).id if account else None
        return Wanted(account_id, reason), {row.id: row.name for row in await store.accounts.list_accounts(connection)}
