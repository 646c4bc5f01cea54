"""doctor, the ground under us: PostgreSQL, its schema and its clock, Valkey, disks, the keyring."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import asyncpg

from app import store
from app.config import Settings
from app.jobs import ask_waker
from app.keyring import Keyring, KeyringError
from app.watch.findings import Finding, fail, judge_clock, judge_commit, judge_disk, judge_postgres, ok, warn
from app.watch.fitness import read_fitness

_COMMITS = 20


async def check_database(database: store.db.Database, settings: Settings) -> list[Finding]:
    """All that PostgreSQL can be asked; one finding when it cannot be."""
    try:
        async with database.hot() as connection:
            said = await store.ground.read_settings(connection)
            before = time.time()
            theirs = await store.ground.read_clock(connection)
            ours = (before + time.time()) / 2
            findings = [judge_clock("PostgreSQL", ours - theirs), judge_commit(await store.ground.measure_commit(connection, _COMMITS))]
            findings += await _check_schema(connection)
            workers = await store.ground.count_live_workers(connection) if findings[-1].check != "schema" else 0
            findings += judge_postgres(said, settings.api_processes, max(workers, settings.worker_processes))
    except store.db.AWAY as error:
        return [fail("database", f"PostgreSQL does not answer: {_words(error)}", "start it, or mend STAFFETTA_DATABASE_URL")]
    return findings + check_cluster_disk(said.get("data_directory", ""))


async def _check_schema(connection: store.db.HotConnection) -> list[Finding]:
    try:
        fit = await store.revision.is_fit(connection)
    except asyncpg.UndefinedTableError:
        fit = False
    if not fit:
        return [fail("schema", "the database has not the schema of this release", "staffetta migrate")]
    if not await store.eras.is_readable(connection):
        what = "the database was restored from a dump: the event feed stands still, and what was due would be sent again"
        return [fail("restore", what, "stop all workers, then: staffetta restored")]
    return [ok("restore", "the event feed reaches all that is committed")]


async def check_valkey(settings: Settings) -> list[Finding]:
    """It may be away: that costs a tenth of a second per message, never mail."""
    try:
        waker = await ask_waker(settings.redis_url)
    except OSError as error:
        return [warn("valkey", f"Valkey does not answer: {_words(error)}", "start it, or mend STAFFETTA_REDIS_URL; workers poll meanwhile")]
    if waker.most_bytes and waker.policy != "noeviction":
        todo = "set maxmemory-policy to noeviction, and let nobody else use it"
        return [warn("valkey", f"Valkey {waker.version} drops keys by {waker.policy} when {waker.most_bytes // 2**20} MiB are full", todo)]
    return [ok("valkey", f"Valkey {waker.version} answers")]


def check_cluster_disk(named: str) -> list[Finding]:
    """PostgreSQL's own disk, when it lies on this machine and we may know where."""
    return check_disk(Path(named)) if named and Path(named).is_dir() else []


def check_disk(directory: Path) -> list[Finding]:
    try:
        usage = shutil.disk_usage(directory)
    except OSError as error:
        return [fail("disk", f"{directory}: {error.strerror}", "make it, or mend the setting that names it")]
    return [judge_disk(str(directory), usage.free, usage.total)]


async def check_keyring(database: store.db.Database, settings: Settings) -> list[Finding]:
    """It can be read, by us alone, and it is the one of this database."""
    path = settings.keyring_path
    try:
        keyring = Keyring.load(path)
    except KeyringError as error:
        return [fail("keyring", str(error), "staffetta keyring restore FILE; for a new house: staffetta keyring create")]
    status = path.stat()
    findings = check_disk(path.resolve().parent)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"{path} may be read by others than its owner (mode {stat.S_IMODE(status.st_mode):04o})"
        findings.append(fail("keyring", what, f"chmod 600 {path}"))
    elif status.st_uid != os.geteuid() and os.geteuid() != 0:
        findings.append(warn("keyring", f"{path} belongs to another user", "run this as the user that Staffetta runs as"))
    try:
        fitness = await read_fitness(database, keyring)
    except store.db.AWAY:
        return [*findings, warn("keyring", "whether the keyring fits the database cannot be told", "mend the database first")]
    if not fitness.fits:
        return [
            *findings,
            fail("keyring", fitness.words, "find the keyring that this database was used with: staffetta keyring restore FILE"),
        ]
    return [*findings, ok("keyring", fitness.words)]


def _words(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
