"""Who runs the servers. PostgreSQL refuses root, so root gives way to an unprivileged user: `staffetta`, else `nobody`."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

_FOR_ROOT = ("staffetta", "nobody")


@dataclass(frozen=True, slots=True)
class Owner:
    """The user the servers run as; `switched` when that is not the user who called."""

    name: str
    uid: int
    gid: int
    switched: bool


def find_owner() -> Owner | None:
    """The user the servers shall run as; None when the system has no name for it (PostgreSQL asks for one)."""
    if os.geteuid() != 0:
        try:
            entry = pwd.getpwuid(os.geteuid())
        except KeyError:
            return None
        return Owner(entry.pw_name, os.geteuid(), os.getegid(), switched=False)
    for name in _FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid, switched=True)
    return None


def closed_to(owner: Owner, path: Path) -> Path | None:
    """The first directory on the way to `path` that `owner` may not enter, or None."""
    for directory in (*reversed(path.resolve().parents), path.resolve()):
        status = directory.stat()
        if status.st_uid == owner.uid:
            may_enter = status.st_mode & stat.S_IXUSR
        elif status.st_gid == owner.gid:
            may_enter = status.st_mode & stat.S_IXGRP
        else:
            may_enter = status.st_mode & stat.S_IXOTH
        if not may_enter:
            return directory
    return None


def give_directory(path: Path, owner: Owner) -> None:
    """A directory that only `owner` can enter."""
    path.mkdir(mode=0o700, exist_ok=True)
    if owner.switched:
        os.chown(path, owner.uid, owner.gid)
