"""render(): a template's version and variables become subject, HTML and text.

A set that is proven and whose cost for these variables is small is rendered here, in the calling process: an order confirmation takes
less than the pipe to another process would. It is compiled here at its second use, so that sets that are used once cost nothing; `keen`
says that what is met comes again, as mail does that waits to be delivered.
Everything else, and every check of what somebody writes, is done by the pool.

check() asks whether variables fill a version, for mail that is rendered when it is delivered: without writing anything where that is
proven to be cheap, else by a render.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

from app.mail.template import ENGINE, Compiled, Fault, FrozenSet, Rendered, Source, TemplateFault, UnknownNames
from app.mail.template_check import Check
from app.recent import Recent
from app.rendering.pool import Pool, RenderEnded

_KEPT_SETS = 500
_ENDED = Fault("too_slow", "It takes too long or needs too much memory, and was ended.")


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
    check: Check | None = None


class Renderer:
    """Owns the pool, and the sets that are compiled in this process."""

    def __init__(self, processes: int = 2, *, keen: bool = False) -> None:
        self.pool = Pool(processes)
        self._keen = keen
        # None: met once.
        self._kept: Recent[Hashable, _Kept | None] = Recent(_KEPT_SETS)

    async def close(self) -> None:
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
        made = self.render_here((account_id, *version), frozen, variables, locale, size)
        if made is not None:
            return made
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
        """The short way; None when this set or these variables do not allow it."""
        kept = self._find_small(version, frozen, variables, size)
        return kept.compiled.render(variables, locale, small=True) if kept is not None else None

    async def check(
        self, account_id: int, version: tuple[Hashable, ...], frozen: FrozenSet, variables: Mapping[str, Any], locale: str, size: int
    ) -> Checked:
        """Whether `render` would fill the set; raises TemplateFault as that does."""
        kept = self._find_small((account_id, *version), frozen, variables, size)
        if kept is not None and kept.compiled.plan is not None:
            if kept.check is None:
                kept.check = Check(kept.compiled)
            subject = kept.check.subject_for(variables, locale)
            if not kept.check.has_odd_strings:
                return Checked(subject, kept.compiled.plan.about_written(variables, size))
        made = await self.render(account_id, version, frozen, variables, locale, size)
        return Checked(made.subject, sum(len(part.encode(errors="replace")) for part in (made.html, made.text) if part), made)

    def _find_small(self, version: tuple[Hashable, ...], frozen: FrozenSet, variables: Mapping[str, Any], size: int) -> _Kept | None:
        """The set as it is kept here, when it and these variables allow the short way."""
        if not frozen.proven or frozen.engine != ENGINE:
            return None
        kept = self._kept.get(version)
        if kept is None:
            kept = self._meet(version, frozen)
        if kept is None or kept.compiled.plan is None or not kept.compiled.plan.is_small(variables, size):
            return None
        return kept

    def _meet(self, version: tuple[Hashable, ...], frozen: FrozenSet) -> _Kept | None:
        kept = self._kept[version] = _Kept(Compiled(frozen)) if self._keen or version in self._kept else None
        return kept

    async def _ask(self, account_id: int, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.pool.ask(account_id, request)
        except RenderEnded as error:
            raise RenderInterrupted(_ENDED) from error
        if "fault" in answer:
            fault = answer["fault"]
            raise TemplateFault(Fault(**fault | {"variable": tuple(fault["variable"])}))
        return answer
