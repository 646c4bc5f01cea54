"""The secrets that sign an endpoint's posts, opened with the keyring and remembered while they stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app import log
from app.events.posts import SECRET_PURPOSE
from app.keyring import Keyring, KeyringError
from app.store.webhook_rounds import OwnedEndpoint

_MOST_REMEMBERED = 10_000


class SecretBox:
    """For one poster: opening costs more than signing."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._opened: dict[UUID, tuple[tuple[bytes, ...], list[bytes]]] = {}

    def open(self, endpoint: OwnedEndpoint) -> Sequence[bytes]:
        """The newest first, and after a rotation the one before it; none when they do not open."""
        sealed = (endpoint.secret,) if endpoint.old_secret is None else (endpoint.secret, endpoint.old_secret)
        known = self._opened.get(endpoint.id)
        if known is not None and known[0] == sealed:
            return known[1]
        opened = open_secrets(self._keyring, endpoint.account_id, sealed)
        if opened:
            self._opened[endpoint.id] = (sealed, opened)
            if len(self._opened) > _MOST_REMEMBERED:
                del self._opened[next(iter(self._opened))]
        return opened


def open_secrets(keyring: Keyring, account_id: int, sealed: Sequence[bytes]) -> list[bytes]:
    """All of them, or none: a post with half of its signatures would be refused by some receivers for no reason they could see."""
    try:
        return [keyring.open(one, account_id=account_id, purpose=SECRET_PURPOSE) for one in sealed]
    except KeyringError as error:
        log.loop_failed("webhook_secret", error)
        return []
