"""Figures for Prometheus: what PostgreSQL knows (queue, workers, webhooks, what waits for loops) beside what was counted.

What a module counts it declares itself. Processes that answer no HTTP (SMTP, workers) tell what they counted (`tell_figures`): it is shown
with the label `process`. The state of a worker stands in its heartbeat row. So one scrape of the API shows all of them on every machine;
who leaves takes its counts along, which is what Prometheus expects of a label that ends. The database is asked once in a few seconds.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from app import store
from app.store.ids import milliseconds_of
from app.store.owed_reports import OwedKind, OwedOfKind
from app.store.second_looks import LooksDue

CONTENT_TYPE = CONTENT_TYPE_LATEST
TELL_SECONDS = 5.0
_FRESH_SECONDS = 5.0
_OURS, _WHEN = "staffetta_", "_created"
_CLASSES = {0: "transactional", 1: "bulk"}

problems = Counter("staffetta_problems_total", "Refusals answered by this process, of requests and of items in batches, by code.", ["code"])


async def tell_figures(database: store.db.Database, role: str) -> None:
    """A step of a loop: have what this process counted shown by an API process."""
    own = [
        (
            family.name,
            family.documentation,
            family.type,
            [(each.name, each.labels, each.value) for each in family.samples if not each.name.endswith(_WHEN)],
        )
        for family in REGISTRY.collect()
        if family.name.startswith(_OURS)
    ]
    async with database.hot() as connection:
        await store.figures.write_figures(connection, f"{role} {socket.gethostname()}:{os.getpid()}", orjson.dumps(own).decode())


class Figures:
    """The figures of the database, remembered for a few seconds."""

    def __init__(self, database: store.db.Database) -> None:
        self._database = database
        self._read_at = 0.0
        self._families: list[Metric] = []
        self._told: list[tuple[str, str]] = []

    async def render(self) -> bytes:
        """The exposition text. Without PostgreSQL only this process's own counts, and staffetta_database_up 0."""
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            try:
                async with self._database.hot() as connection:
                    depths = await store.queue.read_depths(connection)
                    workers = await store.workers.read_figures(connection)
                    webhooks = await store.webhook_rounds.read_total_lag(connection)
                    owed = await store.owed_reports.read_owed(connection)
                    inbound = await store.inbound.read_oldest_waiting(connection)
                    looks = await store.second_looks.read_due(connection)
                    self._told = await store.figures.read_told(connection)
                self._families = [
                    _up(1), *_queue_families(depths), *_worker_families(workers), *_webhook_families(webhooks),
                    *_report_families(owed), *_inbound_families(*inbound), *_look_families(looks),
                ]  # fmt: skip
                self._read_at = time.monotonic()
            except store.db.CONNECTION_ERRORS:
                self._families, self._told = [_up(0)], []
        registry = CollectorRegistry()
        registry.register(_Fixed([*_counted_families(self._told), *self._families]))
        return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _counted_families(told: list[tuple[str, str]]) -> list[Metric]:
    """What this process counted, and with their names what others did."""
    families = {family.name: family for family in REGISTRY.collect()}
    for teller, text in told:
        for name, documentation, kind, samples in orjson.loads(text):
            family = families.setdefault(name, Metric(name, documentation, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, labels | {"process": teller}, value)
    return list(families.values())


def _up(value: int) -> Metric:
    return GaugeMetricFamily("staffetta_database_up", "Whether PostgreSQL answered.", value=value)


def _queue_families(depths: list[store.queue.Depth]) -> list[Metric]:
    rows = GaugeMetricFamily("staffetta_queue_recipients", "Recipients in the queue.", labels=["class", "state"])
    age = GaugeMetricFamily(
        "staffetta_queue_oldest_ready_seconds", "For how long the oldest ready recipient has been due.", labels=["class"]
    )
    for lane_class, name in _CLASSES.items():
        of_class = {depth.state: depth for depth in depths if depth.lane_class == lane_class}
        for state in ("ready", "claimed", "waiting", "held"):
            rows.add_metric([name, state], of_class[state].rows if state in of_class else 0)
        age.add_metric([name], of_class["ready"].oldest_seconds if "ready" in of_class else 0.0)
    return [rows, age]


def _worker_families(workers: list[tuple[int, str]]) -> list[Metric]:
    settled = CounterMetricFamily("staffetta_settled_recipients", "Outcomes written, by worker.", labels=["worker", "outcome"])
    in_hand = GaugeMetricFamily("staffetta_worker_recipients_in_hand", "Claimed and not yet settled.", labels=["worker"])
    conversing = GaugeMetricFamily("staffetta_worker_conversations", "SMTP conversations under way.", labels=["worker"])
    idle = GaugeMetricFamily("staffetta_worker_idle_connections", "Open connections that nobody uses right now.", labels=["worker"])
    opened = CounterMetricFamily("staffetta_worker_connections_opened", "Connections opened to receiving servers.", labels=["worker"])
    latency = HistogramMetricFamily("staffetta_delivery_seconds", "From acceptance (or send_at) to the next hop's 250.", labels=["worker"])
    for worker_id, text in workers:
        figures: dict[str, Any] = orjson.loads(text)
        label = str(worker_id)
        for outcome, count in figures.get("outcomes", {}).items():
            settled.add_metric([label, outcome], count)
        in_hand.add_metric([label], figures.get("in_hand", 0))
        conversing.add_metric([label], figures.get("conversing", 0))
        idle.add_metric([label], figures.get("connections_idle", 0))
        opened.add_metric([label], figures.get("connections_opened", 0))
        if buckets := figures.get("delivery_seconds"):
            latency.add_metric([label], [(le, n) for le, n in buckets["buckets"]], sum_value=buckets["sum"])
    return [settled, in_hand, conversing, idle, opened, latency]


def _webhook_families(lag: store.webhook_rounds.TotalLag) -> list[Metric]:
    oldest = _age_of(lag.oldest_event_id)
    return [
        GaugeMetricFamily("staffetta_webhook_endpoints", "Enabled webhook endpoints.", value=lag.endpoints),
        GaugeMetricFamily("staffetta_webhook_waiting_posts", "Posts that failed and will be tried again.", value=lag.waiting_posts),
        GaugeMetricFamily("staffetta_webhook_lag_seconds", "Age of the oldest event that an enabled endpoint was not told.", value=oldest),
    ]


def _report_families(owed: list[OwedOfKind]) -> list[Metric]:
    rows = GaugeMetricFamily("staffetta_owed_reports", "Recipients of whom a sender is still to be told by mail.", labels=["kind", "state"])
    age = GaugeMetricFamily("staffetta_owed_report_oldest_seconds", "For how long the oldest could have been told.", labels=["kind"])
    found = {of_kind.kind: of_kind for of_kind in owed}
    for kind in OwedKind:
        of_kind = found.get(kind, OwedOfKind(kind, 0, 0, 0, 0.0))
        rows.add_metric([kind, "waiting"], of_kind.waiting - of_kind.failed)
        rows.add_metric([kind, "failed"], of_kind.failed)
        rows.add_metric([kind, "given_up"], of_kind.given_up)
        age.add_metric([kind], of_kind.oldest_seconds)
    return [rows, age]


def _inbound_families(waiting: int, oldest_id: UUID | None) -> list[Metric]:
    return [
        GaugeMetricFamily("staffetta_inbound_waiting", "Mails that came in and are not read yet.", value=waiting),
        GaugeMetricFamily("staffetta_inbound_oldest_seconds", "Age of the oldest of them.", value=_age_of(oldest_id)),
    ]


def _look_families(due: LooksDue) -> list[Metric]:
    rows = GaugeMetricFamily("staffetta_second_looks", "Opens and clicks that are to be judged again.", labels=["state"])
    rows.add_metric(["due"], due.rows)
    rows.add_metric(["given_up"], due.given_up)
    age = GaugeMetricFamily("staffetta_second_look_oldest_seconds", "For how long the oldest of them is due.", value=due.oldest_seconds)
    return [rows, age]


def _age_of(some_id: UUID | None) -> float:
    return time.time() - milliseconds_of(some_id) / 1000 if some_id is not None else 0.0
