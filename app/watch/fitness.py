"""Does the keyring fit the database? Everything sealed must open, and the keys that peppered API keys must be there.

A keyring of another house opens nothing: mail could not be signed, and no API key would be known.
"""

from __future__ import annotations

from dataclasses import dataclass

from app import store
from app.accounts.domains import DKIM_PURPOSE
from app.events.posts import SECRET_PURPOSE
from app.keyring import Keyring, KeyringError

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Fitness:
    """How much of the database's sealed values was tried, and what did not open."""

    tried: int
    broken: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.broken

    @property
    def words(self) -> str:
        if self.fits:
            return f"The keyring opens all {self.tried} sealed values of the database."
        named = "; ".join(self.broken[:_MOST_NAMED])
        return f"The keyring does not fit the database: {len(self.broken)} of {self.tried} values do not open ({named})."


async def read_fitness(database: store.db.Database, keyring: Keyring) -> Fitness:
    """Try every sealed value, and the number of every pepper."""
    async with database.reading() as connection:
        sealed = [
            *(
                (f"DKIM key of {row.name}", row.account_id, DKIM_PURPOSE, row.private_key)
                for row in await store.domains.list_sealed(connection)
            ),
            *(
                (f"secret of webhook {row.id}", row.account_id, SECRET_PURPOSE, row.secret)
                for row in await store.webhooks.list_sealed(connection)
            ),
        ]
        peppers = await store.accounts.list_pepper_ids(connection)
        smtp_peppers = await store.smtp_credentials.list_smtp_pepper_ids(connection)
    broken = [what for what, account_id, purpose, value in sealed if not _opens(keyring, bytes(value), account_id, purpose)]
    broken += [f"API keys made with key {number}" for number in peppers if number not in keyring.ids]
    broken += [f"SMTP passwords made with key {number}" for number in smtp_peppers if number not in keyring.ids]
    return Fitness(len(sealed) + len(peppers) + len(smtp_peppers), tuple(broken))


def _opens(keyring: Keyring, sealed: bytes, account_id: int, purpose: str) -> bool:
    try:
        keyring.open(sealed, account_id=account_id, purpose=purpose)
    except KeyringError:
        return False
    return True
