"""compose.yaml as Docker would read it: variables put in, anchors and merges resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "compose.yaml"
EXAMPLE = ROOT / "deploy" / "compose.env.example"

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


def read_example() -> dict[str, str]:
    """The variables of the example, as an operator begins with them."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Variables as the specification has them: `${NAME}`, `${NAME:-default}`, `${NAME:?why it must be}`. KeyError for a missing one."""

    def value_of(found: re.Match[str]) -> str:
        name, operator, word = found[1], found[2], found[3]
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if operator == ":-":
            return word
        raise KeyError(f"{name} {word or ''}".strip())

    return _VARIABLE.sub(value_of, text)


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(interpolate(FILE.read_text(), variables))
    return read
