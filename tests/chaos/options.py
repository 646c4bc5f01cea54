"""What may be asked of a chaos run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The defaults are the full run; `QUICK` is a look at everything once, with short leases."""

    kills: int = 100
    flushalls: int = 20
    drains: int = 20
    freezes: int = 10
    outages: int = 3
    valkey_away_seconds: float = 600.0
    every_seconds: float = 6.0  # from fault to fault: many strike while the rows of the last dead worker still wait for its lease
    lease_seconds: float = 10.0
    heartbeat_seconds: float = 2.0
    drain_seconds: float = 300.0
    watch_seconds: float = 30.0  # how long the rows of a dead worker are watched
    tenants: int = 5
    workers: int = 2
    sink_delay_ms: float = 150.0
    messages_per_second: float | None = 80.0  # None: as fast as it goes
    most_behind: int = 1500
    seed: int = 1


QUICK = {
    "kills": 9,
    "flushalls": 1,
    "drains": 1,
    "freezes": 1,
    "outages": 0,
    "valkey_away_seconds": 10.0,
    "every_seconds": 3.0,
    "lease_seconds": 3.0,
    "heartbeat_seconds": 0.5,
    "drain_seconds": 150.0,
    "tenants": 2,
}
