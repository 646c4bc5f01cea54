"""docs/configuration.md and .env.example, written from app/config.py: `python -m tests.settings_docs` in the environment of the checkout.

The tests compare what stands in the files with what this makes. Fields are described where they are declared; their groups are the
`# ---` comments between them.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from app.config import Settings

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "docs" / "configuration.md"
ENV_EXAMPLE = ROOT / ".env.example"

_GROUP = re.compile(r"^    # --- (.+)$")
_FIELD = re.compile(r"^    (\w+): ")

_PREFACE = """\
# Configuration

*Written from `app/config.py` by `python -m tests.settings_docs`; a test fails when it is stale.*

Every setting is an environment variable. Secrets may be files instead: `STAFFETTA_SECRETS` names a directory (`/run/secrets` in a
container; systemd's `LoadCredential=` is found by itself) with a file for each, like `staffetta_database_url`; a variable wins over a
file. There is no configuration file: [`.env.example`](../.env.example) lists all of them with their defaults, for `EnvironmentFile=` of
systemd, `--env-file` of a container, or a shell. A value that cannot be ends the
program with one line that names the variable; a variable whose name is like a setting's and is none is told in a line on
standard error, and does nothing. Sizes are in bytes, times in the unit that their names end with, switches are `true` or `false`.

`./staffetta up` sets by itself, and overrides, whatever says where things are on its machine: `STAFFETTA_DATABASE_URL`,
`STAFFETTA_REDIS_URL`, `STAFFETTA_API_PORT` and the inbox's ports and directory (`--port` and `--data` choose them). Unless you set
them, it also chooses ports for SMTP (`STAFFETTA_SUBMISSION_PORTS`, `STAFFETTA_SUBMISSION_TLS_PORTS`), puts the keyring into `--data`,
delivers all mail to its local inbox (`STAFFETTA_SMARTHOST`), lets webhooks go to this machine (`STAFFETTA_WEBHOOK_ALLOW_PRIVATE`) and
takes `http://localhost:PORT` for `STAFFETTA_PUBLIC_URL`.

Two variables are read by the `staffetta` script itself: `STAFFETTA_VENV`, where the Python environment lies (`.venv` beside the
script), and `STAFFETTA_PYTHON`, the Python to make it with.
"""

_ENV_PREFACE = """\
# Every setting with its default; see docs/configuration.md. Written by `python -m tests.settings_docs`, a test fails when it is stale.
# Take the mark off a line to set it. Nothing reads this file by itself: give it to systemd (EnvironmentFile=) or a container (--env-file).
"""


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting as the documents show it."""

    group: str
    variable: str
    kind: str
    default: str
    meaning: str


def read_knobs() -> Iterator[Knob]:
    """The settings in the order of their declaration."""
    group = ""
    for line in inspect.getsource(Settings).splitlines():
        if heading := _GROUP.match(line):
            group = heading[1]
        elif (found := _FIELD.match(line)) and found[1] in Settings.model_fields:
            field = Settings.model_fields[found[1]]
            yield Knob(group, f"STAFFETTA_{found[1].upper()}", _kind_of(field.annotation), _text_of(field.default), field.description or "")


def configuration() -> str:
    """The text of docs/configuration.md."""
    parts = [_PREFACE]
    group = None
    for knob in read_knobs():
        if knob.group != group:
            group = knob.group
            parts.append(f"\n## {group[:1].upper()}{group[1:]}\n\n| variable | kind | default | meaning |\n|---|---|---|---|\n")
        default = f"`{knob.default}`" if knob.default else "none"
        parts.append(f"| `{knob.variable}` | {knob.kind} | {default} | {knob.meaning} |\n")
    return "".join(parts)


def env_example() -> str:
    """The text of .env.example."""
    parts = [_ENV_PREFACE]
    group = None
    for knob in read_knobs():
        if knob.group != group:
            group = knob.group
            parts.append(f"\n# --- {group}\n")
        parts.append(f"\n# {knob.meaning}\n# {knob.variable}={knob.default}\n")
    return "".join(parts)


def _kind_of(annotation: Any) -> str:
    if get_origin(annotation) in {Union, types.UnionType}:
        return " or ".join(_kind_of(one) for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is tuple:
        return "list"
    return {bool: "switch", int: "number", float: "number", str: "text", Path: "path"}[annotation]


def _text_of(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)


if __name__ == "__main__":
    CONFIGURATION.write_text(configuration())
    ENV_EXAMPLE.write_text(env_example())
