"""The API's description in openapi/: generated, reviewed in diffs, and never older than the code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from app.config import Settings
from app.main import build_app

_PATH = Path(__file__).resolve().parents[2] / "openapi" / "openapi.json"


def run_openapi(*, check: bool) -> int:
    """Write the description, or with `check` tell whether the written one is current."""
    description = json.dumps(build_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if not check:
        _PATH.parent.mkdir(exist_ok=True)
        _PATH.write_text(description)
        return 0
    if _PATH.exists() and _PATH.read_text() == description:
        return 0
    print(f"{_PATH.relative_to(_PATH.parents[1])} is not what the API says: run ./staffetta openapi", file=sys.stderr)
    return 1
