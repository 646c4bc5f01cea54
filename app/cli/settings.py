"""Settings from the environment and from files of secrets, or one line per wrong one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import ValidationError

from app.config import Settings

# As containers (/run/secrets) and systemd (LoadCredential=) give them: one file per setting, named staffetta_database_url and so on.
_DIRECTORIES = ("STAFFETTA_SECRETS", "CREDENTIALS_DIRECTORY")


def read_settings() -> Settings:
    """The settings of this run; ends the program when one of them cannot be. A variable wins over a file."""
    named = next((os.environ[name] for name in _DIRECTORIES if os.environ.get(name)), None)
    if named is not None and not Path(named).is_dir():
        sys.exit(f"staffetta: STAFFETTA_SECRETS: there is no directory {named}")
    try:
        return Settings(_secrets_dir=named)
    except ValidationError as error:
        lines = [
            f"STAFFETTA_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        sys.exit("\n".join(f"staffetta: {line}" for line in lines))
