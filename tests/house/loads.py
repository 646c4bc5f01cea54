"""The load generator as a child of a house."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.house.children import Child
from tests.house.house import House
from tests.house.load import Outcome, Plan, plan_argument
from tests.house.smtp_load import SmtpPlan


class LoadRun:
    """A load that has begun; `outcome` waits for its end."""

    def __init__(self, house: House, plan: Plan | SmtpPlan) -> None:
        by_smtp = isinstance(plan, SmtpPlan)
        arguments = ["tests.house.smtp_load", json.dumps(asdict(plan))] if by_smtp else ["tests.house.load", plan_argument(plan)]
        self.child: Child = house.start_double("load", arguments)
        self._patience = (plan.seconds or 600.0) + 120.0
        if self.child.first_line() != "ready":
            raise RuntimeError(f"the load did not start: {self.child.last_words()}")

    @property
    def runs(self) -> bool:
        return self.child.runs

    def outcome(self) -> Outcome:
        return Outcome(**json.loads(self.child.rest(self._patience)))


def plan_for(house: House, **changes: Any) -> Plan:
    """A plan against a house's API."""
    return replace(Plan(port=house.api_port, token=house.token, sender=house.sender), **changes)


def count_lines(path: Path) -> int:
    """The lines of a log so far."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
