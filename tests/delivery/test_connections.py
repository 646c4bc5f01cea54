"""Connections that wait for the next message."""

from __future__ import annotations

import pytest

from app.config import Settings
from app.delivery import connections as rooms
from app.delivery.connections import Connections
from app.delivery.transport import Connection, Hop
from tests.delivery.talk import CONTEXT
from tests.doubles.sink import Sink


async def test_the_hop_without_mail_for_longest_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST_IDLE", 3)
    async with Sink() as sink:
        hops = [Hop(f"mx{number}.test", "127.0.0.1", sink.port) for number in range(3)]
        connections = Connections(Settings(), CONTEXT)
        opened = [await connections.open(hop) for hop in (*hops, hops[0])]
        for connection in opened:
            assert isinstance(connection, Connection)
            connections.give_back(connection)
        assert connections.idle_count == 3
        assert [connections.take(hop) is not None for hop in (hops[1], hops[2], hops[0], hops[0])] == [False, True, True, True]
        assert connections.idle_count == 0
        await connections.close()
