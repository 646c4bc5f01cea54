"""What `doctor` found: one line that says what is, one that says what to do. And the rules by which figures are judged, pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    SKIP = "skip"  # not looked at, and why; nothing is said to be well
    WARN = "warn"  # it works, and will not always
    FAIL = "fail"  # mail is lost, refused or stands still


_ORDER = (Verdict.SKIP, Verdict.OK, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Finding:
    """`todo` is empty when all is well."""

    check: str
    verdict: Verdict
    what: str
    todo: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Verdict.OK, what)


def skip(check: str, why: str) -> Finding:
    return Finding(check, Verdict.SKIP, why)


def warn(check: str, what: str, todo: str) -> Finding:
    return Finding(check, Verdict.WARN, what, todo)


def fail(check: str, what: str, todo: str) -> Finding:
    return Finding(check, Verdict.FAIL, what, todo)


def worst(findings: Sequence[Finding]) -> Verdict:
    return max((finding.verdict for finding in findings), key=_ORDER.index, default=Verdict.OK)


def judge_clock(of: str, ahead_seconds: float) -> Finding:
    """Leases, retries, signatures and ids go by the clock."""
    what = f"our clock and that of {of} differ by {abs(ahead_seconds):.1f} s"
    todo = "run an NTP client (systemd-timesyncd, chrony) on every machine"
    if abs(ahead_seconds) < 2:
        return ok("clock", what)
    return (warn if abs(ahead_seconds) < 30 else fail)("clock", what, todo)


def judge_disk(place: str, free_bytes: int, total_bytes: int) -> Finding:
    share = free_bytes / total_bytes if total_bytes else 0.0
    what = f"{place}: {free_bytes / 2**30:.1f} GiB free ({share:.0%})"
    todo = "add space, or shorten STAFFETTA_CONTENT_RETENTION_DAYS; a full disk refuses mail"
    if share < 0.03 or free_bytes < 2**29:
        return fail("disk", what, todo)
    return warn("disk", what, todo) if share < 0.1 or free_bytes < 2**31 else ok("disk", what)


def judge_commit(milliseconds: float) -> Finding:
    what = f"a commit takes {milliseconds:.1f} ms"
    todo = "give PostgreSQL's WAL a disk with fast fsync (NVMe, or a controller with a battery): each accepted message waits for it"
    if milliseconds < 10:
        return ok("fsync", what)
    return (warn if milliseconds < 100 else fail)("fsync", what, todo)


def judge_certificate(host: str, days_left: float) -> Finding:
    what = f"the certificate of {host} is valid for {days_left:.0f} more days"
    if days_left > 10:
        return ok("certificate", what)
    return (warn if days_left > 2 else fail)(
        "certificate", what, "look why the proxy does not renew it (its log; ports 80 and 443 from outside)"
    )


def judge_postgres(settings: Mapping[str, str], api_processes: int, workers: int) -> list[Finding]:
    """What the promises rest on, and room for the connections of all processes (17 and 18 each, docs/operating.md)."""
    found = []
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if settings[name] == "off"]
    if off:
        found.append(
            fail("postgres", f"{', '.join(off)} off: accepted mail is lost with the power", "set it to on in postgresql.conf and reload")
        )
    version = int(settings["server_version_num"])
    if version < 180000:
        found.append(warn("postgres", f"PostgreSQL {version // 10000}: this release is tested with 18", "upgrade with pg_upgrade"))
    room = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    needed = 17 * api_processes + 18 * workers
    if needed > room:
        todo = f"set max_connections to at least {needed + 20}"
        found.append(
            warn("postgres", f"room for {room} connections; {api_processes} API processes and {workers} workers may take {needed}", todo)
        )
    return found or [ok("postgres", f"PostgreSQL {version // 10000}, durable, room for {room} connections of {needed} needed")]
