"""Does each DKIM signature (RFC 6376, RFC 8463) of a message verify? See `mail.dkim_verify`.

In development the DNS of a domain does not hold its keys, so the key is asked for with `find_key(selector, domain)`, which
returns the TXT record that should be published. A verdict is made when it is first looked at, in one of two threads
(some milliseconds for a small one, 10 for each megabyte), and remembered; one that lacked its key is not, because the key may come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from app.inbox.headers import split_head
from app.inbox.keep import Keep, Kept
from app.mail.dkim_verify import Signature, find_signatures, verify_signature

FindKey = Callable[[str, str], Awaitable[str | None]]

_MAX_SIGNATURES = 10
_KEY_SECONDS = 5.0
_REMEMBERED = 2000


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105  (every signature verifies)
    FAIL = "fail"  # at least one does not: where mail is made, that is what one wants to see
    NONE = "none"  # not signed


def verdict_of(signatures: Sequence[Signature]) -> Verdict:
    if not signatures:
        return Verdict.NONE
    return Verdict.PASS if all(signature.passed for signature in signatures) else Verdict.FAIL


class Verifier:
    """Verdicts on kept messages; `close()` ends its threads."""

    def __init__(self, keep: Keep, find_key: FindKey) -> None:
        self._keep = keep
        self._keys = _Keys(find_key)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="dkim")
        self._known: dict[str, tuple[Signature, ...]] = {}

    async def signatures(self, kept: Kept) -> tuple[Signature, ...]:
        """The signatures of a message, topmost first."""
        if (known := self._known.get(kept.id)) is not None:
            return known
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._verify, kept, loop)
        if all(signature.final for signature in found):
            self._remember(kept.id, found)
        return found

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _remember(self, message_id: str, signatures: tuple[Signature, ...]) -> None:
        self._known[message_id] = signatures
        if len(self._known) > _REMEMBERED:
            self._known = {known_id: known for known_id, known in self._known.items() if self._keep.find(known_id)}

    def _verify(self, kept: Kept, loop: asyncio.AbstractEventLoop) -> tuple[Signature, ...]:
        raw = self._keep.read(kept)
        fields = find_signatures(split_head(raw))[:_MAX_SIGNATURES] if raw is not None else []
        if raw is None or not fields:
            return ()

        def find_key(selector: str, domain: str) -> str | None:
            return asyncio.run_coroutine_threadsafe(self._keys.find(selector, domain), loop).result(_KEY_SECONDS)

        return tuple(verify_signature(raw, number, field, find_key) for number, field in enumerate(fields))


class _Keys:
    """Remembers keys for half a minute and failures for two seconds: a page of messages asks for the same key many times."""

    def __init__(self, find_key: FindKey) -> None:
        self._find_key = find_key
        self._remembered: dict[tuple[str, str], tuple[float, str | Exception | None]] = {}

    async def find(self, selector: str, domain: str) -> str | None:
        until, answer = self._remembered.get((selector, domain), (0.0, None))
        if until < time.monotonic():
            answer = await self._ask(selector, domain)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[selector, domain] = (time.monotonic() + (30 if isinstance(answer, str) else 2), answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _ask(self, selector: str, domain: str) -> str | Exception | None:
        try:
            return await asyncio.wait_for(self._find_key(selector, domain), _KEY_SECONDS)
        except Exception as error:  # remembered like an answer, and raised to whoever asks
            return error
