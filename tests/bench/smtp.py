"""Submission end to end: SMTP under TLS in, durable, signed with RSA-2048, SMTP out to the sink; beside Postfix with OpenDKIM.

`smtp`: rounds of a full pour, ours and Postfix's in turn, so that a disturbance of the machine meets both; then both at one rate
that both can keep, for the CPU of a mail and the time of its way; then a new session (TCP, TLS, log-in) for each mail. One load
generator, one sink and one certificate for both. We do more than Postfix there: log-in, status and history of each mail;
tests.house.postfix says what it is spared.

`smtp-large`: a tenant pours mail with files of 200 KB, another sends orders of 10 KB: the latter's time to the sink, without and with.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import dkim

from app import store
from app.accounts.smtp_credentials import Wish, create_smtp_credential
from app.keyring import Keyring
from app.smtpd.certificate import development_certificate
from tests.bench.options import Options
from tests.bench.report import Report, Row, at_least, at_most, shown
from tests.bench.stretch import accepted_dots, percentile
from tests.house.cpu import CpuMeter
from tests.house.house import DOMAIN, OURS, House, free_port
from tests.house.load import Outcome
from tests.house.loads import LoadRun, count_lines
from tests.house.marks import delivery_latencies_ms
from tests.house.postfix import Postfix, missing_packages
from tests.house.requests import number_of
from tests.house.smtp_load import SmtpPlan

_DRAIN_SECONDS = 120.0
_KEPT_EACH = 50
_WARM_MAILS = 200
_EVEN_SHARE = 0.6  # of what the slower of the two can pour
_LARGE_BYTES = 200 * 1024
_LARGE_CONNECTIONS = 4
_SMALL_RATE = 40.0
_THEIRS = ("postfix", "opendkim")


@dataclass(frozen=True, slots=True)
class Pour:
    """What came of some mails: rates from the first command on, CPU milliseconds a mail by part."""

    outcome: Outcome
    delivered: int
    delivered_rate: float
    cpu: dict[str, float]
    latencies_ms: list[float]

    @property
    def accepted_rate(self) -> float:
        return self.outcome.accepted / self.outcome.seconds

    def cpu_of(self, parts: tuple[str, ...]) -> float:
        return sum(self.cpu[name] for name in parts)


class _Match:
    """Both sides in one house, before one sink."""

    def __init__(self, house: House, options: Options, sink_pid: int, plans: Mapping[str, SmtpPlan], postfix: Postfix) -> None:
        self._house = house
        self._options = options
        self._plans = plans
        self._parts = house.parts(sink=[sink_pid], **postfix.pids)
        self._postfix = postfix
        self._next = 1
        self.mails = 0

    async def pour(self, side: str, **changes: Any) -> Pour:
        """Let one side take some mails, and wait for the last one to arrive."""
        fields = {"connections": self._options.connections, "first": self._next, "marks": str(self._house.directory / "marks.tsv")}
        plan = _replace(self._plans[side], fields | changes)
        before = count_lines(self._house.dots)
        load = LoadRun(self._house, plan)
        meter = CpuMeter(self._parts | {"load": [load.child.pid]})
        outcome = await asyncio.to_thread(load.outcome)
        await _arrived(self._house.dots, before + outcome.accepted)
        cpu = meter.read()
        dots = [dot for dot in accepted_dots(self._house.dots, outcome.began_at) if number_of(dot.recipient) >= plan.first]
        if len(dots) != outcome.accepted or outcome.broken or set(outcome.answers) != {"250"}:
            raise RuntimeError(f"{side}: {len(dots)} arrived, {outcome}; {self._postfix.queue()}")
        latencies = delivery_latencies_ms(Path(str(plan.marks)), self._house.dots)
        self._next += 1_000_000
        self.mails += outcome.accepted
        each = {name: seconds * 1000 / outcome.accepted for name, seconds in cpu.items()}
        each["load"] = outcome.cpu_ms_each  # it ends before the meter is read
        return Pour(outcome, len(dots), len(dots) / (dots[-1].time - outcome.began_at), each, latencies)


async def run(house: House, options: Options) -> list[Report]:
    if missing := missing_packages():
        sys.exit(f"bench: smtp needs Debian packages: DEBIAN_FRONTEND=noninteractive apt-get install {' '.join(missing)}")
    kept = house.directory / "kept"
    sink = house.start_sink(keep=kept, keep_each=_KEPT_EACH)
    ours = await _start_ours(house, options)
    certificate = development_certificate(house.directory, "localhost")
    postfix = await asyncio.to_thread(
        lambda: Postfix(house.directory / "postfix", port=free_port(), sink_port=house.sink_port, domain=DOMAIN, certificate=certificate)
    )
    try:
        theirs = SmtpPlan(port=postfix.port, sender=house.sender)
        match = _Match(house, options, sink.pid, {"ours": ours, "postfix": theirs}, postfix)
        figures = await _play(match, options)
        records = await _records(house) | postfix.record
        figures["verified"], figures["looked_at"] = await asyncio.to_thread(_verify, kept, records)
    finally:
        postfix.stop()
    return [Report("smtp", _rows(figures, options), figures)]


async def _play(match: _Match, options: Options) -> dict[str, Any]:
    sides = ("ours", "postfix")
    for side in sides:
        await match.pour(side, count=_WARM_MAILS)
    rounds: dict[str, list[Pour]] = {side: [] for side in sides}
    for _ in range(options.smtp_rounds):
        for side in sides:
            rounds[side].append(await match.pour(side, count=options.smtp_mails))
    piped = {side: await match.pour(side, count=options.smtp_mails // 2, pipelined=True) for side in sides}
    rate = _EVEN_SHARE * min(median(one.delivered_rate for one in rounds[side]) for side in sides)
    even = {side: await match.pour(side, rate=rate, seconds=options.smtp_even_seconds) for side in sides}
    alone = {side: await match.pour(side, count=options.smtp_mails // 4, per_session=1) for side in sides}
    return {"rounds": rounds, "piped": piped, "rate": rate, "even": even, "alone": alone}


def _rows(figures: dict[str, Any], options: Options) -> list[Row]:
    ours, theirs = figures["rounds"]["ours"], figures["rounds"]["postfix"]
    ratios = [mine.delivered_rate / other.delivered_rate for mine, other in zip(ours, theirs, strict=True)]
    figures["ratios"] = ratios
    count = f"{options.smtp_rounds} × {options.smtp_mails:,} mails"
    rows = [
        shown(f"delivered, {count}", median(one.delivered_rate for one in ours), "/s"),
        shown("… Postfix and OpenDKIM", median(one.delivered_rate for one in theirs), "/s"),
        at_least("ratio, median", median(ratios), 2.5, "", 2),
        Row("… of each round", " ".join(f"{ratio:.2f}" for ratio in ratios)),
        shown("accepted", median(one.accepted_rate for one in ours), "/s"),
        shown("… Postfix", median(one.accepted_rate for one in theirs), "/s"),
        *_cpu_rows("CPU per mail, full pour", ours, theirs),
    ]
    even, piped, alone = figures["even"], figures["piped"], figures["alone"]
    rows += _cpu_rows(f"CPU per mail at {figures['rate']:,.0f}/s", [even["ours"]], [even["postfix"]])
    rows.append(_ways(f"sent to received at {figures['rate']:,.0f}/s: p50, p95", even["ours"]))
    rows.append(_ways("… Postfix", even["postfix"]))
    rows.append(shown("delivered, MAIL RCPT DATA in one write", piped["ours"].delivered_rate, "/s"))
    rows.append(shown("… Postfix", piped["postfix"].delivered_rate, "/s"))
    rows.append(shown("delivered, a new session for each mail", alone["ours"].delivered_rate, "/s"))
    rows.append(shown("… Postfix", alone["postfix"].delivered_rate, "/s"))
    rows += _cpu_rows("CPU per mail, a new session for each", [alone["ours"]], [alone["postfix"]])
    rows.append(shown("CPU of the load per mail", median(one.cpu["load"] for one in ours), " ms", 3))
    rows.append(Row("of one in fifty: signed, by dkimpy", f"{figures['verified']} of {figures['looked_at']}", "all", _all(figures)))
    return rows


def _all(figures: Mapping[str, Any]) -> bool:
    return bool(figures["looked_at"] and figures["verified"] == figures["looked_at"])


def _cpu_rows(what: str, ours: list[Pour], theirs: list[Pour]) -> list[Row]:
    parts = {name: median(one.cpu[name] for one in ours) for name in OURS if any(one.cpu[name] > 0.0005 for one in ours)}
    return [
        shown(what, median(one.cpu_of(OURS) for one in ours), " ms", 3),
        Row("… " + ", ".join(parts), " ".join(f"{ms:.3f}" for ms in parts.values()) + " ms"),
        shown("… Postfix and OpenDKIM", median(one.cpu_of(_THEIRS) for one in theirs), " ms", 3),
        Row("… " + ", ".join(_THEIRS), " ".join(f"{median(one.cpu[name] for one in theirs):.3f}" for name in _THEIRS) + " ms"),
    ]


def _ways(what: str, pour: Pour) -> Row:
    return Row(what, f"{percentile(pour.latencies_ms, 0.5):.1f} ms, {percentile(pour.latencies_ms, 0.95):.1f} ms")


# --- large mail beside small mail


async def run_large(house: House, options: Options) -> list[Report]:
    house.start_sink()
    small = await _start_ours(house, options)
    account_id, _, sender = await house.add_account("pourer", "pourer.example.test")
    user, password = await _new_credential(house, account_id)
    large = _replace(small, {"sender": sender, "user": user, "password": password, "domain": "large.example", "first": 500_000_000})
    await asyncio.to_thread(LoadRun(house, _replace(small, {"count": _WARM_MAILS, "connections": 4})).outcome)
    seconds = options.smtp_even_seconds
    alone, alone_accepted = await _orders(house, small, seconds, 1_000_000)
    pouring = LoadRun(
        house, _replace(large, {"attachment_bytes": _LARGE_BYTES, "connections": _LARGE_CONNECTIONS, "seconds": seconds + 4.0})
    )
    await asyncio.sleep(2.0)
    beside, beside_accepted = await _orders(house, small, seconds, 2_000_000)
    poured = await asyncio.to_thread(pouring.outcome)
    p95 = [percentile(latencies, 0.95) for latencies in (alone, beside)]
    figures = {
        "alone_ms": [percentile(alone, share) for share in (0.5, 0.95, 0.99)],
        "beside_ms": [percentile(beside, share) for share in (0.5, 0.95, 0.99)],
        "accepted_p50_ms": [alone_accepted, beside_accepted],
        "poured_per_second": poured.rate,
        "poured_answers": poured.answers,
        "ratio": p95[1] / p95[0],
    }
    rows = [
        Row(f"10 KB at {_SMALL_RATE:.0f}/s, sent to received, alone: p50, p95", _pair(alone)),
        Row("… while another tenant pours 200 KB", _pair(beside)),
        Row("… of it to our 250, alone and beside: p50", f"{alone_accepted:.1f} ms, {beside_accepted:.1f} ms"),
        at_most("p95 beside ÷ alone", figures["ratio"], 2.0, "", 2),
        shown(f"200 KB mails accepted over {_LARGE_CONNECTIONS} connections", poured.rate, "/s"),
    ]
    return [Report("smtp-large", rows, figures)]


def _pair(latencies: list[float]) -> str:
    return f"{percentile(latencies, 0.5):.1f} ms, {percentile(latencies, 0.95):.1f} ms"


async def _orders(house: House, plan: SmtpPlan, seconds: float, first: int) -> tuple[list[float], float]:
    """Milliseconds from sending to the sink, of a steady trickle; and to the 250 of our door, at the middle."""
    marks = house.directory / "marks.tsv"
    trickle = _replace(plan, {"connections": 4, "rate": _SMALL_RATE, "seconds": seconds, "first": first, "marks": str(marks)})
    outcome = await asyncio.to_thread(LoadRun(house, trickle).outcome)
    for _ in range(600):
        latencies = delivery_latencies_ms(marks, house.dots)
        if len(latencies) >= outcome.accepted:
            return latencies, outcome.p50_ms
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{len(latencies)} of {outcome.accepted} orders arrived")


# --- what both need


async def _start_ours(house: House, options: Options) -> SmtpPlan:
    """SMTP server and workers; how our own is to be sent to. Nothing is tracked, as at Postfix."""
    house.start_smtp(submission_processes=options.smtp_processes)
    await house.wait_for_smtp()
    house.start_workers(options.workers)
    await house.wait_for_workers()
    user, password = await _new_credential(house, house.account_id)
    return SmtpPlan(port=house.submission_port, sender=house.sender, user=user, password=password)


async def _new_credential(house: House, account_id: int) -> tuple[str, str]:
    """For untracked mail; trusted with all that the bench pours."""
    keyring = Keyring.load(house.directory / "keyring.json")
    async with house.database.transaction() as connection:
        await store.streams.update_stream(connection, account_id, "transactional", {"track_opens": False, "track_clicks": False})
        row, password = await create_smtp_credential(connection, keyring, account_id, Wish("pourer", trusted_per_hour=10_000_000))
    return row.id, password


async def _arrived(dots: Path, count: int) -> None:
    """Until the sink's log has `count` lines; looked at often, because CPU is counted until then."""
    for _ in range(int(_DRAIN_SECONDS / 0.02)):
        if count_lines(dots) >= count:
            return
        await asyncio.sleep(0.02)


async def _records(house: House) -> dict[str, str]:
    async with house.database.reading() as connection:
        keys = await store.domains.list_sealed(connection)
    return {f"{key.selector}._domainkey.{key.name}": key.public_record for key in keys}


def _verify(kept: Path, records: Mapping[str, str]) -> tuple[int, int]:
    """(how many of the kept mails dkimpy verifies, how many there are)."""
    zone = {f"{name}.".encode(): value.encode() for name, value in records.items()}
    mails = [path.read_bytes() for path in kept.iterdir()]
    return sum(bool(dkim.verify(raw, dnsfunc=lambda name, timeout=5: zone.get(name))) for raw in mails), len(mails)


def _replace(plan: SmtpPlan, changes: Mapping[str, Any]) -> SmtpPlan:
    return replace(plan, **changes)
