"""Settings from the environment and from files of secrets, or one line per wrong one."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config import Settings

# As containers (/run/secrets) and systemd (LoadCredential=) give them: one file per setting, named staffetta_database_url and so on.
_DIRECTORIES = ("STAFFETTA_SECRETS", "CREDENTIALS_DIRECTORY")
# Read elsewhere: by the script, by `up` of its own children, by compose.yaml and the proxy's file.
_OTHER_NAMES = frozenset(
    f"STAFFETTA_{name}" for name in ("SECRETS", "VENV", "PYTHON", "STARTED_FOR", "EXAMPLES", "PUBLIC_HOST", "RELEASE", "API")
)
_KINDS = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def read_settings() -> Settings:
    """The settings of this run; ends the program when one of them cannot be. A variable wins over a file."""
    named = next((os.environ[name] for name in _DIRECTORIES if os.environ.get(name)), None)
    if named is not None and not Path(named).is_dir():
        sys.exit(f"staffetta: STAFFETTA_SECRETS: there is no directory {named}")
    _tell_unknown_names()
    try:
        return Settings(_secrets_dir=named)
    except ValidationError as error:
        lines = [f"STAFFETTA_{'_'.join(map(str, fault['loc'])).upper()}: {_sentence(fault)}" for fault in error.errors()]
        sys.exit("\n".join(f"staffetta: {line}" for line in lines))


def _tell_unknown_names() -> None:
    """A warning, not the end: an older release is started again in the environment of a newer one."""
    known = {f"STAFFETTA_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith("STAFFETTA_") and name not in known | _OTHER_NAMES:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"do you mean {near[0]}?" if near else "docs/configuration.md has them all"
            print(f"staffetta: {name} is no setting of this release and does nothing: {hint}", file=sys.stderr)


def _sentence(fault: ErrorDetails) -> str:
    """What it must be, and what it is; our own sentences say that themselves. A URL, which may hold a password, has one of those."""
    if fault["type"] in _KINDS:
        return f"must be {_KINDS[fault['type']].format(**fault.get('ctx', {}))}, not {fault['input']!r}"
    return fault["msg"].removeprefix("Value error, ")
