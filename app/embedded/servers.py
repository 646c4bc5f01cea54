"""Both embedded servers on one directory, owned by one caller at a time.

    directory/  lock          held (flock) while the servers run: everything else relies on owning the directory
                postgres/     the cluster            valkey/   the append-only file
                run/          the sockets            log/      what the servers say
                programs/     a copy of the programs, when the unprivileged user of root cannot reach the installed ones

`start` recovers from whatever an earlier run left; `tend` starts again what has died; `stop` leaves nothing running.
Call `start` and `tend` from the main thread: the servers end with the thread that started them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from app.embedded.binaries import find_binaries, stage_binaries
from app.embedded.child import StartError
from app.embedded.owner import Owner, closed_to, find_owner, give_directory
from app.embedded.postgres import DATABASE, ROLE, Postgres
from app.embedded.valkey import Valkey

# A socket's address has room for 108 bytes, and drivers split hosts at commas and colons.
_SOCKET_DIRECTORY = re.compile(r"[A-Za-z0-9_./ +-]{1,85}")


class EmbeddedServers:
    """PostgreSQL and Valkey under `directory`, which is made when missing.

    `go_on` is asked between the steps of a start and while one waits: what it raises ends the start.
    """

    def __init__(self, directory: Path, go_on: Callable[[], None] = lambda: None) -> None:
        self.directory = Path(os.path.abspath(directory))  # noqa: PTH100 (resolve would lose a symlink the user chose)
        self.log_directory = self.directory / "log"
        self.owner: Owner | None = None
        self.sockets = self.directory / "run"
        self._go_on = go_on
        self._lock: int | None = None
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None

    @property
    def database_url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of a database of this PostgreSQL, for the role Staffetta has."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.sockets), safe='')}"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.sockets / 'valkey.sock'))}"

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the servers that run."""
        servers = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: server.child.pid for name, server in servers.items() if server is not None and server.child is not None}

    def start(self) -> None:
        """Start both servers and wait until they answer. Raises StartError with one line that says why not."""
        try:
            self.claim()
            postgres, valkey = self._prepare()
            postgres.ensure_cluster()
            self._go_on()
            valkey.start()
            postgres.start()
            valkey.wait_until_ready(self._go_on)
            postgres.wait_until_ready(self._go_on)
        except OSError as error:
            self.stop()
            raise StartError(_explain_os_error(error)) from error
        except BaseException:
            self.stop()
            raise

    def claim(self) -> None:
        """Make the directory and own it; refused while another run does. `start` does this by itself."""
        if self._lock is not None:
            return
        if sys.platform != "linux":
            raise StartError("the embedded servers run on Linux; elsewhere use a container, WSL2, or your own PostgreSQL and Valkey")
        owner = find_owner()
        if owner is None:
            raise StartError(f"user id {os.geteuid()} has no name on this system (/etc/passwd), and PostgreSQL needs one")
        self.owner = owner
        try:
            self._make_directory(owner)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(_explain_os_error(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            raise StartError(
                f"another run (pid {holder}) uses {self.directory}: stop it, or start with another --data and --port"
            ) from error
        self._lock = lock
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def tend(self) -> list[str]:
        """Start again what has died; the names of those."""
        revived = []
        for name, server in (("postgres", self._postgres), ("valkey", self._valkey)):
            if server is not None and server.child is not None and server.child.poll() is not None:
                server.clear_strays()
                server.start()
                server.wait_until_ready(self._go_on)
                revived.append(name)
        return revived

    def stop(self) -> None:
        """Stop both and give the directory free. May be called again."""
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
        if self._lock is not None:
            if not self.sockets.is_relative_to(self.directory):
                shutil.rmtree(self.sockets, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def create_database(self, name: str, template: str | None = None) -> str:
        """A new database, empty or a copy of `template` (to which nobody may be connected); its URL."""
        self._running().run_sql(f'CREATE DATABASE "{name}" OWNER {ROLE}' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Remove a database and end the sessions in it."""
        self._running().run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> Postgres:
        if self._postgres is None:
            raise StartError("PostgreSQL has not been started")
        return self._postgres

    def _make_directory(self, owner: Owner) -> None:
        # Root's directories let the unprivileged user pass to what is his, and see nothing else; whatever the umask.
        made = [path for path in (*reversed(self.directory.parents), self.directory) if not path.exists()]
        for path in made:
            path.mkdir()
            path.chmod(0o711 if owner.switched else 0o700)
        if owner.switched:
            barrier = closed_to(owner, self.directory)
            if barrier is not None:
                raise StartError(f"PostgreSQL does not run as root, and user {owner.name} may not enter {barrier}: choose another --data")
        self.log_directory.mkdir(exist_ok=True, mode=0o700)

    def _prepare(self) -> tuple[Postgres, Valkey]:
        owner = self.owner
        assert owner is not None
        binaries = find_binaries()
        if any(closed_to(owner, program.parent) for program in (binaries.postgres / "postgres", binaries.valkey)):
            binaries = stage_binaries(binaries, self.directory / "programs")
        self.sockets = self._socket_directory()
        give_directory(self.sockets, owner)
        give_directory(self.directory / "valkey", owner)
        self._postgres = Postgres(self.directory / "postgres", self.sockets, self.log_directory / "postgres.log", binaries, owner)
        self._valkey = Valkey(self.directory / "valkey", self.sockets, self.log_directory / "valkey.log", binaries, owner)
        self._postgres.clear_strays()
        self._valkey.clear_strays()
        return self._postgres, self._valkey

    def _socket_directory(self) -> Path:
        """`run`, or a short place under the temporary directory when that path is no good address for a socket."""
        inside = self.directory / "run"
        if _SOCKET_DIRECTORY.fullmatch(str(inside)):
            return inside
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        place = Path(tempfile.gettempdir()) / f"staffetta-{os.geteuid()}-{name}"
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        status = place.lstat()
        owners = {os.geteuid(), self.owner.uid} if self.owner is not None else {os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners or status.st_mode & 0o077:
            raise StartError(f"{place} is needed for sockets, but it is not ours: remove it")
        return place


def _explain_os_error(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if isinstance(error, PermissionError):
        return f"no permission{where} (run as its owner, or start with another --data)"
    reason = "disk full" if error.errno == 28 else (error.strerror or str(error))
    return f"{reason}{where}"
