"""The header of every run: what machine it was and whether the database promised what it promises in production."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from app.store.db import Database

_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
)
_PROBES = 50


async def describe(database: Database, directory: Path) -> dict[str, Any]:
    """Machine, versions and the durability settings as the server itself tells them.

    With the time of a signature, the largest part of a mail that no code makes smaller: figures of two machines can be laid side by side.
    """
    async with database.hot() as connection:
        settings = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in _SETTINGS}
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "signature_ms": round(signature_ms(), 3),
        "postgresql": settings.pop("server_version"),
        **settings,
        "fdatasync_ms": round(fdatasync_ms(directory), 3),
        "load_before": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def fdatasync_ms(directory: Path) -> float:
    """The median time of writing 8 KB and having it on the disk."""
    path = directory / "fdatasync.probe"
    times = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(file, 0, 8192)
        for _ in range(_PROBES):
            began = time.perf_counter()
            os.pwrite(file, os.urandom(8192), 0)
            os.fdatasync(file)
            times.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return sorted(times)[_PROBES // 2] * 1000


def signature_ms() -> float:
    """The least CPU time that an RSA-2048 signature took."""
    key = rsa.generate_private_key(65537, 2048)
    times = []
    for _ in range(_PROBES):
        began = time.process_time()
        key.sign(b"what is signed", PKCS1v15(), SHA256())
        times.append(time.process_time() - began)
    return min(times) * 1000


def header_line(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, "
        f"Python {machine['python']}, PostgreSQL {machine['postgresql']}; RSA-2048 signature {machine['signature_ms']} ms; "
        f"fsync {machine['fsync']}, synchronous_commit {machine['synchronous_commit']}, full_page_writes {machine['full_page_writes']}; "
        f"fdatasync {machine['fdatasync_ms']} ms"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
