"""Every command of `staffetta`, one short function each; what they do stands in the modules beside.

Imports stand inside the functions, against the rule of the house: a worker must not load the HTTP API, nor the supervisor
of `up` either of them (half a second each, at every start).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="staffetta", help="Staffetta, the email relay that companies run themselves.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

keyring = typer.Typer(help="The file of secret keys (STAFFETTA_KEYRING_PATH).", no_args_is_help=True)
app.add_typer(keyring, name="keyring")

_ROOT = Path(__file__).resolve().parents[2]
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _say_version(asked: bool) -> None:
    if asked:
        import tomllib

        print(f"staffetta {tomllib.loads((_ROOT / 'pyproject.toml').read_text())['project']['version']}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Say which release this is, and end.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Staffetta, the email relay that companies run themselves."""


@keyring.command("create")
def keyring_create() -> None:
    """Make a keyring for your own servers. Back it up: DKIM keys, API keys and webhook secrets are worth nothing without it."""
    from app.cli.settings import read_settings
    from app.keyring import Keyring, KeyringError

    path = read_settings().keyring_path
    try:
        Keyring.create(path)
    except (KeyringError, OSError) as error:
        sys.exit(f"staffetta: {error}")
    print(path.resolve())


PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File with the passphrase, instead of asking.", metavar="FILE")
]


@keyring.command("backup")
def keyring_backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there.", metavar="FILE")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write the keyring to a file that opens with a passphrase alone."""
    from app.cli.keyring import back_up
    from app.cli.settings import read_settings

    back_up(read_settings(), file, passphrase_file)


@keyring.command("restore")
def keyring_restore(
    file: Annotated[Path, typer.Argument(help="What `keyring backup` wrote.", metavar="FILE")], passphrase_file: PassphraseFile = None
) -> None:
    """Bring the keyring of a backup back to its place; one that is there is not overwritten."""
    from app.cli.keyring import restore
    from app.cli.settings import read_settings

    restore(read_settings(), file, passphrase_file)


@keyring.command("rotate")
def keyring_rotate() -> None:
    """Add a key that makes what is new; older keys stay for what they made."""
    from app.cli.keyring import rotate
    from app.cli.settings import read_settings

    rotate(read_settings())


@keyring.command("check")
def keyring_check() -> None:
    """Say whether the keyring is the one that the database was used with: exit status 0 or 1."""
    from app.cli.keyring import check

    sys.exit(check())


@app.command()
def up(
    data: Annotated[Path | None, typer.Option("--data", help="Directory of everything that is kept.", metavar="DIR")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="HTTP API; inbox and SMTP take the next six. 0: free ones.", min=0, max=65530)
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Worker processes.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON when ready, nothing else.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of all processes.")] = False,
) -> None:
    """Start everything for trial and development: PostgreSQL, Valkey, API, workers, local inbox, a first account."""
    from app.cli.up import run_up

    sys.exit(run_up(data, port, workers, as_json=as_json, verbose=verbose))


@app.command()
def serve() -> None:
    """Run the HTTP API, with your own PostgreSQL and Valkey (STAFFETTA_DATABASE_URL, STAFFETTA_REDIS_URL)."""
    from app.cli.serve import run_api
    from app.cli.settings import read_settings

    run_api(read_settings())


@app.command()
def worker() -> None:
    """Run one worker: it delivers, posts webhooks and does the chores."""
    from app.cli.settings import read_settings
    from app.worker import run

    run(read_settings())


@app.command()
def smtp() -> None:
    """Run the SMTP server that mail programs and applications send through (submission, RFC 6409)."""
    from app.cli.settings import read_settings
    from app.cli.smtp import run_smtp

    run_smtp(read_settings())


@app.command()
def inbox() -> None:
    """Run the local inbox: an SMTP server that keeps and shows what it receives."""
    from app.cli.settings import read_settings
    from app.inbox import run

    run(read_settings())


@app.command()
def migrate(
    with_keyring: Annotated[
        bool, typer.Option("--with-keyring", help="Also make the keyring when there is none and the database needs none yet.")
    ] = False,
) -> None:
    """Bring the database to the schema of this release. Safe to run twice and side by side."""
    from app.cli.prepare import run_migrate
    from app.cli.settings import read_settings

    run_migrate(read_settings(), with_keyring=with_keyring)


@app.command()
def alive() -> None:
    """Say whether the API or a worker works on this machine: exit status 0 or 1. For the health checks of containers."""
    from app.cli.alive import run_alive
    from app.cli.settings import read_settings

    sys.exit(run_alive(read_settings()))


@app.command(hidden=True)
def prepare(first_account: Annotated[Path, typer.Argument(help="File that keeps the first account's key.")]) -> None:
    """Migrate and make the first account: the part of `up` that needs the database."""
    from app.cli.prepare import run_prepare
    from app.cli.settings import read_settings

    run_prepare(read_settings(), first_account)


@app.command()
def openapi(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether openapi/openapi.json is what the API says.")] = False,
) -> None:
    """Write openapi/openapi.json from the API."""
    from app.cli.openapi import run_openapi

    sys.exit(run_openapi(check=check))


@app.command(context_settings=_PASS_ON)
def test(context: typer.Context) -> None:
    """Run the tests against real servers; arguments go to pytest."""
    from app.cli.checks import run_tests

    run_tests(context.args)


@app.command()
def check() -> None:
    """Run everything but the tests that a change must pass: lint, format, types, import rules, openapi/, migrations."""
    from app.cli.checks import run_checks

    sys.exit(run_checks())


def _dispatch(name: str, text: str) -> None:
    """A command that runs the tool `tests/<name>`."""

    @app.command(name, help=text, context_settings=_PASS_ON)
    def tool(context: typer.Context) -> None:
        from app.cli.checks import run_tool

        run_tool(name, context.args)


_dispatch("bench", "Measure: accept, delivery, queue. Arguments go to tests/bench (try --help).")
_dispatch("chaos", "Kill things under load and count. Arguments go to tests/chaos (try --help).")
_dispatch("evaluate", "Judge our reading of mail by labelled samples. Arguments go to tests/evaluate (try --help).")
_dispatch("fuzz", "Hold SMTP sessions that no client would hold. Arguments go to tests/fuzz (try --help).")


_OPERATOR_COMMANDS = ("accounts", "doctor", "erase", "held", "inbound_routes", "reclass", "smtp_credentials")


def _mount_operator_commands() -> None:
    """`account`, `held` and others. They load the database's half of the house, so only when they (or the help) are called."""
    asked = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    known = {command.name or (command.callback.__name__ if command.callback else "") for command in app.registered_commands}
    if asked in known:
        return
    for name in _OPERATOR_COMMANDS:
        app.add_typer(importlib.import_module(f"app.cli.{name}").app)


def main() -> None:
    _mount_operator_commands()
    try:
        app(prog_name="staffetta")
    except Exception as error:
        # Compared by name: most commands must not load the keyring's libraries for this.
        if type(error).__name__ != "KeyringError":
            raise
        hint = " (make one with: staffetta keyring create)" if "there is no keyring" in str(error) else ""
        sys.exit(f"staffetta: {error}{hint}")


if __name__ == "__main__":
    main()
