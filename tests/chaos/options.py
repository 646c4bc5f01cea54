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
    pause_seconds: float = 2.0
    overlap: float = 0.1  # share of the faults that do not wait until the rows of the worker before are settled
    lease_seconds: float = 10.0
    heartbeat_seconds: float = 2.0
    drain_seconds: float = 300.0
    watch_seconds: float = 30.0  # how long the rows of a dead worker are watched
    tenants: int = 5
    workers: int = 2
    sink_delay_ms: float = 80.0
    most_behind: int = 600
    seed: int = 1


QUICK = {
    "kills": 9,
    "flushalls": 1,
    "drains": 1,
    "freezes": 1,
    "outages": 0,
    "valkey_away_seconds": 10.0,
    "pause_seconds": 0.3,
    "overlap": 0.0,
    "lease_seconds": 3.0,
    "heartbeat_seconds": 0.5,
    "drain_seconds": 45.0,
    "tenants": 2,
    "sink_delay_ms": 50.0,
    "most_behind": 300,
}
