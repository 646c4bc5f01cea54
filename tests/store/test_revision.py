"""Schemas grow first and shrink later: which release may run on which."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from app.cli.program import command_line, program_environment
from app.embedded import EmbeddedServers
from app.store.db import Database
from app.store.migrate import alembic_config, upgrade
from app.store.revision import may_run, newest_revision

# What a release that is still running may use.
_TAKES_AWAY = re.compile(r"\bop\.(drop_table|drop_column|rename_table)|new_column_name|\b(DROP|RENAME) (TABLE|COLUMN|TO)\b")


def test_the_newest_revision_is_alembics_only_head() -> None:
    assert ScriptDirectory.from_config(alembic_config("")).get_heads() == [newest_revision()]


@pytest.mark.parametrize(
    ("release", "there", "floor", "may"),
    [
        ("0004", "0004", "0001", True),
        ("0004", "0003", "0001", False),  # not migrated yet
        ("0004", "0009", "0004", True),  # the next release's, which only added
        ("0004", "0009", "0005", False),  # something of ours is gone
        ("0004", "0010", "0001", True),
        ("0004", "unknown", "0001", False),
    ],
)
def test_a_release_runs_from_its_own_schema_to_one_that_took_something_away(release: str, there: str, floor: str, may: bool) -> None:
    assert may_run(release, there=there, floor=floor) is may


def test_a_migration_that_takes_something_away_says_so() -> None:
    silent = []
    for script in ScriptDirectory.from_config(alembic_config("")).walk_revisions():
        up = Path(script.path).read_text().partition("def upgrade")[2].partition("def downgrade")[0]
        if _TAKES_AWAY.search(up) and "schema_floor" not in up:
            silent.append(script.revision)
    assert silent == [], "they take away what a running release may use: raise schema_floor.oldest_revision (docs/deploying.md, Upgrade)"


async def test_the_floor_is_a_revision_that_is_known(database: Database) -> None:
    async with database.hot() as connection:
        floor = await connection.fetchval("SELECT oldest_revision FROM schema_floor")
    assert floor in {script.revision for script in ScriptDirectory.from_config(alembic_config("")).walk_revisions()}


async def test_migrators_that_start_together_migrate_once(servers: EmbeddedServers) -> None:
    url = servers.create_database("test_together")
    environment = program_environment(os.environ, database_url=url)
    replicas = [subprocess.Popen(command_line("migrate"), env=environment) for _ in range(3)]
    assert [await asyncio.to_thread(replica.wait) for replica in replicas] == [0, 0, 0]
    database = Database(url)
    async with database.hot() as connection:
        assert await connection.fetch("SELECT version_num FROM alembic_version") == [(newest_revision(),)]
        assert await connection.fetchval("SELECT count(*) FROM schema_floor") == 1
    await database.close()


async def test_a_migrator_does_not_wait_for_ever_behind_a_long_transaction(servers: EmbeddedServers) -> None:
    """Whoever comes after a waiting ALTER TABLE waits behind it: mail would stand still for as long as somebody's report runs."""
    url = servers.create_database("test_behind")
    await asyncio.to_thread(command.upgrade, alembic_config(url), "0001")
    database = Database(url)
    reading, behind = await database.open_hot(), await database.open_hot()
    transaction = reading.transaction()
    await transaction.start()
    await reading.fetch("SELECT 1 FROM events")
    migrating = asyncio.create_task(asyncio.to_thread(upgrade, url))
    async with asyncio.timeout(60):
        while not await behind.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"):
            await asyncio.sleep(0.01)
        await behind.fetch("SELECT 1 FROM events")  # goes on when the migrator's patience ends
        assert not migrating.done(), "it tries again"
        await transaction.rollback()
        await migrating
        assert await behind.fetchval("SELECT version_num FROM alembic_version") == newest_revision()
    await reading.close()
    await behind.close()
    await database.close()
