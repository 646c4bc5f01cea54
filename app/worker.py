"""The worker process: an arq worker for crons, and the resident drain beside it, with the loops that post, tell senders, erase,
read what came in, and look a second time at opens and clicks.

arq hosts, PostgreSQL decides. arq's worker ends when Valkey goes: it is started again with back-off while the drain goes on polling.
Crons only wake chores; each chore's last run is kept in PostgreSQL, and one that nobody woke is made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from arq import cron
from arq.connections import ArqRedis
from arq.worker import Worker
from sqlalchemy.exc import DBAPIError

from app import log, store
from app.accounts.domains import DomainBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.config import Settings
from app.delivery.drain import Drain
from app.delivery.incidents import carry_decisions_out
from app.delivery.lease import Lease
from app.delivery.pipeline import opportunistic_context
from app.delivery.route import Router
from app.events.webhooks import WebhookPoster
from app.feedback.erasure_orders import erase_next
from app.feedback.inbound_reading import keep_reading
from app.feedback.second_looks import look_at_due
from app.heap import freeze_heap
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.loops import keep, wait_at_most
from app.rendering import Renderer
from app.resolver import Resolver
from app.sockets import allow_files
from app.watch.metrics import TELL_SECONDS, tell_figures
from app.watch.telling import Telling

_OPEN_FILES = 4096  # connections to many sites
_SCHEMA_LOOK_SECONDS = 1.0
_CHORES_SECONDS = 60.0  # to make up for crons that never came
_NO_SCHEMA: tuple[type[BaseException], ...] = (*store.db.SCHEMA_ERRORS, *store.db.CONNECTION_ERRORS, TimeoutError)
_POLLS_PER_LOOK = 10  # for orders to erase, owed reports, decisions on held mail, second looks: they may wait for some seconds

Chore = Callable[[store.db.Database, Settings], Awaitable[dict[str, Any]]]


async def make_partitions(database: store.db.Database, settings: Settings) -> dict[str, Any]:
    async with database.transaction() as connection:
        days_ahead = store.partitions.content_days_ahead(settings.content_retention_days)
        made = await store.partitions.make_partitions(connection, datetime.now(UTC).date(), content_days_ahead=days_ahead)
    return {"made": len(made)}


async def drop_partitions(database: store.db.Database, settings: Settings) -> dict[str, Any]:
    async with database.reading() as connection:
        old = await store.partitions.list_old_partitions(
            connection,
            datetime.now(UTC).date(),
            history_days=settings.history_retention_days,
            webhook_attempt_days=settings.webhook_attempt_days,
        )
    dropped, held = 0, set()
    for name in old:
        parent, _ = store.partitions.split_name(name)
        if parent in held:
            continue
        try:
            async with database.transaction() as connection:
                await store.partitions.drop_partition(connection, name)
        except DBAPIError as error:
            if not store.partitions.is_lock_refused(error):
                raise
            held.add(parent)
        else:
            dropped += 1
    if held:
        raise TimeoutError(f"{dropped} dropped, and none of {', '.join(sorted(held))}: somebody holds them, perhaps a dump")
    return {"dropped": dropped}


async def drop_old_keys(database: store.db.Database, _settings: Settings) -> dict[str, Any]:
    async with database.transaction() as connection:
        return {"dropped": await store.idempotency.drop_old_keys(connection)}


async def drop_old_habits(database: store.db.Database, settings: Settings) -> dict[str, Any]:
    async with database.transaction() as connection:
        incidents = await store.incidents.drop_old_incidents(connection, settings.history_retention_days)
        return {"dropped": await store.credential_habits.drop_old_habits(connection), "incidents": incidents}


async def drop_given_up(database: store.db.Database, settings: Settings) -> dict[str, Any]:
    async with database.hot() as connection:
        return {"dropped": await store.tries.drop_given_up(connection, settings.history_retention_days)}


CHORES: dict[str, tuple[Chore, timedelta]] = {
    "make_partitions": (make_partitions, timedelta(hours=1)),
    "drop_partitions": (drop_partitions, timedelta(hours=1)),
    "drop_old_keys": (drop_old_keys, timedelta(minutes=10)),
    "drop_old_habits": (drop_old_habits, timedelta(hours=1)),
    "drop_given_up": (drop_given_up, timedelta(hours=1)),
}


async def run_due_chores(database: store.db.Database, settings: Settings) -> None:
    """Run the chores whose time has come; one worker at a time takes each. One that fails is due again, and holds up no other."""
    for name, (chore, every) in CHORES.items():
        async with database.transaction() as connection:
            due = await store.chores.take_chore(connection, name, every)
        if not due:
            continue
        try:
            log.chore_done(name, **await chore(database, settings))
        except Exception as error:
            log.loop_failed(f"chore {name}", error)
            async with database.transaction() as connection:
                await store.chores.give_back_chore(connection, name)


async def _chores_cron(ctx: dict[str, Any]) -> None:
    await run_due_chores(ctx["database"], ctx["settings"])


async def _host_arq(database: store.db.Database, settings: Settings) -> None:
    wait = 1.0
    while True:
        began = asyncio.get_running_loop().time()
        try:
            connections = ArqRedis.from_url(settings.redis_url, socket_connect_timeout=1.0)
            worker = Worker(
                functions=[],
                cron_jobs=[cron(_chores_cron, second=0, timeout=30, keep_result=0)],
                redis_pool=connections,
                handle_signals=False,
                poll_delay=0.5,
                job_timeout=30,
                keep_result=0,
                ctx={"database": database, "settings": settings},
            )
            try:
                await worker.async_run()
            finally:
                await _close_arq(worker, connections)
        except Exception as error:
            log.loop_failed("arq", error if isinstance(error, OSError) else OSError(log.cause(error)))
        wait = 1.0 if asyncio.get_running_loop().time() - began > 60 else min(wait * 2, 30.0)
        await asyncio.sleep(wait)


async def _close_arq(worker: Worker, connections: ArqRedis) -> None:
    """Instead of its close(): that waits for tasks that were cancelled with it, and then never comes to the connections."""
    tasks = [task for task in (worker.main_task, *worker.tasks.values()) if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # A failure here must not hide why we are here, least of all that we were told to stop.
    with contextlib.suppress(Exception):
        await connections.aclose(close_connection_pool=True)


async def _post_webhooks(
    database: store.db.Database,
    keyring: Keyring,
    settings: Settings,
    lease: Lease,
    wakes: Wakes,
    stop: asyncio.Event,
    woken: asyncio.Event,
) -> None:
    """Post under the worker's id; a worker that was given up goes on under its new one."""
    while not stop.is_set():
        worker_id = await lease.begun()
        if not worker_id:
            return
        over = asyncio.Event()
        poster = WebhookPoster(database, keyring, settings, worker_id, hear=wakes.hear_events)
        posting = asyncio.create_task(poster.run(over, woken))
        while not stop.is_set() and not posting.done() and lease.worker_id == worker_id:
            await wait_at_most(stop, 1.0)
        over.set()
        try:
            await posting
        except Exception as error:
            log.loop_failed("webhooks", error)
            await asyncio.sleep(1)


async def _wait_for_schema(database: store.db.Database, stop: asyncio.Event) -> None:
    """Until the schema carries this release, or `stop`: on an older one mail could be sent, and its outcome not be written."""
    told = False
    while not stop.is_set():
        try:
            async with database.hot() as connection:
                if await store.revision.is_fit(connection):
                    return
            reason = "the database has another schema than this release: staffetta migrate"
        except _NO_SCHEMA as error:
            reason = log.cause(error)
        if not told:
            log.worker_waits(reason)
            told = True
        await wait_at_most(stop, _SCHEMA_LOOK_SECONDS)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Everything a worker does, until `stop`; what was opened is closed, however it ends."""
    async with contextlib.AsyncExitStack() as stack:
        await _work(settings, stop, stack)


async def _work(settings: Settings, stop: asyncio.Event, stack: contextlib.AsyncExitStack) -> None:
    keyring = Keyring.load(settings.keyring_path)
    database = store.db.Database(settings.database_url, hot_connections=8)
    stack.push_async_callback(database.close)
    await _wait_for_schema(database, stop)
    if stop.is_set():
        return
    domains = DomainBook(database, keyring)
    wakes = Wakes(settings.redis_url)
    stack.push_async_callback(wakes.close)
    wakes.start()
    renderer = Renderer(settings.render_processes, keen=True)
    stack.push_async_callback(renderer.close)
    resolver = Resolver(settings.dns_servers)
    router = Router(resolver, settings)
    templates = TemplateBook(database, renderer)
    intake = Intake(database, domains, StreamBook(database), templates, settings, wakes)
    stack.push_async_callback(intake.close)
    intake.start()
    events_woken = asyncio.Event()
    drain = Drain(
        database,
        settings,
        domains=domains,
        templates=templates,
        keyring=keyring,
        router=router,
        wakes=wakes,
        tls_context=opportunistic_context(),
        events_woken=events_woken,
    )
    draining = asyncio.create_task(drain.run(), name="drain")
    posting = asyncio.create_task(_post_webhooks(database, keyring, settings, drain.lease, wakes, stop, events_woken), name="webhooks")
    patience = settings.poll_seconds * _POLLS_PER_LOOK
    beside = [
        asyncio.create_task(_host_arq(database, settings), name="arq"),
        asyncio.create_task(keep("figures", partial(tell_figures, database, "worker"), TELL_SECONDS), name="figures"),
        asyncio.create_task(keep("chores", partial(run_due_chores, database, settings), _CHORES_SECONDS), name="chores"),
        asyncio.create_task(keep("incidents", partial(carry_decisions_out, database), patience), name="incidents"),
        asyncio.create_task(keep("erasing", partial(erase_next, database), patience), name="erasing"),
        asyncio.create_task(keep("telling", Telling(database, intake, settings).tell_next, patience), name="telling"),
        asyncio.create_task(keep_reading(database, resolver, wakes, settings.poll_seconds), name="inbound"),
        asyncio.create_task(keep("second_looks", partial(look_at_due, database, wakes), patience), name="second_looks"),
    ]
    stack.push_async_callback(_end, beside)
    freeze_heap()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({draining, stopping}, return_when=asyncio.FIRST_COMPLETED)
    drain.stop()
    try:
        await draining
    finally:
        stop.set()  # a drain that failed ends the posting too
        await posting


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(settings: Settings) -> None:
    """Be a worker until SIGTERM or SIGINT."""
    import uvloop

    allow_files(_OPEN_FILES)
    log.set_up(settings.log_level, role="worker")

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(settings, stop)

    uvloop.run(main())
