"""Odd content through the whole house: every mail verified by dkimpy and by Mail::DKIM, and read back equal to what was posted.

Drafts by seed (`odd_drafts`) go in by HTTP and come out at the sink. Each received mail is verified twice, its lines are looked at, and
a reader that shares nothing with us must find the subject, names, texts, files and fields that were sent (`odd_reading`). What is past
a limit must be refused with a problem of the 400s, and nothing else may be.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import dkim
import httpx2
import orjson

from app.keyring import Keyring
from app.mail.tokens import MAC_PURPOSE
from app.store.ids import parse_public_id
from tests.bench.odd_drafts import TITLE, OddDraft, make_draft
from tests.bench.odd_reading import Reading, faults_of
from tests.bench.options import Options
from tests.bench.report import Report, Row, shown
from tests.bench.stretch import wait_for_dots
from tests.doubles.dns import DnsServer
from tests.house.house import House

SEED = 20
_MOST = 2000
_POSTS_AT_ONCE = 8
_SECONDS = 600.0
_SHOWN_FAULTS = 20
_VERIFY = Path(__file__).parents[1] / "mail" / "verify.pl"
_MESSAGE_ID = re.compile(rb"^Message-ID: (<[^>]+>)\r$", re.MULTILINE)


@dataclass(slots=True)
class Found:
    """What became of a run: the files of received mails by the number of their draft, and all that is wrong."""

    drafts: list[OddDraft] = field(default_factory=list)
    expected: int = 0  # mails, one for each recipient
    recipients: dict[int, set[UUID]] = field(default_factory=dict)
    received: list[tuple[int, Path]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    by_dkimpy: int = 0
    by_mail_dkim: int = 0
    equal: int = 0
    links: int = 0
    faults: list[str] = field(default_factory=list)
    reading: Reading | None = None


async def run(house: House, options: Options) -> list[Report]:
    """All of it, with a table of what was verified."""
    found = await send_and_read(house, min(options.messages, _MOST))
    for fault in found.faults[:_SHOWN_FAULTS]:
        print(f"odd: {fault}", file=sys.stderr)
    rows = [
        shown("drafts", len(found.drafts)),
        shown("refused with a problem, as they must be", found.refused.total()),
        shown("links that were followed back through their tokens", found.links),
        _all("mails received", len(found.received), found.expected),
        _all("verified by dkimpy", found.by_dkimpy, found.expected),
        _all("verified by Mail::DKIM", found.by_mail_dkim, found.expected),
        _all("lines as SMTP wants them, and read back as posted", found.equal, found.expected),
        Row("anything wrong", f"{len(found.faults):,}", "0", not found.faults),
    ]
    figures = {
        "drafts": len(found.drafts),
        "mails": found.expected,
        "refused": dict(found.refused),
        "links": found.links,
        "dkimpy": found.by_dkimpy,
        "mail_dkim": found.by_mail_dkim,
        "equal": found.equal,
        "faults": found.faults[:_SHOWN_FAULTS],
    }
    return [Report("odd", rows, figures)]


async def send_and_read(house: House, messages: int, seed: int = SEED) -> Found:
    """Post so many drafts, wait for their mails, verify and read each."""
    mails = house.directory / "odd"
    house.start_sink(keep=mails)
    house.start_api()
    await house.wait_for_api()
    house.start_workers(1)
    found = Found([make_draft(number, seed, house.sender) for number in range(messages)])
    api = httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{house.api_port}", headers={"Authorization": f"Bearer {house.token}"}, timeout=_SECONDS
    )
    async with api:
        (await api.patch("/v1/streams/bulk", json={"title": TITLE})).raise_for_status()
        numbers = await _post_all(api, found)
        if not await wait_for_dots(house.dots, found.expected, _SECONDS):
            found.faults.append("not every mail has come")
        listed = (await api.get("/v1/domains")).json()["domains"]
    keys = {record["name"]: record["value"] for domain in listed for record in domain["records"] if "_domainkey" in record["name"]}
    found.received = _received(mails, numbers, found)
    found.reading = _reading(house)
    await asyncio.to_thread(_verify_and_read, found, keys, found.reading)
    await _verify_again(found, keys)
    return found


# --- steps


async def _post_all(api: httpx2.AsyncClient, found: Found) -> dict[bytes, int]:
    """Post all drafts; which draft each Message-ID is of."""
    numbers: dict[bytes, int] = {}
    waiting = iter(enumerate(found.drafts))

    async def post_some() -> None:
        for number, draft in waiting:
            answer = await api.post("/v1/messages", content=_as_json(draft.body), headers={"Content-Type": "application/json"})
            if answer.status_code == 202 and not draft.wrong:
                accepted = answer.json()
                numbers[accepted["message_id"].encode()] = number
                found.recipients[number] = {one for r in accepted["recipients"] if (one := parse_public_id("rcp", r["id"])) is not None}
                found.expected += len(accepted["recipients"])
            elif draft.wrong and 400 <= answer.status_code < 500 and answer.json().get("status") == answer.status_code:
                found.refused[draft.wrong] += 1
            else:
                found.faults.append(f"draft {number} ({draft.wrong or 'nothing wrong'}): {answer.status_code} {answer.text[:300]}")

    await asyncio.gather(*(post_some() for _ in range(_POSTS_AT_ONCE)))
    return numbers


def _as_json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # halves of surrogate pairs, which only escapes can write
        return json.dumps(body).encode()


def _received(mails: Path, numbers: dict[bytes, int], found: Found) -> list[tuple[int, Path]]:
    received: list[tuple[int, Path]] = []
    for path in sorted(mails.iterdir()):
        head = path.read_bytes().partition(b"\r\n\r\n")[0] + b"\r\n"
        message_id = _MESSAGE_ID.search(head)
        if message_id is None or message_id[1] not in numbers:
            found.faults.append(f"{path.name} is of no draft")
        else:
            received.append((numbers[message_id[1]], path))
    return received


def _reading(house: House) -> Reading:
    keyring = Keyring.load(house.directory / "keyring.json")
    base_url = house.read_settings().public_url.rstrip("/")
    return Reading(base_url, house.account_id, lambda key_id: keyring.find_mac_key(MAC_PURPOSE, key_id))


def _verify_and_read(found: Found, keys: dict[str, str], reading: Reading) -> None:
    records = {f"{name}.".encode(): value.encode() for name, value in keys.items()}
    for number, path in found.received:
        raw, draft = path.read_bytes(), found.drafts[number]
        try:
            verified = dkim.verify(raw, dnsfunc=lambda name, timeout=5: records.get(name))
        except dkim.DKIMException as error:
            verified = False
            found.faults.append(f"draft {number}: dkimpy: {error}")
        found.by_dkimpy += verified
        faults = faults_of(raw, draft, found.recipients[number], reading)
        found.equal += not faults
        found.links += len(draft.links) if draft.body["track"]["clicks"] else 0
        found.faults += [f"draft {number}: {fault}" for fault in faults]


async def _verify_again(found: Found, keys: dict[str, str]) -> None:
    """All mails by one process of Mail::DKIM."""
    async with DnsServer({name: {"TXT": [value]} for name, value in keys.items()}) as dns:
        process = await asyncio.create_subprocess_exec(
            *("perl", str(_VERIFY), str(dns.port), "-"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate("".join(f"{path}\n" for _, path in found.received).encode())
    verdicts: dict[str, list[str]] = {}
    for line in out.decode().splitlines():
        verdict, _, path = line.partition("\t")
        verdicts.setdefault(path, []).append(verdict)
    for number, path in found.received:
        told = verdicts.get(str(path), [])
        if told and all(verdict.startswith("pass ") for verdict in told):
            found.by_mail_dkim += 1
        else:
            found.faults.append(f"draft {number}: Mail::DKIM: {told}")


def _all(what: str, count: int, of: int) -> Row:
    return Row(what, f"{count:,} of {of:,}", "all", count == of > 0)
