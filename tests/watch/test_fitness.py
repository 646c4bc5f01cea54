"""Does the keyring fit: every sealed value is tried, both secrets of a webhook endpoint too while both sign."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app import store
from app.events.posts import SECRET_PURPOSE, new_secret
from app.keyring import Keyring
from app.store.db import Database
from app.watch.fitness import read_fitness


@pytest.fixture
def keyrings(tmp_path: Path) -> tuple[Keyring, Keyring]:
    """Ours, and that of another house."""
    return Keyring.create(tmp_path / "ours.json"), Keyring.create(tmp_path / "other.json")


async def test_the_secret_before_counts_while_it_signs(database: Database, keyrings: tuple[Keyring, Keyring]) -> None:
    ours, other = keyrings
    endpoint_id = store.ids.new_id()
    async with database.transaction() as connection:
        account_id = await store.accounts.insert_account(connection, "acme")
        foreign, own = (k.seal(new_secret(), account_id=account_id, purpose=SECRET_PURPOSE) for k in (other, ours))
        await store.webhooks.insert_endpoint(
            connection, endpoint_id=endpoint_id, account_id=account_id, url="https://x.test", secret=foreign, event_types=None, batch_size=1
        )
    fitness = await read_fitness(database, ours)
    assert (fitness.tried, len(fitness.broken)) == (1, 1)
    async with database.transaction() as connection:
        await store.webhooks.rotate_secret(connection, account_id, endpoint_id, own, overlap=timedelta(hours=1))
    fitness = await read_fitness(database, ours)
    assert fitness.tried == 2
    assert fitness.broken == (f"secret of webhook {endpoint_id}",)
    assert len((await read_fitness(database, other)).broken) == 1
    async with database.reading() as connection:
        assert {bytes(row.secret) for row in await store.webhooks.list_sealed(connection)} == {foreign, own}
    async with database.hot() as connection:
        await connection.execute("UPDATE webhook_endpoints SET old_secret_until = now()")
    fitness = await read_fitness(database, ours)
    assert (fitness.tried, fitness.broken) == (1, ())
