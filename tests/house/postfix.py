"""Postfix with OpenDKIM, as a yardstick: an instance of its own in a directory, on a loopback port, relaying everything to the sink.

It is meant to be as fast as Postfix is while it promises what it promises: the queue is on the same disk as our database, and fsync is as
it comes. What is set otherwise than by default is in its favour, or makes the work the same:

    in its favour    no log-in (permit_mynetworks), no log of deliveries where no syslogd runs, no DNS, no content checks, no limits of
                     clients, in_flow_delay 0, the connection cache on for the sink from the first mail, 100 processes of a kind
    the same work    TLS with the same certificate, 20 connections to the sink from the start, one recipient a transaction, RSA-2048,
                     relaxed/relaxed, a mail that could not be signed is not taken

Needs root, and the Debian packages postfix and opendkim; their own instances and configuration are not touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from app.embedded.child import die_with_parent
from app.mail.dkim import generate_signing_key

PACKAGES = ("postfix", "opendkim")
_SELECTOR = "bench"
_READY_SECONDS = 20.0
_DAEMONS = Path("/usr/lib/postfix/sbin")
_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = postfix.example.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtpd_milters = unix:{directory}/opendkim.sock
milter_default_action = tempfail
message_size_limit = 30000000
relayhost = [127.0.0.1]:{sink_port}
smtp_dns_support_level = disabled
smtp_connection_cache_destinations = [127.0.0.1]:{sink_port}
initial_destination_concurrency = {connections}
default_destination_concurrency_limit = {connections}
smtp_destination_recipient_limit = 1
default_process_limit = 100
in_flow_delay = 0
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
_OPENDKIM = """\
Mode s
Domain {domain}
Selector {selector}
KeyFile {directory}/dkim.pem
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
InternalHosts 127.0.0.0/8
Socket local:{directory}/opendkim.sock
UMask 000
UserID root
RequireSafeKeys no
Background no
Syslog no
"""


class Postfix:
    """A running instance; `record` is the TXT record of its signatures by its name."""

    def __init__(self, directory: Path, *, port: int, sink_port: int, domain: str, certificate: Path, connections: int = 20) -> None:
        """Start it."""
        self.port = port
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("", "queue", "data"):
            (directory / name).mkdir()
            (directory / name).chmod(0o755)
        shutil.chown(directory / "data", "postfix")
        pem, public = generate_signing_key("rsa-sha256")
        self.record = {f"{_SELECTOR}._domainkey.{domain}": public}
        _write(directory / "dkim.pem", pem.decode(), 0o600)
        _write(directory / "tls.pem", certificate.read_text(), 0o600)
        values = {"directory": directory, "certificate": directory / "tls.pem", "sink_port": sink_port, "port": port, "domain": domain}
        values |= {"selector": _SELECTOR, "connections": connections}
        _write(directory / "main.cf", _MAIN.format(**values))
        _write(directory / "master.cf", _MASTER.format(**values))
        _write(directory / "opendkim.conf", _OPENDKIM.format(**values))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._children["opendkim"] = self._spawn("opendkim", "-f", "-x", str(self._directory / "opendkim.conf"))
        self._wait(lambda: (self._directory / "opendkim.sock").exists(), "opendkim")
        checked = subprocess.run(["postfix", "-c", str(self._directory), "check"], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise RuntimeError(f"postfix check: {checked.stderr or checked.stdout}")
        self._children["postfix"] = self._spawn(str(_DAEMONS / "master"), "-c", str(self._directory))
        self._wait(lambda: _listens(self.port), "postfix")

    @property
    def pids(self) -> dict[str, list[int]]:
        """The roots of its process trees, by what they are."""
        return {name: [child.pid] for name, child in self._children.items()}

    def queue(self) -> str:
        """What it has not delivered, and why."""
        return subprocess.run(["postqueue", "-c", str(self._directory), "-p"], capture_output=True, text=True, check=False).stdout[:2000]

    def stop(self) -> None:
        for child in reversed(self._children.values()):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        with (self._directory / "postfix.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM)
            )

    def _wait(self, ready: object, name: str) -> None:
        until = time.monotonic() + _READY_SECONDS
        while not ready():  # type: ignore[operator]
            if self._children[name].poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start: {(self._directory / 'postfix.log').read_text()[-1000:]}")
            time.sleep(0.05)


def missing_packages() -> list[str]:
    """What must be installed first, in Debian's names."""
    return [name for name in PACKAGES if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
