"""`inbound-route`: the addresses at which accounts receive mail."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts import inbound_routes
from app.accounts.memory import KNOWN_SECONDS
from app.cli.work import AccountName, AsJson, columns, day, find_account, run_work, say
from app.config import Settings
from app.store.ids import parse_public_id, public_id

app = typer.Typer()
inbound_route = typer.Typer(
    name="inbound-route", help="Addresses at which accounts receive mail.", no_args_is_help=True, pretty_exceptions_enable=False,
    rich_markup_mode=None,
)  # fmt: skip
app.add_typer(inbound_route)


@inbound_route.command("create")
def create(
    account_name: AccountName,
    address: Annotated[str, typer.Argument(help="An address, or *@ a domain, of the account or below one.", metavar="ADDRESS")],
    as_json: AsJson = False,
) -> None:
    """Receive mail at an address. The MX of its domain must lead to port 25 of this relay."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        row = await inbound_routes.create_route(connection, (await find_account(connection, account_name)).id, address)
        return _shown(row)

    made = run_work(work)
    say(made, as_json, f"{made['id']}  {made['address']}\n\nThe MX of {made['address'].rpartition('@')[2]} must lead to this relay.")


@inbound_route.command("list")
def list_all(account_name: AccountName, as_json: AsJson = False) -> None:
    """List an account's inbound routes."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        rows = await store.inbound_routes.list_routes(connection, (await find_account(connection, account_name)).id)
        return [_shown(row) for row in rows]

    found = run_work(work)
    rows = [(one["id"], one["address"], day(one["created_at"])) for one in found]
    say(found, as_json, columns(("id", "address", "created"), rows, "The account has no inbound route."))


@inbound_route.command("delete")
def delete(route_id: Annotated[str, typer.Argument(help="Id of the route.", metavar="ID")], as_json: AsJson = False) -> None:
    """Delete an inbound route, of whatever account. Mail that came in stays."""

    async def work(connection: AsyncConnection, _settings: Settings) -> Any:
        some_id = parse_public_id("rte", route_id)
        if some_id is None:
            raise ValueError("An id of a route is like rte_ and 32 digits.")
        await inbound_routes.delete_route(connection, None, some_id)
        return {"id": route_id, "deleted": True}

    say(run_work(work), as_json, f"{route_id} is deleted; SMTP servers forget it within {KNOWN_SECONDS:.0f} seconds.")


def _shown(row: Any) -> dict[str, Any]:
    return {"id": public_id("rte", row.id), "address": f"{row.local}@{row.domain}", "created_at": row.created_at}
