import time, statistics
from app import store
from app.store import settlement
from app.store.db import Database
from tests.builders import a_message, a_settlement, a_worker, claim_all, write

NEW = settlement._SETTLE
i = NEW.index("), owed AS (")
j = NEW.index(")\nSELECT id, events, attempts, maybe_sent FROM told")
OLD = (NEW[:i] + NEW[j:]).replace(", r.state, r.dsn\n", "\n")


async def test_speed(database: Database) -> None:
    worker = await a_worker(database)
    times = {"old": [], "new": []}
    out = []
    for dsn in (None, '{"tells_failures":true,"from":"a@b.test"}'):
        times = {"old": [], "new": []}
        for round_ in range(120):
            for name, sql in (("old", OLD), ("new", NEW)) if round_ % 2 else (("new", NEW), ("old", OLD)):
                messages = [a_message() for _ in range(50)]
                for m in messages:
                    m.recipients[0].dsn = dsn
                await write(database, *messages)
                claimed = await claim_all(database, worker)
                batch = [a_settlement(worker, c) for c in claimed]
                settlement._SETTLE = sql
                async with database.hot() as connection:
                    began = time.perf_counter()
                    done = await store.settlement.settle(connection, batch)
                    times[name].append((time.perf_counter() - began) * 1000)
                assert len(done) == 50
        for name, values in times.items():
            values = values[20:]
            out.append(
                f"dsn={dsn is not None} {name}: median {statistics.median(values):.3f} ms, p25 {statistics.quantiles(values, n=4)[0]:.3f} min {min(values):.3f}"
            )
    open("/tmp/settle_speed.txt", "w").write("\n".join(out) + "\n")
