"""render(): a template's version and variables become subject, HTML and text.

A set that is proven and whose cost for these variables is small is rendered here, in the calling process: an order confirmation takes
less than the pipe to another process would. It is compiled here at its second use, so that sets that are used once cost nothing.
Everything else, and every check of what somebody writes, is done by the pool.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import asdict, astuple
from typing import Any

from app.mail.template import ENGINE, Compiled, Fault, FrozenSet, Rendered, Source, TemplateFault, UnknownNames
from app.rendering.pool import Pool, RenderEnded

_KEPT_SETS = 500
_ENDED = Fault("too_slow", "It takes too long or needs too much memory, and was ended.")


class Renderer:
    """Owns the pool, and the sets that are compiled in this process."""

    def __init__(self, processes: int = 2) -> None:
        self.pool = Pool(processes)
        # None: met once.
        self._compiled: OrderedDict[Hashable, Compiled | None] = OrderedDict()

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
        if not frozen.proven or frozen.engine != ENGINE:
            return None
        compiled = self._compiled.get(version)
        if compiled is None:
            compiled = self._meet(version, frozen)
        if compiled is None or compiled.plan is None or not compiled.plan.is_small(variables, size):
            return None
        return compiled.render(variables, locale, small=True)

    def _meet(self, version: tuple[Hashable, ...], frozen: FrozenSet) -> Compiled | None:
        compiled = Compiled(frozen) if version in self._compiled else None
        self._compiled[version] = compiled
        if len(self._compiled) > _KEPT_SETS:
            self._compiled.popitem(last=False)
        return compiled

    async def _ask(self, account_id: int, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.pool.ask(account_id, request)
        except RenderEnded as error:
            raise TemplateFault(_ENDED) from error
        if "fault" in answer:
            fault = answer["fault"]
            raise TemplateFault(Fault(**fault | {"variable": tuple(fault["variable"])}))
        return answer
