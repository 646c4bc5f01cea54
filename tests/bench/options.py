"""What may be asked of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The defaults are for a look; the figures of docs/bench.md are made with longer runs, as it says there."""

    seconds: float = 30.0  # e2e
    warm_seconds: float = 4.0
    workers: int = 2
    connections: int = 16
    most_behind: int = 2000
    webhook_batch: int = 1
    short_seconds: float = 5.0  # one leg of accept
    messages: int = 8000  # a queue that is drained
    sites: int = 2000
    idle_messages: int = 100
    queue_rows: int = 1_000_000
    queue_settles: int = 200_000
    webhook_events: int = 10_000  # of a receiver in trouble
    webhook_haste: float = 60.0
    snapshot_seconds: float = 60.0
    behaviour_messages: int = 50  # to each behaviour
    behaviour_rate: float = 40.0  # messages a second, over all behaviours
    healthy_rate: float = 50.0  # messages a second beside them
    smtp_mails: int = 4000  # of a round, for each side
    smtp_rounds: int = 3
    smtp_processes: int = 1
    smtp_even_seconds: float = 10.0
