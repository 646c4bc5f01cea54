"""Whom an SMTP credential has written to, without their addresses. Pure.

A Bloom filter of 65,536 bits, three for each address, under a key that is the credential's name. It may take a stranger for somebody
known (5 % with 10,000 addresses), never the other way round. Once half of the bits are set it knows everybody: for who writes to tens of
thousands, *unknown* is no sign of anything. It cannot be read back into addresses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

BITS = 65536
_HALF = BITS // 2


class Circle:
    """One credential's."""

    def __init__(self, name: str, kept: bytes | None = None) -> None:
        self._key = name.encode()[:64]
        self._bits = bytearray(kept) if kept is not None else bytearray(BITS // 8)
        self._set = int.from_bytes(self._bits).bit_count()

    def count_strangers(self, addresses: Iterable[str]) -> int:
        """How many of these it does not know."""
        if self._set >= _HALF:
            return 0
        return sum(not self._has(self._places(address)) for address in addresses)

    def add(self, addresses: Iterable[str]) -> bool:
        """Know these from now on; whether that changed anything."""
        before = self._set
        for address in addresses:
            if self._set >= _HALF:
                break
            for place in self._places(address):
                byte, bit = place >> 3, 0x80 >> (place & 7)
                if not self._bits[byte] & bit:
                    self._bits[byte] |= bit
                    self._set += 1
        return self._set != before

    def merge(self, kept: bytes) -> None:
        """Know also whom another process has seen."""
        self._bits = bytearray((int.from_bytes(self._bits) | int.from_bytes(kept)).to_bytes(BITS // 8))
        self._set = int.from_bytes(self._bits).bit_count()

    def __bytes__(self) -> bytes:
        return bytes(self._bits)

    def _has(self, places: tuple[int, int, int]) -> bool:
        return all(self._bits[place >> 3] & 0x80 >> (place & 7) for place in places)

    def _places(self, address: str) -> tuple[int, int, int]:
        digest = hashlib.blake2b(address.lower().encode(errors="surrogateescape"), digest_size=6, key=self._key).digest()
        return digest[0] << 8 | digest[1], digest[2] << 8 | digest[3], digest[4] << 8 | digest[5]
