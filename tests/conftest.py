"""Real servers for every test: PostgreSQL and Valkey start once per run, each test gets a database of its own.

servers           the running EmbeddedServers, one pair for the whole run
database_url      a fresh, migrated database (a copy of a template: some 50 ms)
database          the same, opened
redis_url         an emptied Valkey
server_directory  an empty directory for a test that starts (and kills) servers of its own
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from app.embedded import EmbeddedServers
from app.store.db import Database
from app.store.migrate import upgrade

_TEMPLATE = "template_staffetta"
_KEPT_DATABASES = 40
_numbers = itertools.count(1)


@contextlib.contextmanager
def new_directory() -> Iterator[Path]:
    # Not tmp_path: only its user may enter that, and root's servers run as another one.
    directory = Path(tempfile.mkdtemp(prefix="staffetta-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    with new_directory() as directory, EmbeddedServers(directory) as running:
        yield running


@pytest.fixture
def server_directory() -> Iterator[Path]:
    with new_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def template(servers: EmbeddedServers) -> str:
    """The name of a migrated database to which nobody is connected."""
    upgrade(servers.create_database(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def used_databases() -> list[str]:
    return []


@pytest.fixture
def database_url(servers: EmbeddedServers, template: str, used_databases: list[str]) -> Iterator[str]:
    # Never beside a test: a drop waits for a checkpoint, and its transaction would hold back every event feed of the cluster.
    if len(used_databases) >= _KEPT_DATABASES:
        for used in used_databases:
            servers.drop_database(used)
        used_databases.clear()
    name = f"test_{next(_numbers)}"
    yield servers.create_database(name, template)
    used_databases.append(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def redis_url(servers: EmbeddedServers) -> str:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url
