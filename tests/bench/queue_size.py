"""The queue at two sizes: claims and settles of 1,000,000 rows against 10,000, over 5,000 sites and 200 tenants, half deferred.

The claim loop is the house's own (delivery.claims) on a worker that finds the queue as it is, by its surveys; conversations are
left out: what is claimed is settled as delivered, 200 rows at a time. The large queue is measured after `queue_settles` settles and while a
transaction of somebody else has held its snapshot for `snapshot_seconds`, so that no dead row could be removed.
A few sites get most rows: the site of a row is 5,000 × r³ for an even r.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self

from app import store
from app.config import Settings
from app.delivery.claims import Claims
from app.jobs import Wakes
from app.store.db import Database
from app.store.ids import new_id
from app.store.migrate import upgrade
from app.store.queue import Claimed
from app.store.settlement import AttemptRow, Settlement
from app.store.states import RecipientState
from tests.bench.options import Options
from tests.bench.report import Report, at_least, shown
from tests.house.house import House

_SMALL_ROWS = 10_000
_SMALL_ROUNDS = 5
_MEASURED_ROWS = 40_000
_SETTLERS = 2
_SETTLE_ROWS = 200
_CHUNK = 100_000
_LEASE_SECONDS = 3600.0

_FILL = """
WITH made AS MATERIALIZED (
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n / 100), 12, '0') || '7' || substr(m, 1, 3) || '8' || substr(m, 4, 11)
            || '0001')::uuid AS id,
           1 + floor(200 * random())::int AS account_id, 1 + floor(5000 * power(random(), 3))::int AS site_id,
           (random() < 0.5)::int AS class, random() < 0.5 AS ready, random() AS later
    FROM (SELECT n, md5(n || random()::text) AS m FROM generate_series(1, $1) n) s
), known AS (
    INSERT INTO recipients (account_id, id, address, kind, state)
    SELECT account_id, id, 'customer@site' || site_id || '.example', 'to', CASE WHEN ready THEN 'ready' ELSE 'deferred' END FROM made
)
INSERT INTO queue (recipient_id, due_at, account_id, site_id, bytes, class, ready)
SELECT id, CASE WHEN ready THEN now() - later * interval '1 hour' ELSE now() + (2 + later) * interval '1 hour' END,
       account_id, site_id, 10000, class, ready FROM made
"""


async def run(house: House, options: Options) -> list[Report]:
    small_url, large_url = await _two_databases(house)
    small, large = Database(small_url), Database(large_url)
    try:
        small_rates = []
        for _ in range(_SMALL_ROUNDS):
            await _refill(small, _SMALL_ROWS)
            async with Bout(small, house) as bout:
                small_rates.append(await bout.settle(_SMALL_ROWS // 2 - 200))
        await _refill(large, options.queue_rows)
        figures = await _measure_large(large, house, options)
    finally:
        await small.close()
        await large.close()
    rate = sorted(small_rates)[_SMALL_ROUNDS // 2]
    figures |= {"small_rate": rate, "small_rates": small_rates, "ratio": figures["large_rate"] / rate}
    rows = [
        shown(f"claim and settle, {_SMALL_ROWS:,} rows", rate, " rows/s"),
        shown(f"claim and settle, {options.queue_rows:,} rows, fresh", figures["large_rate_before"], " rows/s"),
        shown(
            f"… after {figures['settled']:,} settles, a snapshot held for {figures['held_seconds']:.0f} s", figures["large_rate"], " rows/s"
        ),
        shown("… by a worker that starts then", figures["large_rate_of_a_new_worker"], " rows/s"),
        at_least("ratio", figures["ratio"], 0.8, "", 2),
    ]
    return [Report("queue", rows, figures)]


async def _measure_large(large: Database, house: House, options: Options) -> dict[str, Any]:
    holder = await large.open_hot()
    most = min(_MEASURED_ROWS, options.queue_rows // 10)
    try:
        async with Bout(large, house) as bout:
            before = await bout.settle(most)
            await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await holder.fetchval("SELECT count(*) FROM (SELECT FROM queue LIMIT 1) one")
            began = time.monotonic()
            settled = min(options.queue_settles, options.queue_rows // 4)
            await bout.settle(settled)
            bout.paused = True
            await asyncio.sleep(max(0.0, began + options.snapshot_seconds - time.monotonic()))
            bout.paused = False
            rate = await bout.settle(most)
        async with Bout(large, house) as fresh:
            fresh_rate = await fresh.settle(most // 4)
        return {
            "large_rate_before": before,
            "large_rate": rate,
            "large_rate_of_a_new_worker": fresh_rate,
            "settled": settled,
            "held_seconds": time.monotonic() - began,
        }
    finally:
        await holder.close()


class Bout:
    """One worker that claims and settles."""

    def __init__(self, database: Database, house: House) -> None:
        self._database = database
        self._settings = house.read_settings()
        self._wakes = Wakes(house.servers.redis_url)
        self._lines: asyncio.Queue[list[Claimed]] = asyncio.Queue()
        self._held: set[Any] = set()
        self._buffered: Counter[tuple[int, int]] = Counter()
        self._settled_at: list[tuple[float, int]] = []
        self._settled = 0
        self.paused = False

    async def __aenter__(self) -> Self:
        async with self._database.hot() as connection:
            self._owner = await store.workers.register_worker(connection, "bench", _LEASE_SECONDS)
        self._claims = self._make_claims(self._settings)
        self._claiming = asyncio.create_task(self._claims.run())
        self._settlers = [asyncio.create_task(self._settle_for_ever()) for _ in range(_SETTLERS)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._claims.stop()
        await self._claiming
        while self._held and error is None:
            await asyncio.sleep(0.01)
        for task in self._settlers:
            task.cancel()
        await asyncio.gather(*self._settlers, return_exceptions=True)
        await self._wakes.close()

    async def settle(self, rows: int) -> float:
        """Settle so many rows more; rows per second between the first and the eighth tenth of them."""
        begin = self._settled
        while self._settled < begin + rows:
            await asyncio.sleep(0.01)
        first = next(mark for mark in self._settled_at if mark[1] >= begin + rows * 0.1)
        last = next(mark for mark in self._settled_at if mark[1] >= begin + rows * 0.8)
        return (last[1] - first[1]) / max(last[0] - first[0], 1e-9)

    def _make_claims(self, settings: Settings) -> Claims:
        lease: Any = _OneWorker(self._owner)
        return Claims(
            self._database,
            settings,
            lease,
            self._wakes,
            in_hand=lambda: sys.maxsize if self.paused else len(self._held),
            bytes_in_hand=lambda: 0,
            held_of=lambda _owner: list(self._held),
            buffered=lambda site_id, lane_class: self._buffered[site_id, lane_class],
            take=self._take,
        )

    async def _take(self, _connection: Any, _owner: int, rows: list[Claimed]) -> None:
        for row in rows:
            self._held.add(row.recipient_id)
            self._buffered[row.site_id, row.lane_class] += 1
        for start in range(0, len(rows), _SETTLE_ROWS):
            self._lines.put_nowait(rows[start : start + _SETTLE_ROWS])

    async def _settle_for_ever(self) -> None:
        while True:
            rows = await self._lines.get()
            async with self._database.hot() as connection, connection.transaction():
                await store.settlement.settle(connection, [self._settlement(row) for row in rows])
            self._held.difference_update(row.recipient_id for row in rows)
            for row in rows:
                self._buffered[row.site_id, row.lane_class] -= 1
                self._claims.want(row.site_id, row.lane_class, self._buffered[row.site_id, row.lane_class])
            self._claims.room_made()
            self._settled += len(rows)
            self._settled_at.append((time.perf_counter(), self._settled))

    def _settlement(self, row: Claimed) -> Settlement:
        attempt = AttemptRow(new_id(), "dot", 250, "2.0.0", "2.0.0 taken", "mx.example", "127.0.0.1", None, None, 0, 1)
        return Settlement(
            self._owner,
            row.account_id,
            row.recipient_id,
            RecipientState.DELIVERED,
            None,
            None,
            "250 taken",
            None,
            attempt,
            "message.delivered",
            "{}",
        )


class _OneWorker:
    """A lease as Claims sees it, of the only worker."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id

    def slot_of(self, _site_id: int) -> tuple[int, int]:
        return 1, 0

    def holds(self, owner: int) -> bool:
        return owner == self.worker_id


_numbers = count(1)


async def _two_databases(house: House) -> Sequence[str]:
    """Two fresh databases of the house's server, with its schema."""
    urls = []
    for _ in range(2):
        url = house.servers.create_database(f"queue_{next(_numbers)}")
        await asyncio.to_thread(upgrade, url)
        urls.append(url)
    return urls


async def _refill(database: Database, rows: int) -> None:
    connection = await database.open_hot()
    try:
        await connection.execute("TRUNCATE queue, recipients, attempts")
        for start in range(0, rows, _CHUNK):
            await connection.execute(_FILL, min(_CHUNK, rows - start), timeout=300)
        for table in ("queue", "recipients"):
            await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=300)
    finally:
        await connection.close()
