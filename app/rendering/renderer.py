"""render(): a template's version and variables become subject, HTML and text.

A set that is proven and whose cost for these variables is small is rendered here, in the calling process: an order confirmation takes
less than the pipe to another process would. It is compiled here at its second use, so that sets that are used once cost nothing; `keen`
says that what is met comes again, as mail does that waits to be delivered.
Everything else, and every check of what somebody writes, is done by the pool.

Compiling takes up to a tenth of a second. It is done in a thread, one set at a time and with rests between, so that who brings ever new
sets has a part of the process and no more; who meets it at work takes the pool. Kept are so many letters of sources, the latest ones.
Languages are loaded with the first mail that is in them, and only so many: the tables of all there are would take half a gigabyte.

check() asks whether variables fill a version, for mail that is rendered when it is delivered: without writing anything where that is
proven to be cheap, else by a render.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass
from typing import Any, TypeVar

from app.mail.template import ENGINE, Compiled, Fault, FrozenSet, Rendered, Source, TemplateFault, UnknownNames
from app.mail.template_check import Check
from app.mail.template_format import forget_locales
from app.recent import Recent
from app.rendering.pool import Pool, RenderEnded

_MET_SETS = 5_000
_KEPT_LETTERS = 8_000_000  # compiled, a set takes some ten octets for each
# After it has compiled the process does other things for so many times as long.
_REST = 3
_KEPT_LOCALES, _KEPT_LOCALES_OF_ACCOUNT = 100, 30
_LOCALES_SECONDS = 600.0
_ENDED = Fault("too_slow", "It takes too long or needs too much memory, and was ended.")


Made = TypeVar("Made")


class RenderInterrupted(TemplateFault):
    """The process was ended from outside. What was accepted once may do better another time: the machine was busy, or had no memory."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Variables that fill a template: the subject of the mail, and about how many octets its texts have. `whole`: if it was rendered."""

    subject: str | None
    about_bytes: int
    whole: Rendered | None = None


@dataclass(slots=True)
class _Kept:
    compiled: Compiled
    letters: int
    check: Check | None = None


class Renderer:
    """Owns the pool, and the sets that are compiled in this process."""

    def __init__(self, processes: int = 2, *, keen: bool = False) -> None:
        self.pool = Pool(processes)
        self._keen = keen
        self._met: Recent[Hashable, None] = Recent(_MET_SETS)
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._kept_letters = 0
        self._compiler = ThreadPoolExecutor(1, "compile")
        self._compiling: dict[Hashable, asyncio.Future[Any]] = {}
        self._rest_until = 0.0
        self._locales: dict[str, Hashable] = {}  # and the account that brought it
        self._locales_since = time.monotonic()

    async def close(self) -> None:
        self._compiler.shutdown(wait=False, cancel_futures=True)
        await self.pool.close()

    async def freeze(self, account_id: int, main: str, sources: Mapping[str, Source]) -> FrozenSet:
        """mail.template.freeze in a limited process: raises TemplateFault and UnknownNames as that does."""
        request = {"op": "freeze", "main": main, "sources": {name: astuple(one) for name, one in sources.items()}}
        answer = await self._ask(account_id, request)
        if "unknown" in answer:
            raise UnknownNames(frozenset(answer["unknown"]))
        return FrozenSet(**answer["frozen"])

    async def render(
        self, account_id: int, version: tuple[Hashable, ...], frozen: FrozenSet, variables: Mapping[str, Any], locale: str, size: int
    ) -> Rendered:
        """Fill a set. `version` names it for ever; `size` is that of the variables as JSON, in bytes. Raises TemplateFault."""
        kept = await self._keep((account_id, *version), frozen)
        if kept is not None and self._is_small(kept, variables, size) and self._has_locale(account_id, locale):
            return kept.compiled.render(variables, locale, small=True)
        request = {
            "op": "render",
            "key": repr((account_id, *version)),
            "frozen": asdict(frozen),
            "variables": variables,
            "locale": locale,
        }
        return Rendered(**(await self._ask(account_id, request))["rendered"])

    def render_here(
        self, version: tuple[Hashable, ...], frozen: FrozenSet, variables: Mapping[str, Any], locale: str, size: int
    ) -> Rendered | None:
        """The short way; None when this set or these variables do not allow it, or it is not compiled yet."""
        kept = self._find(version, frozen)
        if kept is None or not self._is_small(kept, variables, size) or not self._has_locale(version[0], locale):
            return None
        return kept.compiled.render(variables, locale, small=True)

    async def check(
        self, account_id: int, version: tuple[Hashable, ...], frozen: FrozenSet, variables: Mapping[str, Any], locale: str, size: int
    ) -> Checked:
        """Whether `render` would fill the set; raises TemplateFault as that does."""
        kept = await self._keep((account_id, *version), frozen)
        if kept is not None and self._is_small(kept, variables, size) and self._has_locale(account_id, locale):
            check = kept.check = kept.check or await self._compile(("check", account_id, *version), lambda: Check(kept.compiled))
            subject = check.subject_for(variables, locale) if check is not None else None
            if check is not None and not check.has_odd_strings and kept.compiled.plan is not None:
                return Checked(subject, kept.compiled.plan.about_written(variables, size))
        made = await self.render(account_id, version, frozen, variables, locale, size)
        return Checked(made.subject, sum(len(part.encode(errors="replace")) for part in (made.html, made.text) if part), made)

    def _find(self, version: Hashable, frozen: FrozenSet) -> _Kept | None:
        """The set as it is kept here."""
        kept = self._kept.get(version) if frozen.proven and frozen.engine == ENGINE else None
        if kept is not None:
            self._kept.move_to_end(version)
        return kept

    async def _keep(self, version: Hashable, frozen: FrozenSet) -> _Kept | None:
        """The same; compiled, if it comes again and this is no time of rest."""
        kept = self._find(version, frozen)
        if kept is not None or not frozen.proven or frozen.engine != ENGINE or not self._comes_again(version):
            return kept
        compiled = await self._compile(version, lambda: Compiled(frozen))
        kept = self._kept.get(version)
        if compiled is not None and kept is None:
            letters = sum(map(len, (*frozen.html.values(), *frozen.text.values())))
            kept = self._kept[version] = _Kept(compiled, letters)
            self._kept_letters += letters
            while self._kept_letters > _KEPT_LETTERS:
                self._kept_letters -= self._kept.popitem(last=False)[1].letters
        return kept

    def _comes_again(self, version: Hashable) -> bool:
        comes_again = self._keen or version in self._met
        self._met[version] = None
        return comes_again

    async def _compile(self, key: Hashable, make: Callable[[], Made]) -> Made | None:
        """What `make` makes, in a thread; whoever asks for the same waits for it too. None when this is not the time for it."""
        running: asyncio.Future[Made] | None = self._compiling.get(key)
        if running is None:
            if self._compiling or time.monotonic() < self._rest_until:
                return None
            began = time.monotonic()
            running = self._compiling[key] = asyncio.get_running_loop().run_in_executor(self._compiler, make)
            running.add_done_callback(lambda done: self._rest(key, began, done))
        return await asyncio.shield(running)

    def _rest(self, key: Hashable, began: float, done: asyncio.Future[Any]) -> None:
        del self._compiling[key]
        _ = done.cancelled() or done.exception()  # told to who waits, if anybody still does
        now = time.monotonic()
        self._rest_until = now + _REST * (now - began)

    def _is_small(self, kept: _Kept, variables: Mapping[str, Any], size: int) -> bool:
        plan = kept.compiled.plan
        return plan is not None and plan.is_small(variables, size)

    def _has_locale(self, account_id: Hashable, locale: str) -> bool:
        """Whether a language is loaded here, or may be."""
        if locale in self._locales:
            return True
        if len(self._locales) >= _KEPT_LOCALES and time.monotonic() > self._locales_since + _LOCALES_SECONDS:
            forget_locales()
            self._locales.clear()
            self._locales_since = time.monotonic()
        of_account = sum(one == account_id for one in self._locales.values())
        if len(self._locales) >= _KEPT_LOCALES or of_account >= _KEPT_LOCALES_OF_ACCOUNT:
            return False
        self._locales[locale] = account_id
        return True

    async def _ask(self, account_id: int, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.pool.ask(account_id, request)
        except RenderEnded as error:
            raise RenderInterrupted(_ENDED) from error
        if "fault" in answer:
            fault = answer["fault"]
            raise TemplateFault(Fault(**fault | {"variable": tuple(fault["variable"])}))
        return answer
