"""doctor and the ground below: PostgreSQL, Valkey, disks, keyring, as they are and as they should not be. And the command itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from app.accounts.first import ensure_first_account
from app.cli.program import command_line, program_environment
from app.config import Settings
from app.keyring import Keyring
from app.store.db import Database
from app.watch import ground
from app.watch.findings import Finding


def by_check(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in findings}


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    Keyring.create(tmp_path / "keyring.json")
    return Settings(database_url=database_url, redis_url=redis_url, keyring_path=tmp_path / "keyring.json")


async def test_a_database_that_is_well(database: Database, settings: Settings) -> None:
    found = by_check(await ground.check_database(database, settings))
    assert found["clock"] == found["restore"] == found["postgres"] == "ok"
    assert set(found) >= {"fsync", "disk"}


async def test_a_database_that_is_away(settings: Settings) -> None:
    away = Database("postgresql://x@127.0.0.1:1/none")
    assert by_check(await ground.check_database(away, settings)) == {"database": "fail"}
    assert by_check(await ground.check_keyring(away, settings))["keyring"] == "warn"
    await away.close()


async def test_a_schema_of_another_release(database: Database, settings: Settings) -> None:
    async with database.hot() as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '0000'")
        assert by_check(await ground.check_database(database, settings))["schema"] == "fail"
        await connection.execute("DROP TABLE alembic_version")
        assert by_check(await ground.check_database(database, settings))["schema"] == "fail"


async def test_a_dump_that_was_restored_and_not_said_to_be(database: Database, settings: Settings) -> None:
    async with database.hot() as connection:
        await connection.execute("INSERT INTO accounts (name) VALUES ('one')")
        await connection.execute(
            "INSERT INTO events (account_id, id, about, type, number, facts, xid)"
            " SELECT id, uuidv7(), uuidv7(), 't', 1, '{}', '99999999999' FROM accounts"
        )
    (finding,) = [one for one in await ground.check_database(database, settings) if one.check == "restore"]
    assert (finding.verdict, "staffetta restored" in finding.todo) == ("fail", True)


async def test_valkey(settings: Settings) -> None:
    assert by_check(await ground.check_valkey(settings)) == {"valkey": "ok"}
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    assert by_check(await ground.check_valkey(away)) == {"valkey": "warn"}
    with redis.Redis.from_url(settings.redis_url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            (finding,) = await ground.check_valkey(settings)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert (finding.verdict, "allkeys-lru" in finding.what) == ("warn", True)


async def test_the_keyring(database: Database, settings: Settings, tmp_path: Path) -> None:
    await ensure_first_account(database, Keyring.load(settings.keyring_path))
    assert by_check(await ground.check_keyring(database, settings))["keyring"] == "ok"
    settings.keyring_path.chmod(0o640)
    found = await ground.check_keyring(database, settings)
    assert [(one.verdict, one.todo) for one in found if one.verdict == "fail"] == [("fail", f"chmod 600 {settings.keyring_path}")]
    Keyring.create(tmp_path / "other.json")
    for name in ("other.json", "none.json"):
        wrong = settings.model_copy(update={"keyring_path": tmp_path / name})
        assert by_check(await ground.check_keyring(database, wrong))["keyring"] == "fail"


def test_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert by_check(ground.check_disk(tmp_path / "none")) == {"disk": "fail"}
    assert ground.check_cluster_disk("/nonexistent/cluster") == [], "another machine's"


def run_doctor(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    # Nothing outside is asked: DNS has no server behind it.
    given: dict[str, Any] = {
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
        "keyring_path": str(settings.keyring_path),
        "dns_servers": "127.0.0.1:1",
        "smarthost": "127.0.0.1:1",
    }
    command = command_line("doctor", "--time-url", "", *words)
    return subprocess.run(command, env=program_environment(os.environ, **given), capture_output=True, text=True, check=False)


def test_the_command(settings: Settings) -> None:
    done = run_doctor(settings, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["verdict"]) == (2, "fail")
    assert {finding["check"] for finding in said["findings"]} >= {
        "clock",
        "restore",
        "valkey",
        "keyring",
        "resolver",
        "smarthost",
        "certificate",
    }
    words = run_doctor(settings)
    assert words.returncode == 2
    assert "fail  smarthost: 127.0.0.1 port 1" in words.stdout
    assert "      → mend STAFFETTA_SMARTHOST" in words.stdout
