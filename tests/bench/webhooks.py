"""A receiver that fails three posts in ten and is then down for an hour, beside another tenant's healthy one.

Time is compressed by a setting: every wait of the schedule is divided by `webhook_haste`, the hour as well. The receiver's process
ends and comes back on its port; events are recorded as settling does it, the other tenant's one at a time in transactions of
their own. Latency is from the event's own time to the receiver's clock.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from app import store
from app.store.events import EventRow
from app.store.ids import milliseconds_of, new_id, new_message_id, parse_public_id, recipient_id
from tests.bench.options import Options
from tests.bench.report import Report, Row, at_most, shown
from tests.bench.stretch import percentile
from tests.house.children import Child
from tests.house.house import House, free_port

_FAILING_SHARE = 0.3
_DOWN_SECONDS = 3600.0
_OTHER_PER_SECOND = 20.0
_GROUP = 100
_GROUPS_PER_SECOND = 10.0
_WAIT_SECONDS = 300.0


@dataclass
class _Receiver:
    """A scripted receiver in a process of its own, that may end and come back."""

    house: House
    name: str
    port: int = field(default_factory=free_port)
    child: Child | None = None

    @property
    def log(self) -> Path:
        return self.house.directory / f"{self.name}.posts"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self, failing_share: float = 0.0) -> None:
        script = self.house.directory / f"{self.name}.json"
        script.write_text(json.dumps({"rules": [{"answer": "500", "share": failing_share}] if failing_share else []}))
        arguments = ["tests.doubles.hooks", "--port", str(self.port), "--log", str(self.log), "--script", str(script)]
        self.child = self.house.start_double(self.name, arguments)
        self.child.first_line()

    def end(self) -> None:
        """As good as a kill for whom it talks to; but its own log is whole."""
        assert self.child is not None
        self.child.send(signal.SIGINT)
        self.child.wait(10)

    def posts(self) -> list[_Seen]:
        """All posts whose line is whole."""
        lines = self.log.read_bytes().split(b"\n")[:-1] if self.log.exists() else []
        return [_Seen.read(line) for line in lines]


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    webhook_id: str
    taken: bool
    event_id: str

    @classmethod
    def read(cls, line: bytes) -> _Seen:
        at, webhook_id, answer, body = line.split(b" ", 3)
        return cls(float(at), webhook_id.decode(), answer == b"200", json.loads(body)["data"]["id"])

    @property
    def seconds_late(self) -> float:
        found = parse_public_id("evt", self.event_id)
        assert found is not None
        return self.at - milliseconds_of(found) / 1000


async def run(house: House, options: Options) -> list[Report]:
    house.settings["webhook_haste"] = options.webhook_haste
    down_seconds = _DOWN_SECONDS / options.webhook_haste
    troubled, other = _Receiver(house, "troubled"), _Receiver(house, "other")
    troubled.start(_FAILING_SHARE)
    other.start()
    rival, _, _ = await house.add_account("other", "other.example.test")
    endpoint = await house.add_endpoint(troubled.url)
    await house.add_endpoint(other.url, account_id=rival)
    house.start_workers(options.workers)
    await house.wait_for_workers()
    over = asyncio.Event()
    beside = asyncio.create_task(_happen_evenly(house, rival, over))
    wanted = await _happen_in_groups(house, house.account_id, options.webhook_events)
    # In the middle of it: some of what came is waiting to be tried again, some was not posted yet.
    troubled.end()
    before = troubled.posts()
    wanted |= await _happen_in_groups(house, house.account_id, _GROUP)
    await asyncio.sleep(down_seconds)
    troubled.start()
    back_at = time.time()
    told_after = await _wait_until_told(troubled, wanted, back_at)
    over.set()
    others = await beside
    await _wait_until_told(other, others, time.time())
    async with house.database.hot() as connection:
        row = await connection.fetchrow(
            "SELECT given_up, enabled, (SELECT count(*) FROM webhook_retries WHERE endpoint_id = $1) AS waiting"
            " FROM webhook_endpoints WHERE id = $1",
            endpoint,
        )
    return [_report(troubled.posts(), before, wanted, other.posts(), others, down_seconds, told_after, options, dict(row))]


def _report(
    posts: list[_Seen],
    before: list[_Seen],
    wanted: set[str],
    other_posts: list[_Seen],
    others: set[str],
    down_seconds: float,
    told_after: float,
    options: Options,
    endpoint: dict[str, object],
) -> Report:
    told = {post.event_id for post in posts if post.taken}
    names: dict[str, set[str]] = {}
    for post in posts:
        names.setdefault(post.event_id, set()).add(post.webhook_id)
    one_each = all(len(ids) == 1 for ids in names.values()) and len({next(iter(ids)) for ids in names.values()}) == len(names)
    twice = sum(count > 1 for count in Counter(post.event_id for post in posts if post.taken).values())
    late = [post.seconds_late for post in other_posts if post.event_id in others]
    p95 = percentile(late, 0.95)
    figures = {
        "events": len(wanted),
        "told": len(told & wanted),
        "posts": len(posts),
        "refused": sum(not post.taken for post in posts),
        "told_before_it_went_down": len({post.event_id for post in before if post.taken}),
        "taken_twice": twice,
        "haste": options.webhook_haste,
        "down_seconds": down_seconds,
        "told_after_return_seconds": told_after,
        "other_events": len(others),
        "other_told": len({post.event_id for post in other_posts} & others),
        "other_p50_seconds": percentile(late, 0.5),
        "other_p95_seconds": p95,
        "other_most_seconds": max(late, default=0.0),
        "endpoint": {name: str(value) for name, value in endpoint.items()},
    }
    rows = [
        Row("events of the troubled receiver told", f"{len(told & wanted):,} of {len(wanted):,}", "all", wanted <= told),
        Row("one webhook-id each", "yes" if one_each else "no", "yes", one_each),
        shown("posts", len(posts)),
        shown("… refused", figures["refused"]),
        shown("… taken twice (answers lost when it ended)", twice),
        shown(f"down, an hour at 1/{options.webhook_haste:g}", down_seconds, " s"),
        shown("all told after it came back", told_after, " s", 1),
        Row("another tenant's events told", f"{figures['other_told']:,} of {len(others):,}", "all", figures["other_told"] == len(others)),
        at_most("… recorded to received: p95", p95, 5.0, " s", 3),
        shown("… p50", figures["other_p50_seconds"], " s", 3),
        shown("… most", figures["other_most_seconds"], " s", 3),
    ]
    return Report("webhooks", rows, figures)


async def _happen_in_groups(house: House, account_id: int, count: int) -> set[str]:
    """Events in groups, as outcomes are settled."""
    made: set[str] = set()
    while len(made) < count:
        made |= await _record(house, account_id, min(_GROUP, count - len(made)))
        await asyncio.sleep(1 / _GROUPS_PER_SECOND)
    return made


async def _happen_evenly(house: House, account_id: int, over: asyncio.Event) -> set[str]:
    made: set[str] = set()
    while not over.is_set():
        made |= await _record(house, account_id, 1)
        await asyncio.sleep(1 / _OTHER_PER_SECOND)
    return made


async def _record(house: House, account_id: int, count: int) -> set[str]:
    message_id = new_message_id()
    rows = [
        EventRow(account_id, new_id(), recipient_id(message_id, n), "message.delivered", 1, '{"mx":"mx.example.net","code":250}')
        for n in range(1, count + 1)
    ]
    async with house.database.hot() as connection, connection.transaction():
        await store.events.insert_events(connection, rows)
    return {f"evt_{row.id.hex}" for row in rows}


async def _wait_until_told(receiver: _Receiver, wanted: set[str], since: float) -> float:
    """Seconds from `since` until every event was taken."""
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        taken = {post.event_id: post.at for post in receiver.posts() if post.taken}
        if wanted <= taken.keys():
            return max(0.0, time.time() - since)
        await asyncio.sleep(0.5)
    return _WAIT_SECONDS
