"""`staffetta up`: everything on one machine with one command, for trial and development.

In order: the directory is ours alone; strays of a killed run are ended; ports are free; PostgreSQL and Valkey; the schema
and the first account; API, SMTP server, workers and inbox side by side; then it watches, and starts again what dies. Ctrl-C stops it
all in the order in which mail is safe: doors first, then the workers, the servers last. A second Ctrl-C does not wait.

The supervisor keeps no connection and loads little: killing it, or anything below it, costs nothing that the next start
does not mend.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from app.cli.alive import answers, greets
from app.cli.banner import Running, banner, ready_line
from app.cli.logs import Logs
from app.cli.ports import Ports, choose_ports
from app.cli.program import Program, command_line, program_environment
from app.cli.settings import read_settings
from app.config import Settings
from app.embedded import EmbeddedServers, StartError
from app.embedded.child import end_strays, last_words, running_with, stop_child

# Children carry it, so that a later run finds those whose supervisor was killed.
_MARK = "STAFFETTA_STARTED_FOR"
_READY_SECONDS = 120.0
_TICK_SECONDS = 0.25


class _StopEarly(Exception):
    """Told to stop while still starting."""


def run_up(data: Path | None, port: int | None, workers: int | None, *, as_json: bool, verbose: bool) -> int:
    """Run until told to stop; the exit status."""
    settings = read_settings()
    directory = Path(os.path.abspath(data)) if data is not None else default_directory()  # noqa: PTH100 (keeps symlinks as chosen)
    house = _House(settings, directory, workers or settings.worker_processes, as_json=as_json, verbose=verbose)
    try:
        house.start(port)
        house.watch()
    except StartError as error:
        print(f"staffetta: {error}", file=sys.stderr)
        return 1
    except _StopEarly:
        pass
    finally:
        house.stop()
    return 0


def default_directory() -> Path:
    """Where data lies unless --data says: /var/lib for root, the user's data directory, or `data` in the checkout without a HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/staffetta")
    shared = os.environ.get("XDG_DATA_HOME", "")
    if Path(shared).is_absolute():
        return Path(shared) / "staffetta"
    home = os.environ.get("HOME", "")
    if Path(home).is_absolute() and os.access(home, os.W_OK):
        return Path(home) / ".local" / "share" / "staffetta"
    return Path(__file__).resolve().parents[2] / "data"


class _House:
    """All that `up` starts, and the way it ends."""

    def __init__(self, settings: Settings, directory: Path, workers: int, *, as_json: bool, verbose: bool) -> None:
        self._settings = settings
        self._directory = directory
        self._worker_count = workers
        self._as_json = as_json
        self._verbose = verbose
        self._servers = EmbeddedServers(directory, self._stop_early)
        self._inbox: Program | None = None
        self._api: Program | None = None
        self._smtp: Program | None = None
        self._workers: list[Program] = []
        self._started = False
        self._stops = 0
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def _programs(self) -> list[Program]:
        return [program for program in (self._api, self._smtp, *self._workers, self._inbox) if program is not None]

    def start(self, port: int | None) -> None:
        self._listen_to_signals()
        self._servers.claim()
        end_strays(lambda: running_with(_MARK, str(self._directory)), ((signal.SIGTERM, 2.0),))
        ports = choose_ports(port, self._settings)
        self._logs = Logs(self._servers.log_directory, shown=self._verbose)
        if self._servers.owner is not None and self._servers.owner.switched:
            self._say(f"PostgreSQL does not run as root: it and Valkey run as {self._servers.owner.name}")
        environment = self._environment(ports)
        self._inbox = self._program("inbox", environment)
        self._inbox.start()  # it needs no database to receive
        self._servers.start()
        account = self._prepare(environment)
        self._stop_early()
        self._api = self._program("api", environment, command="serve")
        self._workers = [self._program(f"worker-{number}", environment, command="worker") for number in range(1, self._worker_count + 1)]
        self._smtp = self._program("smtp", environment)
        for program in (self._api, self._smtp, *self._workers):
            program.start()
        self._wait_until_ready(ports)
        running = Running(self._directory, Path(environment["STAFFETTA_KEYRING_PATH"]), ports, environment["STAFFETTA_PUBLIC_URL"], account)
        print(ready_line(running) if self._as_json else banner(running), flush=True)
        self._started = True

    def watch(self) -> None:
        """Keep everything running until told to stop."""
        while not self._stops:
            for program in self._programs:
                news = program.tend()
                if news:
                    self._say(news)
            try:
                for name in self._servers.tend():
                    self._say(f"{name} had ended and runs again (log: {self._servers.log_directory / name}.log)")
            except (StartError, OSError) as error:
                self._say(f"{error}; trying again")
                time.sleep(1.0)
            self._logs.tend()
            # A signal (a child's end is one) ends the wait at once.
            select.select([self._wake_reader], [], [], _TICK_SECONDS if self._verbose else 4 * _TICK_SECONDS)
            self._drain_wakes()

    def stop(self) -> None:
        """Doors first, then the workers with the time they need, the inbox that they deliver to, the servers last."""
        for door in (self._api, self._smtp):
            if door is not None:
                door.tell_to_stop()
        for door in (self._api, self._smtp):
            if door is not None:
                door.stop(20.0)
        for worker in self._workers:
            worker.tell_to_stop()
        for worker in self._workers:
            worker.stop(self._settings.drain_seconds + 5.0)
        if self._inbox is not None:
            self._inbox.stop(5.0)
        self._servers.stop()

    def _program(self, name: str, environment: dict[str, str], *, command: str | None = None) -> Program:
        return Program(name, [command or name], environment, self._servers.log_directory)

    def _environment(self, ports: Ports) -> dict[str, str]:
        """Settings of the children: what `up` decides, what it would like unless the operator set it, and all the operator's others."""
        wishes = {
            "STAFFETTA_SMARTHOST": f"127.0.0.1:{ports.inbox_smtp}",
            "STAFFETTA_WEBHOOK_ALLOW_PRIVATE": "true",
            "STAFFETTA_PUBLIC_URL": f"http://localhost:{ports.api}",
        }
        return program_environment(
            {**wishes, **os.environ, _MARK: str(self._directory)},
            database_url=self._servers.database_url,
            redis_url=self._servers.redis_url,
            keyring_path=os.environ.get("STAFFETTA_KEYRING_PATH", str(self._directory / "keyring.json")),
            api_port=str(ports.api),
            inbox_http_port=str(ports.inbox_http),
            inbox_smtp_port=str(ports.inbox_smtp),
            inbox_directory=str(self._directory / "inbox"),
            submission_ports=",".join(map(str, ports.smtp_starttls)),
            submission_tls_ports=",".join(map(str, ports.smtp_tls)),
            return_ports=",".join(map(str, ports.returns)),
        )

    def _prepare(self, environment: dict[str, str]) -> dict[str, str]:
        """Schema and first account, in a child: this process stays small."""
        kept = self._directory / "first-account.json"
        log = self._servers.log_directory / "prepare.log"
        start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            command = command_line("prepare", str(kept))
            child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
        try:
            while child.poll() is None:
                self._stop_early()
                time.sleep(0.01)
        finally:
            stop_child(child, ((signal.SIGTERM, 2.0),))
        if child.returncode != 0:
            raise StartError(f"the database could not be prepared: {last_words(log, start)} (log: {log})")
        account: dict[str, str] = json.loads(kept.read_bytes())
        return account

    def _wait_until_ready(self, ports: Ports) -> None:
        until = time.monotonic() + _READY_SECONDS
        host = self._settings.submission_host
        smtp = [(f"the SMTP server's port {port}", partial(greets, host, port)) for port in ports.smtp_starttls]
        waiting: dict[str, Callable[[], bool]] = {
            "the API": partial(answers, self._settings.api_host, ports.api, "/readyz"),
            "the inbox": partial(answers, "127.0.0.1", ports.inbox_http, "/api/messages"),
            **dict(smtp),
        }
        while waiting:
            self._stop_early()
            for program in self._programs:
                reason = program.why_ended()
                if reason is not None:
                    raise StartError(reason)
            if time.monotonic() > until:
                raise StartError(
                    f"{' and '.join(waiting)} did not get ready within {_READY_SECONDS:.0f} s; see {self._servers.log_directory}"
                )
            waiting = {name: is_ready for name, is_ready in waiting.items() if not is_ready()}
            if waiting:
                time.sleep(0.03)

    def _listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1
        if self._stops == 1 and self._started:
            self._say("stopping; once more to stop without waiting")
        elif self._stops > 1:
            for program in self._programs:
                program.kill()

    def _stop_early(self) -> None:
        """Asked between the steps of the start: a signal's handler raises nothing, lest a child be started and nobody have it in hand."""
        if self._stops:
            raise _StopEarly

    def _drain_wakes(self) -> None:
        try:
            os.read(self._wake_reader, 4096)
        except BlockingIOError:
            return

    def _say(self, line: str) -> None:
        print(f"staffetta: {line}", file=sys.stderr, flush=True)
