"""Settings from the environment, or one line per wrong one."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from app.config import Settings


def read_settings() -> Settings:
    """The settings of this run; ends the program when one of them cannot be."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"STAFFETTA_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}" for fault in error.errors()]
        sys.exit("\n".join(f"staffetta: {line}" for line in lines))
