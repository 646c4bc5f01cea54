"""A DNS server for tests and benches: real UDP, zones from a dict or a JSON file.

    python -m tests.doubles.dns --port 0 --zones zones.json          prints {"port": …, "pid": …} when ready
    async with DnsServer({"a.test": {"MX": [[10, "mx.a.test"]]}}) as server: … server.port

Zones map a name to its records, or to a way of failing:

    "shop.test":    {"MX": [[10, "mx1.shop.test"]], "TXT": ["v=spf1 -all"], "ttl": 60}
    "mx1.shop.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}
    "null.test":    {"MX": [[0, "."]]}                       RFC 7505
    "alias.test":   {"CNAME": "shop.test"}
    "*.sites.test": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"]}    every name below, each with an MX of its own
    "broken.test":  "SERVFAIL"      also "REFUSED", "NXDOMAIN", and "TIMEOUT" for no answer at all

The exact name wins, then the nearest wildcard; any other name is NXDOMAIN. `delay_ms` holds back every answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zones = Mapping[str, Mapping[str, Any] | str]
DEFAULT_TTL = 300


class DnsServer(asyncio.DatagramProtocol):
    """Answers from `zones`, which may be changed while it runs. `queries` counts (name, type)."""

    def __init__(self, zones: Zones, *, delay_ms: float = 0.0) -> None:
        self.zones = dict(zones)
        self.queries: Counter[tuple[str, str]] = Counter()
        self.delay_seconds = delay_ms / 1000
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self.port = self._transport.get_extra_info("sockname")[1]

    def stop(self) -> None:
        if self._transport:
            self._transport.close()
            self._transport = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        reply = self._answer(query)
        if reply is not None:
            asyncio.get_running_loop().call_later(self.delay_seconds, self._send, reply.to_wire(), addr)

    def _send(self, wire: bytes, addr: tuple[str, int]) -> None:
        if self._transport:
            self._transport.sendto(wire, addr)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.queries[name, kind] += 1
        reply = dns.message.make_response(query, recursion_available=True)
        for _ in range(8):
            entry = self._entry(name)
            if entry == "TIMEOUT":
                return None
            if isinstance(entry, str):
                reply.set_rcode(dns.rcode.from_text(entry))
                return reply
            ttl = entry.get("ttl", DEFAULT_TTL)
            if "CNAME" not in entry:
                break
            reply.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "CNAME", f"{entry['CNAME']}."))
            name = entry["CNAME"]
        if texts := [_record(kind, value, name) for value in entry.get(kind, ())]:
            reply.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *texts))
        return reply

    def _entry(self, name: str) -> Mapping[str, Any] | str:
        if name in self.zones:
            return self.zones[name]
        above = name
        while above:
            above = above.partition(".")[2]
            if (found := self.zones.get(f"*.{above}")) is not None:
                return found
        return "NXDOMAIN"


def _record(kind: str, value: Any, name: str) -> str:
    if kind == "MX":
        preference, host = value
        return f"{preference} {host.format(name=name).rstrip('.')}."
    if kind == "TXT":
        return " ".join(json.dumps(value[at : at + 255]) for at in range(0, len(value), 255))
    return str(value)


async def _serve(options: argparse.Namespace) -> None:
    server = DnsServer(json.loads(options.zones.read_text()), delay_ms=options.delay_ms)
    await server.start(options.host, options.port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(json.dumps({"port": server.port, "pid": os.getpid()}), flush=True)
    await stopped.wait()
    server.stop()
    print(json.dumps({"queries": server.queries.total()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A DNS server for tests and benches.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--zones", type=Path, required=True, help="JSON file")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
