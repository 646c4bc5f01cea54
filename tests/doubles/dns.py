"""A DNS server for tests and benches: real UDP, zones from a dict or a JSON file.

    python -m tests.doubles.dns --port 0 --zones zones.json          prints {"port": …, "pid": …} when ready
    async with DnsServer({"a.test": {"MX": [[10, "mx.a.test"]]}}) as server: … server.port

Zones map a name to its records, or to a way of failing:

    "shop.test":    {"MX": [[10, "mx1.shop.test"]], "TXT": ["v=spf1 -all"], "ttl": 60}
    "mx1.shop.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}
    "null.test":    {"MX": [[0, "."]]}                       RFC 7505
    "alias.test":   {"CNAME": "shop.test"}
    "*.sites.test": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"]}    every name below, each with an MX of its own
    "soa.test":     {"SOA": 60}      for itself and all below it, what is missing may be kept so many seconds (RFC 2308)
    "broken.test":  "SERVFAIL"      also "REFUSED", "NXDOMAIN", and "TIMEOUT" for no answer at all

The exact name wins, then the nearest wildcard; any other name is NXDOMAIN. `delay_ms` holds back every answer.

Messages are read and written here (RFC 1035 §4), not by the library that the house asks with: a fault in it would be on both sides. It
also costs a tenth, and in a bench this server stands on the cores that are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import signal
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

try:
    from uvloop import run
except ImportError:
    from asyncio import run

Zones = Mapping[str, Mapping[str, Any] | str]
DEFAULT_TTL = 300

_TYPES = {1: "A", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
_NUMBERS = {kind: number for number, kind in _TYPES.items()}
_CODES = {"SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
_ANSWERS, _RECURSION_WANTED, _RECURSES, _AUTHENTIC = 0x8000, 0x0100, 0x0080, 0x0020
_QUESTION = b"\xc0\x0c"  # the name in the question, by a pointer
_OPTIONS = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)  # EDNS (RFC 6891), for those who come with it


class DnsServer(asyncio.DatagramProtocol):
    """Answers from `zones`, which may be changed while it runs. `queries` counts (name, type)."""

    def __init__(self, zones: Zones, *, delay_ms: float = 0.0, validates: bool = False) -> None:
        self.zones = dict(zones)
        self.validates = validates  # says of every answer that it is authentic
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
            reply = self._answer(data)
        except (IndexError, struct.error, UnicodeDecodeError):  # not a query
            return
        if reply is not None and self.delay_seconds:
            asyncio.get_running_loop().call_later(self.delay_seconds, self._send, reply, addr)
        elif reply is not None:
            self._send(reply, addr)

    def _send(self, wire: bytes, addr: tuple[str, int]) -> None:
        if self._transport:
            self._transport.sendto(wire, addr)

    def _answer(self, query: bytes) -> bytes | None:
        number, flags, _, _, _, extras = struct.unpack_from("!6H", query)
        name, end = _read_name(query, 12)
        (type_number,) = struct.unpack_from("!H", query, end)
        kind = _TYPES.get(type_number, f"TYPE{type_number}")
        self.queries[name, kind] += 1
        code, records = self._find(name, kind)
        if code is None:
            return None
        code |= _AUTHENTIC if self.validates else 0
        flags = _ANSWERS | flags & _RECURSION_WANTED | _RECURSES | code
        authority = [] if records else self._authority(name)
        head = struct.pack("!6H", number, flags, 1, len(records), len(authority), 1 if extras else 0)
        return b"".join((head, query[12 : end + 4], *records, *authority, _OPTIONS if extras else b""))

    def _authority(self, name: str) -> list[bytes]:
        """The SOA record above a name that has no answer, if a zone has one."""
        while name:
            entry = self.zones.get(name)
            if isinstance(entry, Mapping) and "SOA" in entry:
                return [_record(_name(name), "SOA", entry["SOA"], _content("SOA", entry["SOA"], name))]
            name = name.partition(".")[2]
        return []

    def _find(self, name: str, kind: str) -> tuple[int | None, list[bytes]]:
        """The code and the records to answer with; no code for no answer."""
        records: list[bytes] = []
        owner = _QUESTION
        for _ in range(8):
            entry = self._entry(name)
            if isinstance(entry, str):
                return (None if entry == "TIMEOUT" else _CODES[entry]), records
            ttl = entry.get("ttl", DEFAULT_TTL)
            if "CNAME" not in entry:
                records += [_record(owner, kind, ttl, _content(kind, value, name)) for value in entry.get(kind, ())]
                break
            name = entry["CNAME"]
            target = _name(name)
            records.append(_record(owner, "CNAME", ttl, target))
            owner = target
            if kind == "CNAME":  # RFC 1034 §3.6.2: who asks for the alias itself is not led on
                break
        return 0, records

    def _entry(self, name: str) -> Mapping[str, Any] | str:
        if name in self.zones:
            return self.zones[name]
        above = name
        while above:
            above = above.partition(".")[2]
            if (found := self.zones.get(f"*.{above}")) is not None:
                return found
        return "NXDOMAIN"


def _read_name(wire: bytes, at: int) -> tuple[str, int]:
    """A name without pointers, lower case, and where it ends."""
    labels = []
    while length := wire[at]:
        labels.append(wire[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _name(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _record(owner: bytes, kind: str, ttl: int, content: bytes) -> bytes:
    return owner + struct.pack("!HHIH", _NUMBERS[kind], 1, ttl, len(content)) + content


def _content(kind: str, value: Any, name: str) -> bytes:
    if kind == "MX":
        preference, host = value
        return struct.pack("!H", preference) + _name(host.format(name=name))
    if kind == "SOA":
        return _name(f"ns.{name}") + _name(f"hostmaster.{name}") + struct.pack("!5I", 1, 3600, 600, 86400, value)
    if kind == "PTR":
        return _name(value)
    if kind == "TXT":
        text = value.encode()
        return b"".join(bytes((len(text[at : at + 255]),)) + text[at : at + 255] for at in range(0, len(text), 255))
    return ipaddress.ip_address(value).packed


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
    run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
