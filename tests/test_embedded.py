"""The embedded servers: whatever was killed, the next start works, and nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio
from sqlalchemy import text

from app.embedded import EmbeddedServers, StartError
from app.embedded.binaries import find_binaries, stage_binaries
from app.store.db import Database
from tests.conftest import new_directory

# Starts the servers, says where they are, and waits to be killed.
_HOLDER = """
import json, sys, time
from pathlib import Path
from app.embedded import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]))
servers.start()
print(json.dumps(servers.pids), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One directory for all tests that need no fresh one: each must leave it usable, that is what they are about."""
    with new_directory() as directory:
        yield directory


@contextlib.contextmanager
def _held_by_another(directory: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(directory)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        yield holder, json.loads(holder.stdout.readline())
    finally:
        holder.kill()
        holder.communicate()


def _running_below(directory: Path) -> list[str]:
    """Programs that work in `directory`, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(directory):
                found.append(process.name())
    return found


def _wait_for(condition: object, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "did not come about in time"
        time.sleep(0.02)


async def _write(url: str, value: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("drop table if exists kept")
    await connection.execute("create table kept (value int)")
    await connection.execute("insert into kept values ($1)", value)
    await connection.close()


async def _read(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select value from kept order by value")
    await connection.close()
    return [row["value"] for row in rows]


async def test_the_fixture_gives_a_migrated_database_and_an_empty_valkey(database: Database, redis_url: str) -> None:
    async with database.reading() as connection:
        assert (await connection.execute(text("select count(*) from messages"))).scalar_one() == 0
    client = redis.asyncio.from_url(redis_url)
    assert await client.dbsize() == 0
    await client.aclose()


async def test_durability_is_on_and_the_role_is_no_superuser(database: Database) -> None:
    async with database.reading() as connection:
        names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "listen_addresses", "is_superuser")
        found = {name: (await connection.execute(text(f"show {name}"))).scalar_one() for name in names}
    assert found == dict.fromkeys(names, "on") | {"listen_addresses": "", "is_superuser": "off"}


async def test_rows_survive_a_stop_and_a_start(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        await _write(servers.database_url, 1)
    assert _running_below(home) == []
    with EmbeddedServers(home) as servers:
        assert await _read(servers.database_url) == [1]
    assert _running_below(home) == []


@pytest.mark.parametrize("space", ["with space", "a" * 120, "comma,colon:'%"])
async def test_any_path_will_do(server_directory: Path, space: str) -> None:
    with EmbeddedServers(server_directory / space / "deep") as servers:
        await _write(servers.database_url, 1)
        database = Database(servers.database_url)
        async with database.reading() as connection:
            assert (await connection.execute(text("select current_user"))).scalar_one() == "staffetta"
        await database.close()
        client = redis.asyncio.from_url(servers.redis_url)
        assert await client.ping()
        await client.aclose()


async def test_servers_end_when_their_starter_is_killed(home: Path) -> None:
    with _held_by_another(home) as (holder, _pids):
        holder.kill()
        holder.wait()
        _wait_for(lambda: _running_below(home) == [])


@pytest.mark.parametrize("victims", [("holder",), ("postgres",), ("valkey",), ("holder", "postgres", "valkey"), ("postgres", "holder")])
async def test_a_start_recovers_from_a_kill_of_any_of_it(home: Path, victims: tuple[str, ...]) -> None:
    with _held_by_another(home) as (holder, pids):
        servers = EmbeddedServers(home)
        await _write(servers.database_url, 7)
        for victim in victims:
            os.kill({"holder": holder.pid, **pids}[victim], signal.SIGKILL)
        holder.kill()
        holder.wait()
        # At once, while the orphans of the killed run may still be ending.
        with servers:
            assert await _read(servers.database_url) == [7]
    assert _running_below(home) == []


async def test_orphans_that_never_end_by_themselves_are_ended(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        await _write(servers.database_url, 3)
    with _held_by_another(home) as (holder, pids):
        os.kill(pids["postgres"], signal.SIGSTOP)
        os.kill(pids["valkey"], signal.SIGSTOP)
        holder.kill()
        holder.wait()
        for pid in pids.values():
            assert psutil.pid_exists(pid)
        with EmbeddedServers(home) as servers:
            assert await _read(servers.database_url) == [3]
            assert set(servers.pids.values()).isdisjoint(pids.values())
    assert _running_below(home) == []


async def test_a_stale_pid_that_another_program_has_now_is_not_believed(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        await _write(servers.database_url, 4)
        sockets = servers.sockets
    for stale in (home / "postgres" / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        stale.write_text(f"{os.getpid()}\n{home / 'postgres'}\n0\n5432\n{sockets}\n\n0 0\nready\n")
    with EmbeddedServers(home) as servers:
        assert await _read(servers.database_url) == [4]


async def test_a_server_that_died_is_started_again(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        await _write(servers.database_url, 5)
        assert servers.tend() == []
        for name, pid in servers.pids.items():
            os.kill(pid, signal.SIGKILL)
            _wait_for(lambda name=name, pid=pid: servers.tend() == [name] and servers.pids[name] != pid)
        assert await _read(servers.database_url) == [5]


async def test_an_interrupted_first_start_leaves_nothing_that_is_taken_for_a_cluster(server_directory: Path) -> None:
    half = server_directory / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedServers(server_directory) as servers:
        await _write(servers.database_url, 6)
    assert not half.exists()


def test_a_copy_of_the_programs_is_made_once_and_runs_by_itself(server_directory: Path) -> None:
    half = server_directory / "programs" / "older.new"
    half.mkdir(parents=True)
    programs = stage_binaries(find_binaries(), server_directory / "programs")
    assert not half.exists()
    made = programs.valkey.stat().st_ctime_ns
    assert stage_binaries(find_binaries(), server_directory / "programs") == programs
    assert programs.valkey.stat().st_ctime_ns == made
    for program in (*(programs.postgres / name for name in ("postgres", "initdb", "psql")), programs.valkey):
        assert program.is_relative_to(server_directory)
        assert program.stat().st_mode & 0o005 == 0o005
        version = subprocess.run([program, "--version"], env={}, capture_output=True, check=True, text=True)
        assert version.stdout.strip()


def test_two_runs_do_not_share_a_directory(home: Path) -> None:
    with EmbeddedServers(home), pytest.raises(StartError, match=rf"another run \(pid {os.getpid()}\) uses"):
        EmbeddedServers(home).start()


def test_a_cluster_of_another_major_version_is_refused(server_directory: Path) -> None:
    cluster = server_directory / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("15\n")
    with pytest.raises(StartError, match=r"holds data of PostgreSQL 15, but this release brings PostgreSQL \d+"):
        EmbeddedServers(server_directory).start()
    assert (cluster / "PG_VERSION").read_text() == "15\n"


def test_a_foreign_directory_is_not_touched(server_directory: Path) -> None:
    cluster = server_directory / "postgres"
    cluster.mkdir()
    (cluster / "somebody's").write_text("thing")
    with pytest.raises(StartError, match="is not empty"):
        EmbeddedServers(server_directory).start()
    assert (cluster / "somebody's").read_text() == "thing"


def test_a_server_that_cannot_start_says_why_in_one_line(server_directory: Path) -> None:
    with EmbeddedServers(server_directory):
        pass
    (server_directory / "postgresql.local.conf").write_text("shared_buffers = 'a lot'\n")
    with pytest.raises(StartError, match=r"postgresql\.local\.conf") as caught:
        EmbeddedServers(server_directory).start()
    assert "\n" not in str(caught.value)
    assert _running_below(server_directory) == []


def test_no_permission_is_one_line() -> None:
    with pytest.raises(StartError, match=r"^(no permission|Read-only|Not a directory|No such|Invalid|.*may not enter)") as caught:
        EmbeddedServers(Path("/proc/staffetta")).start()
    assert "\n" not in str(caught.value)
