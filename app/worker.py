"""The worker process: an arq worker for crons, and the resident drain beside it, with the loops that post, tell senders, erase,
read what came in, and look a second time at opens and clicks.

arq hosts, PostgreSQL decides. arq's worker ends when Valkey goes: it is started again with back-off while the drain goes on polling.
Crons only wake chores; each chore's last run is kept in PostgreSQL, and one that nobody woke is made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from arq import cron
from arq.connections import RedisSettings
from arq.worker import Worker
from sqlalchemy.exc import DBAPIError

from app import log, store
from app.accounts.domains import DomainBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.config import Settings
from app.delivery.drain import Drain
from app.delivery.incidents import keep_deciding
from app.delivery.lease import Lease
from app.delivery.route import Router
from app.events.webhooks import WebhookPoster
from app.feedback.erasure_orders import keep_erasing
from app.feedback.inbound_reading import keep_reading
from app.feedback.second_looks import keep_looking
from app.heap import freeze_heap
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.rendering import Renderer
from app.resolver import Resolver
from app.watch.telling import Telling

_OPEN_FILES = 4096
_SCHEMA_LOOK_SECONDS = 1.0
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


async def _watch_chores(database: store.db.Database, settings: Settings) -> None:
    """Make up for crons that never came."""
    while True:
        try:
            await run_due_chores(database, settings)
        except Exception as error:
            log.loop_failed("chores", error)
        await asyncio.sleep(60)


async def _host_arq(database: store.db.Database, settings: Settings) -> None:
    wait = 1.0
    while True:
        began = asyncio.get_running_loop().time()
        try:
            worker = Worker(
                functions=[],
                cron_jobs=[cron(_chores_cron, second=0, timeout=30, keep_result=0)],
                redis_settings=RedisSettings.from_dsn(settings.redis_url),
                handle_signals=False,
                poll_delay=0.5,
                job_timeout=30,
                keep_result=0,
                ctx={"database": database, "settings": settings},
            )
            try:
                await worker.async_run()
            finally:
                await _close_arq(worker)
        except Exception as error:
            log.loop_failed("arq", error if isinstance(error, OSError) else OSError(log.cause(error)))
        wait = 1.0 if asyncio.get_running_loop().time() - began > 60 else min(wait * 2, 30.0)
        await asyncio.sleep(wait)


async def _close_arq(worker: Worker) -> None:
    """Instead of its close(): that waits for tasks that were cancelled with it, and then never comes to the connections."""
    tasks = [task for task in (worker.main_task, *worker.tasks.values()) if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # A failure here must not hide why we are here, least of all that we were told to stop.
    with contextlib.suppress(Exception):
        if worker._pool is not None:
            await worker._pool.close(close_connection_pool=True)


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
        over = asyncio.Event()
        poster = WebhookPoster(database, keyring, settings, worker_id, hear=wakes.hear_events)
        posting = asyncio.create_task(poster.run(over, woken))
        while not stop.is_set() and not posting.done() and lease.worker_id == worker_id:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)
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
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SCHEMA_LOOK_SECONDS)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Everything a worker does, until `stop`."""
    keyring = Keyring.load(settings.keyring_path)
    database = store.db.Database(settings.database_url, hot_connections=8)
    await _wait_for_schema(database, stop)
    if stop.is_set():
        await database.close()
        return
    domains = DomainBook(database, keyring)
    wakes = Wakes(settings.redis_url)
    wakes.start()
    tls_context = ssl.create_default_context()
    # Opportunistic: any TLS is better than none, and a wrong name is no reason to go without (RFC 7435).
    tls_context.check_hostname = False
    tls_context.verify_mode = ssl.CERT_NONE
    renderer = Renderer(settings.render_processes, keen=True)
    resolver = Resolver(settings.dns_servers)
    router = Router(resolver, settings)
    templates = TemplateBook(database, renderer)
    intake = Intake(database, domains, StreamBook(database), templates, settings, wakes)
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
        tls_context=tls_context,
        events_woken=events_woken,
    )
    draining = asyncio.create_task(drain.run(), name="drain")
    posting = asyncio.create_task(_post_webhooks(database, keyring, settings, drain.lease, wakes, stop, events_woken), name="webhooks")
    beside = [
        asyncio.create_task(_host_arq(database, settings), name="arq"),
        asyncio.create_task(_watch_chores(database, settings), name="chores"),
        asyncio.create_task(keep_deciding(database, settings.poll_seconds * _POLLS_PER_LOOK), name="incidents"),
        asyncio.create_task(keep_erasing(database, settings.poll_seconds * _POLLS_PER_LOOK), name="erasing"),
        asyncio.create_task(Telling(database, intake, settings).run(settings.poll_seconds * _POLLS_PER_LOOK), name="telling"),
        asyncio.create_task(keep_reading(database, resolver, wakes, settings.poll_seconds), name="inbound"),
        asyncio.create_task(keep_looking(database, wakes, settings.poll_seconds * _POLLS_PER_LOOK), name="second_looks"),
    ]
    freeze_heap()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({draining, stopping}, return_when=asyncio.FIRST_COMPLETED)
    drain.stop()
    await draining
    await posting
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await intake.close()
    await renderer.close()
    await wakes.close()
    await database.close()


def _allow_open_files() -> None:
    """Connections to many sites need more than the 1,024 files that a process may open unless it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(settings: Settings) -> None:
    """Be a worker until SIGTERM or SIGINT."""
    import uvloop

    _allow_open_files()
    log.set_up(settings.log_level, role="worker")

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(settings, stop)

    uvloop.run(main())
