"""Every way of receiving badly that we know, beside healthy sites: every recipient in the right state, and the healthy not slower.

Two stretches of the same open load to healthy sites, whose mails come at random, so that they meet each other too: alone, and while so
many messages go to each behaviour (`tests.doubles.behaviours`).
The house has a hundredth of RFC 5321's patience and a first wait of a second, so that what takes a day takes less than a minute. A third
stretch, with the same mail to a site that takes everything instead, tells how much of a difference is the machine's: its two cores carry
the doubles too.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import httpx2

from tests.bench.options import Options
from tests.bench.report import Report, Row, at_most, shown
from tests.bench.stretch import percentile
from tests.doubles.behaviours import (
    BEHAVIOURS,
    DELIVERED,
    RELAY,
    ZONE,
    Behaviour,
    label_of,
    providers_of,
    recipients_of,
    script_of,
    zones_of,
)
from tests.doubles.sink_log import TOLD_YES, read_log
from tests.house.house import House
from tests.house.loads import LoadRun, plan_for
from tests.house.marks import delivery_latencies_ms
from tests.house.orders import NUMBER, a_body

AGE_SECONDS = 40.0
_HEALTHY_SITES = 5
_ALONE_SECONDS = 40.0
_FATES = """
SELECT split_part(r.address, '@', -1), r.state, r.attempts, r.maybe_sent,
       concat_ws(' ', r.reason, r.last_reply, (SELECT string_agg(a.reply, ' ') FROM attempts a
                                               WHERE a.account_id = r.account_id AND a.recipient_id = r.id))
FROM recipients r WHERE r.address LIKE $1
"""
_SETTLED = ("delivered", "bounced", "expired", "failed", "suppressed", "cancelled", "held")


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the mail to one behaviour."""

    behaviour: Behaviour
    states: Counter[str]
    unsaid: int  # recipients whose reply and reason do not say what they must
    wrongly_marked: int  # maybe_sent where nothing was unsure, or the other way round
    twice: int  # told yes twice
    attempts: float  # in the mean

    def is_right(self, messages: int) -> bool:
        is_one = self.states == Counter({self.behaviour.state: messages})
        return is_one and not self.unsaid and not self.wrongly_marked and not self.twice


async def run(house: House, options: Options) -> list[Report]:
    await open_house(house)
    count, rate = options.behaviour_messages * len(BEHAVIOURS), options.healthy_rate
    await _healthy(house, rate, "warm", 1_000_000_000, options.warm_seconds * 4)
    alone = await _healthy(house, rate, "alone", 1_500_000_000, _ALONE_SECONDS)
    machine = await _beside(house, rate, "machine", 2_000_000_000, count, options.behaviour_rate, None)
    beside = await _beside(house, rate, "beside", 3_000_000_000, count, options.behaviour_rate, options.behaviour_messages)
    found = await wait_until_settled(house, options.behaviour_messages, AGE_SECONDS * 3)
    p95 = {name: percentile(values, 0.95) for name, values in (("alone", alone), ("machine", machine), ("beside", beside))}
    right = sum(one.is_right(options.behaviour_messages) for one in found)
    rows = [
        *(_row(one, options.behaviour_messages) for one in found),
        Row("behaviours with every recipient in the right state", f"{right} of {len(found)}", "all", right == len(found)),
        *(shown(f"healthy sites, {name}: p50", percentile(values, 0.5), " ms", 1) for name, values in _named(alone, machine, beside)),
        *(shown(f"healthy sites, {name}: p95", percentile(values, 0.95), " ms", 1) for name, values in _named(alone, machine, beside)),
        at_most("p95 beside the behaviours ÷ alone", p95["beside"] / p95["alone"], 1.2, "", 2),
        shown("p95 beside the behaviours ÷ beside as much mail to a site that takes it", p95["beside"] / p95["machine"], "", 2),
    ]
    return [Report("behaviours", rows, {"right": right, "of": len(found), "p95_ms": p95, "healthy_messages": len(beside)})]


def _named(*stretches: list[float]) -> list[tuple[str, list[float]]]:
    return list(zip(("alone", "beside mail that is taken", "beside the behaviours"), stretches, strict=True))


def _row(one: Found, messages: int) -> Row:
    came = ", ".join(f"{number} {state}" for state, number in one.states.most_common()) or "nothing"
    faults = [(one.unsaid, "without the reason"), (one.wrongly_marked, "marked wrongly"), (one.twice, "twice")]
    told = "; ".join([came, *(f"{number} {what}" for number, what in faults if number)])
    return Row(one.behaviour.name, f"{told} ({one.attempts:.1f} tries)", f"{messages} {one.behaviour.state}", one.is_right(messages))


# --- the house and its mail


async def open_house(house: House, age_seconds: float = AGE_SECONDS) -> None:
    """The doubles with their scripts, and a house that is in a hurry."""
    house.settings |= {
        "helo_name": RELAY,
        "retry_first_seconds": 1.0,
        "smtp_patience": 0.01,
        "max_age_hours_transactional": age_seconds / 3600,
        "providers_file": house.directory / "providers.toml",
    }
    (house.directory / "providers.toml").write_text(providers_of(BEHAVIOURS))
    house.start_sink(smarthost=False, script=script_of(BEHAVIOURS, age_seconds), host="0.0.0.0")
    house.start_zones(zones_of(BEHAVIOURS))
    house.start_api()
    house.start_workers(2)
    await house.wait_for_api()
    await house.wait_for_workers()


async def _healthy(house: House, rate: float, marks: str, first: int, seconds: float) -> list[float]:
    """Milliseconds from POST to the sink's 250 of an open load to healthy sites."""
    requests, path = {"sites": _HEALTHY_SITES}, house.directory / f"marks-{marks}.tsv"
    plan = plan_for(house, seconds=seconds, connections=4, rate=rate, seed=first, first=first, requests=requests, marks=str(path))
    outcome = await asyncio.to_thread(LoadRun(house, plan).outcome)
    await asyncio.sleep(1)
    latencies = delivery_latencies_ms(path, house.dots)
    if len(latencies) != outcome.accepted:
        raise RuntimeError(f"{outcome.accepted} messages to healthy sites were accepted and {len(latencies)} delivered")
    return latencies


async def _beside(house: House, rate: float, marks: str, first: int, count: int, bad_rate: float, each: int | None) -> list[float]:
    """The same while `count` others go out, so many a second: to the behaviours, or, without `each`, to a site that takes everything."""
    seconds = count / bad_rate + 15
    healthy = asyncio.create_task(_healthy(house, rate, marks, first, seconds))
    await asyncio.sleep(2)
    if each is None:
        recipients = [[f"customer{4_000_000_000 + number}@fine.{ZONE}"] for number in range(count)]
        await post(house, recipients, bad_rate)
    else:
        await post(house, recipients_for(each), bad_rate)
    return await healthy


def recipients_for(each: int) -> list[list[str]]:
    """The recipients of `each` messages to every behaviour, in turn."""
    return [
        recipients_of(behaviour, 5_000_000_000 + number * 1000 + place)
        for number in range(each)
        for place, behaviour in enumerate(BEHAVIOURS)
    ]


async def post(house: House, recipients: Sequence[Sequence[str]], rate: float) -> None:
    """POST one order to each, so many a second; RuntimeError when one is refused."""
    body = a_body(1, sender=house.sender, recipient="")
    gate = asyncio.Semaphore(32)
    chance = random.Random(len(recipients))
    due = list(accumulate((chance.expovariate(rate) for _ in recipients), initial=time.monotonic()))
    headers = {"Authorization": f"Bearer {house.token}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.api_port}", headers=headers, timeout=30) as client:

        async def one(place: int, to: Sequence[str]) -> None:
            await asyncio.sleep(max(0.0, due[place] - time.monotonic()))
            async with gate:
                text = json.dumps(body | {"to": to}).replace(NUMBER, f"{place:010}")
                answer = await client.post("/v1/messages", content=text, headers={"Content-Type": "application/json"})
            if answer.status_code != 202:
                raise RuntimeError(f"refused: {answer.status_code} {answer.text}")

        await asyncio.gather(*(one(place, to) for place, to in enumerate(recipients)))


# --- what became of it


async def wait_until_settled(house: House, each: int, seconds: float) -> list[Found]:
    """What became of all of it, once nothing is left to decide, or after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = await read_fates(house)
        if all(sum(one.states[state] for state in _SETTLED) >= each for one in found):
            return found
        await asyncio.sleep(0.5)
    return await read_fates(house)


async def read_fates(house: House) -> list[Found]:
    async with house.database.hot() as connection:
        rows = await connection.fetch(_FATES, f"%{ZONE}")
    told_yes = Counter(dot.recipient for dot in read_log(house.dots) if dot.verdict in TOLD_YES) if house.dots.exists() else Counter()
    twice: Counter[str] = Counter()
    for recipient, times in told_yes.items():
        twice[recipient.rpartition("@")[2]] += times - 1
    by_domain: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_domain[row[0]].append(row)
    return [_fate(behaviour, by_domain[label_of(behaviour)], twice[label_of(behaviour)]) for behaviour in BEHAVIOURS]


def _fate(behaviour: Behaviour, rows: Sequence[Any], twice: int) -> Found:
    settled = [row for row in rows if row[1] in _SETTLED]
    return Found(
        behaviour,
        states=Counter(row[1] for row in rows),
        unsaid=sum(behaviour.says not in row[4] for row in settled),
        wrongly_marked=sum(row[3] != behaviour.unsure for row in settled if row[1] == DELIVERED),
        twice=twice,
        attempts=sum(row[2] for row in rows) / max(1, len(rows)),
    )
