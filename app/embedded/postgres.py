"""The embedded PostgreSQL: makes a cluster, starts and stops it.

* It listens on a Unix socket only; who may connect is told by the kernel (peer), so there is no password to lose.
* A cluster appears under its name only when it is whole: an interrupted initdb leaves nothing that would be taken for one.
* Durability is never traded for speed: fsync, full_page_writes and synchronous_commit are on, in tests too.
* We own postgresql.conf (written at every start); ALTER SYSTEM and `postgresql.local.conf` beside the cluster override it.
* The superuser is `postgres`; Staffetta is the plain role `staffetta`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.embedded.binaries import Binaries
from app.embedded.child import StartError, end_strays, last_words, running_in, start_child, stop_child
from app.embedded.owner import Owner, give_directory

ROLE = "staffetta"
DATABASE = "staffetta"

# The caller's PG* and LD_* variables are not for this server.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

# SIGTERM would wait for the clients to leave by themselves; SIGINT ends their sessions and shuts down cleanly.
_STOP = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 5.0))

_READY_SECONDS = 300.0
_ROOM_BYTES = 256 * 1024 * 1024

_CONFIGURATION = """\
# Written at every start. Your own settings belong into ../postgresql.local.conf or ALTER SYSTEM.
listen_addresses = ''
unix_socket_permissions = 0700
cluster_name = 'staffetta'
max_connections = 100
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %q%a '

# Durability: a reply is a promise.
fsync = on
full_page_writes = on
synchronous_commit = on

# Checkpoints far apart: each one makes the next write of every page a full page image.
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
max_wal_size = 4GB
min_wal_size = 512MB
wal_buffers = 16MB

effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 128MB
random_page_cost = 1.1
jit = off

# The queue turns over its whole content every few seconds: look often, work without pauses of the default length.
autovacuum_naptime = 10s
autovacuum_vacuum_cost_delay = 1ms
autovacuum_vacuum_cost_limit = 1000
"""

_WITH_LZ4 = """
wal_compression = lz4
default_toast_compression = lz4
"""

_ROLES = f"""\
CREATE ROLE {ROLE} LOGIN CREATEDB;
GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO {ROLE};
CREATE DATABASE {DATABASE} OWNER {ROLE};
"""


class Postgres:
    """One cluster under `directory`, with its socket in `sockets`."""

    def __init__(self, directory: Path, sockets: Path, log: Path, binaries: Binaries, owner: Owner) -> None:
        self.directory = directory
        self.sockets = sockets
        self.log = log
        self._binaries = binaries
        self._owner = owner
        self._log_start = 0
        self.child: subprocess.Popen[bytes] | None = None

    def clear_strays(self) -> int:
        """End servers of an earlier run on this directory, and the files that speak of them."""
        count = end_strays(lambda: running_in(self.directory, "postgres"), _STOP) if self.directory.exists() else 0
        # PostgreSQL believes these files when any process at all has the number in them.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        (self.sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        (self.sockets / ".s.PGSQL.5432").unlink(missing_ok=True)
        return count

    def ensure_cluster(self) -> None:
        """Make the cluster when there is none; refuse one of another major version."""
        version_file = self.directory / "PG_VERSION"
        if version_file.exists():
            major = version_file.read_text().strip()
            if major != self._binaries.postgres_major:
                raise StartError(
                    f"{self.directory} holds data of PostgreSQL {major}, but this release brings PostgreSQL "
                    f"{self._binaries.postgres_major}: upgrade it with pg_upgrade or a dump, or start with another --data"
                )
            if self.directory.stat().st_uid != self._owner.uid:
                raise StartError(
                    f"{self.directory} belongs to another user than {self._owner.name}: run as that user, or start with another --data"
                )
            return
        self._make_cluster()

    def start(self) -> None:
        """Start the server; `wait_until_ready` tells when it answers."""
        settings = _CONFIGURATION + f"shared_buffers = {_shared_buffers()}MB\n" + (_WITH_LZ4 if self._has_lz4() else "")
        local = str(self.directory.parent / "postgresql.local.conf").replace("'", "''")
        (self.directory / "postgresql.conf").write_text(f"{settings}\ninclude_if_exists = '{local}'\n")
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.child = start_child(
            [self._binaries.postgres / "postgres", "-D", self.directory, "-c", f"unix_socket_directories={_quoted(self.sockets)}"],
            log=self.log,
            last_signal=signal.SIGINT,
            directory=self.directory,
            environment=_ENVIRONMENT,
            owner=self._owner,
        )

    def wait_until_ready(self, go_on: Callable[[], None]) -> None:
        """Wait until the server takes connections; replaying its journal after a crash may take a while."""
        assert self.child is not None
        until = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            go_on()
            if self.child.poll() is not None:
                raise StartError(_explain("PostgreSQL", last_words(self.log, self._log_start), self.log))
            if time.monotonic() > until:
                raise StartError(f"PostgreSQL is not ready after {_READY_SECONDS:.0f} s; see {self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """A clean shutdown: sessions are ended, everything is written."""
        if self.child is not None:
            stop_child(self.child, _STOP)
            self.child = None

    def run_sql(self, statement: str) -> None:
        """Run one statement as superuser, in the database `postgres`."""
        command = [
            str(self._binaries.postgres / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1",
            "-h", str(self.sockets), "-U", "postgres", "-d", "postgres", "-c", statement,
        ]  # fmt: skip
        done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False, cwd="/")  # noqa: S603
        if done.returncode != 0:
            raise StartError(f"PostgreSQL refused: {done.stderr.decode(errors='replace').strip().splitlines()[0]}")

    def _is_ready(self) -> bool:
        """As pg_ctl asks: the eighth line of postmaster.pid, when the first names our child."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and self.child is not None and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"

    def _make_cluster(self) -> None:
        if self.directory.exists() and any(self.directory.iterdir()):
            raise StartError(f"{self.directory} is not empty and holds no PostgreSQL cluster: start with another --data")
        free = shutil.disk_usage(self.directory.parent).free
        if free < _ROOM_BYTES:
            raise StartError(
                f"disk full: {self.directory.parent} has {free // 2**20} MB free, a new database needs {_ROOM_BYTES // 2**20} MB"
            )
        fresh = self.directory.with_name(f"{self.directory.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        give_directory(fresh, self._owner)
        self._run_as_owner(
            [
                self._binaries.postgres / "initdb", "-D", fresh, "-U", "postgres", "--encoding=UTF8", "--no-instructions",
                # The same order of texts on every machine and libc: a cluster may be moved.
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--auth-host=reject", "--auth-local=peer",
            ],
            fresh,
        )  # fmt: skip
        self._run_as_owner([self._binaries.postgres / "postgres", "--single", "-D", fresh, "postgres"], fresh, _ROLES)
        (fresh / "pg_hba.conf").write_text("local all all peer map=owners\n")
        names = {self._owner.name, "root"} if self._owner.switched else {self._owner.name}
        lines = [f'owners "{name}" {role}\n' for name in sorted(names) for role in ("postgres", ROLE)]
        (fresh / "pg_ident.conf").write_text("".join(lines))
        fresh.rename(self.directory)

    def _run_as_owner(self, command: list[str | Path], directory: Path, text: str = "") -> None:
        switch = self._owner if self._owner.switched else None
        done = subprocess.run(  # noqa: S603
            [str(part) for part in command],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            cwd=directory,
            umask=0o077,
            check=False,
            process_group=0,
            user=switch.uid if switch else None,
            group=switch.gid if switch else None,
            extra_groups=[] if switch else None,
        )
        with self.log.open("ab") as log:
            start = log.tell()
            log.write(done.stdout)
        if done.returncode != 0 or b"ERROR" in done.stdout:
            reason = last_words(self.log, start)
            shutil.rmtree(directory, ignore_errors=True)
            raise StartError(_explain("PostgreSQL", reason, self.log))

    def _has_lz4(self) -> bool:
        command = [str(self._binaries.postgres / "pg_config"), "--configure"]
        done = subprocess.run(command, capture_output=True, check=False, env=_ENVIRONMENT)  # noqa: S603
        return b"--with-lz4" in done.stdout


def _shared_buffers() -> int:
    """Megabytes: the queue and the newest history of a busy house fit, and a small machine keeps its memory."""
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(128, min(1024, megabytes // 16))


def _quoted(path: Path) -> str:
    """A directory in a list of directories, as the setting's syntax wants it."""
    return '"' + str(path).replace('"', '""') + '"'


def _explain(program: str, reason: str, log: Path) -> str:
    if "No space left on device" in reason:
        return f"disk full: {program} could not write ({reason})"
    return f"{program} did not start: {reason} (log: {log})"
