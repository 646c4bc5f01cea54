"""Connections that wait for the next message."""

from __future__ import annotations

import asyncio

import pytest

from app.config import Settings
from app.delivery import connections as rooms
from app.delivery.connections import Connections
from app.delivery.transport import Connection, Conversation, Hop, Phase, Tls
from tests.delivery.talk import CONTEXT, ENVELOPE, WIRE, scripted
from tests.doubles.sink import DEFAULT_OFFER, Sink
from tests.doubles.sink_cli import self_signed
from tests.doubles.sink_script import FAULTS, Fault, Script

TLS_OFFER = (*DEFAULT_OFFER, "STARTTLS")


async def opened(connections: Connections, hop: Hop) -> Connection:
    connection = await connections.open(hop)
    assert isinstance(connection, Connection), connection
    return connection


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


async def test_a_broken_handshake_is_paid_once() -> None:
    async with scripted({"fault": "starttls_broken"}, offer=TLS_OFFER, tls=self_signed()) as sink:
        hop = Hop("mx.test", "127.0.0.1", sink.port)
        connections = Connections(Settings(), CONTEXT)
        first, second = await opened(connections, hop), await opened(connections, hop)
        assert (first.tls, second.tls) == (None, None)
        assert sink.connections == 3
        await asyncio.gather(first.close(), second.close())


class BusyAfterHandshake(Script):
    """Breaks a handshake off, and then does not want to be talked to."""

    def for_connection(self, phase: str, address: str) -> Fault | None:
        self.handshakes = getattr(self, "handshakes", 0) + (phase == "starttls")
        fault = {"starttls": "starttls_drop", "ehlo": "ehlo_421" if self.handshakes else ""}.get(phase)
        return FAULTS[fault] if fault else None


async def test_a_host_that_takes_nothing_in_the_clear_either_is_asked_for_tls_again() -> None:
    async with Sink(BusyAfterHandshake(), offer=TLS_OFFER, tls=self_signed()) as sink:
        hop = Hop("mx.test", "127.0.0.1", sink.port)
        connections = Connections(Settings(), CONTEXT)
        refused = await connections.open(hop)
        assert isinstance(refused, Conversation)
        assert refused.phase is Phase.EHLO
        sink.script = Script()
        connection = await opened(connections, hop)
        assert connection.tls
        await connection.close()


async def test_mail_that_demands_tls_shares_no_connection_with_mail_that_does_not() -> None:
    async with Sink(offer=TLS_OFFER, tls=self_signed()) as sink:
        hops = [Hop("mx.test", "127.0.0.1", sink.port, tls=tls) for tls in (Tls.OPPORTUNISTIC, Tls.REQUIRED)]
        connections = Connections(Settings(), CONTEXT)
        connections.give_back(await opened(connections, hops[0]))
        assert connections.take(hops[1]) is None
        connections.give_back(await opened(connections, hops[1]))
        assert connections.take(hops[1]) is not None
        await connections.close()


async def test_a_certificate_is_asked_for_when_it_must_be_right() -> None:
    async with Sink(offer=TLS_OFFER, tls=self_signed()) as sink:
        connections = Connections(Settings(), CONTEXT)
        refused = await connections.open(Hop("sink.test", "127.0.0.1", sink.port, tls=Tls.VERIFY))
    assert isinstance(refused, Conversation)
    assert refused.phase is Phase.TLS
    assert "certificate" in (refused.error or "")


async def test_a_connection_is_spent_after_the_deliveries_of_its_hop() -> None:
    async with Sink() as sink:
        connections = Connections(Settings(), CONTEXT)
        connection = await opened(connections, Hop("mx.test", "127.0.0.1", sink.port, deliveries=2))
        spent = []
        for _ in range(2):
            spent.append(connections.is_spent(connection))
            await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
        assert [*spent, connections.is_spent(connection)] == [False, False, True]
        await connection.close()


async def test_a_host_that_cannot_be_reached_comes_after_the_others_for_a_while() -> None:
    async with Sink() as sink, scripted({"fault": "banner_421", "times": 1}) as busy:
        first, second = Hop("mx1.test", "127.0.0.1", busy.port), Hop("mx2.test", "127.0.0.1", sink.port)
        connections = Connections(Settings(), CONTEXT)
        assert connections.in_order([first, second]) == [first, second]
        assert isinstance(await connections.open(first), Conversation)
        assert connections.in_order([first, second]) == [second, first]
        await (await opened(connections, first)).close()
        assert connections.in_order([first, second]) == [first, second]
