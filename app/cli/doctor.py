"""`doctor`: what is not as it should be around Staffetta, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from app import store
from app.cli.settings import read_settings
from app.cli.work import AsJson, say
from app.watch.doctor import Strangers, examine
from app.watch.findings import Finding, Verdict, worst
from app.watch.reach import local_addresses

app = typer.Typer()
_STATUS = {Verdict.OK: 0, Verdict.SKIP: 0, Verdict.WARN: 1, Verdict.FAIL: 2}


@app.command("doctor")
def doctor(
    domain: Annotated[
        str, typer.Option("--domain", help="A domain whose mail server greets everybody, to try port 25 at.", metavar="DOMAIN")
    ] = "gmail.com",
    time_url: Annotated[
        str, typer.Option("--time-url", help="A web server with the right time; empty: none is asked.", metavar="URL")
    ] = "https://letsencrypt.org",
    as_json: AsJson = False,
) -> None:
    """Look at database, keyring, disk, DNS, port 25, names, certificates. Exit status 0 (ok), 1 (warnings) or 2 (failures)."""
    settings = read_settings()

    async def run() -> list[Finding]:
        database = store.db.Database(settings.database_url, hot_connections=1)
        try:
            return await examine(database, settings, Strangers(domain, time_url), local_addresses())
        finally:
            await database.close()

    findings = asyncio.run(run())
    say({"verdict": worst(findings), "findings": [asdict(finding) for finding in findings]}, as_json, _words(findings))
    sys.exit(_STATUS[worst(findings)])


def _words(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:4}  {finding.check}: {finding.what}")
        if finding.todo:
            lines.append(f"      → {finding.todo}")
    return "\n".join(lines)
