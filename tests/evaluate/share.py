"""How many of how many, and the bar for it in per cent."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.report import Row


@dataclass(slots=True)
class Share:
    counted: int = 0
    of: int = 0

    def add(self, counts: bool) -> None:
        self.counted += counts
        self.of += 1

    @property
    def per_cent(self) -> float:
        return 100 * self.counted / self.of if self.of else 0.0

    def text(self) -> str:
        return f"{self.counted}/{self.of} {self.per_cent:.1f} %"


def at_least_share(what: str, share: Share, bar: float) -> Row:
    """Where there is nothing to judge, no bar is missed or met."""
    return Row(what, share.text(), f"≥ {bar:g} %", share.per_cent >= bar if share.of else None)


def at_most_share(what: str, share: Share, bar: float) -> Row:
    return Row(what, share.text(), f"≤ {bar:g} %", share.per_cent <= bar if share.of else None)
