"""The SMTP servers, for mail programs and for mail that comes back, as processes: ports first, then all of them take connections.

PostgreSQL and Valkey may be away when it starts: mail is answered with a 451 until the one is back, the other only makes wakes late.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from functools import partial
from pathlib import Path

import uvloop

from app import log
from app.accounts.domains import DomainBook
from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.cli.herd import Herd
from app.config import Settings
from app.feedback.arrivals import Arrivals
from app.heap import freeze_heap
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.loops import keep
from app.rendering import Renderer
from app.smtpd.certificate import Certificate, CertificateError, development_certificate
from app.smtpd.server import Listeners, SmtpServer
from app.sockets import allow_files
from app.store.db import Database
from app.tally import Tally
from app.watch.metrics import TELL_SECONDS, tell_figures

# What a process needs beside its connections: databases, logs, certificates.
_OTHER_FILES = 64


def run_smtp(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; ends the process with one line when it cannot start."""
    log.set_up(settings.log_level, role="smtp")
    allow_files(settings.submission_connections + settings.return_connections + _OTHER_FILES)
    try:
        # Made before any fork, so that all processes show the same one.
        Certificate(certificate_file(settings), settings.submission_key)
        listeners = Listeners.open(settings.submission_host, settings.submission_ports, settings.submission_tls_ports)
        listeners.returns = Listeners.open(settings.return_host, (), (), settings.return_ports).returns
    except CertificateError as error:
        sys.exit(f"staffetta: {error} (STAFFETTA_SUBMISSION_CERTIFICATE, STAFFETTA_SUBMISSION_KEY)")
    except OSError as error:
        sys.exit(f"staffetta: {error.strerror} (STAFFETTA_SUBMISSION_PORTS, STAFFETTA_SUBMISSION_TLS_PORTS, STAFFETTA_RETURN_PORTS)")
    if settings.submission_processes > 1:
        Herd("smtp", settings.submission_processes, lambda: uvloop.run(_serve(settings, listeners))).run()
    else:
        uvloop.run(_serve(settings, listeners))


def certificate_file(settings: Settings) -> Path:
    """The operator's certificate, or the one made for development, which lies beside the keyring."""
    if settings.submission_certificate is not None:
        return settings.submission_certificate
    return development_certificate(settings.keyring_path.parent, settings.submission_name or settings.helo_name)


async def _serve(settings: Settings, listeners: Listeners) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        keyring = Keyring.load(settings.keyring_path)
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        wakes = Wakes(settings.redis_url)
        stack.push_async_callback(wakes.close)
        renderer = Renderer(settings.render_processes)
        stack.push_async_callback(renderer.close)
        books = DomainBook(database, keyring), StreamBook(database), TemplateBook(database, renderer)
        intake = Intake(database, *books, settings, wakes)
        stack.push_async_callback(intake.close)
        certificate = Certificate(certificate_file(settings), settings.submission_key)
        arrivals = Arrivals(database, wakes, keyring, settings)
        credentials = SmtpCredentialBook(database, keyring)
        guard = Guard(database, credentials, wakes, first_allowance=settings.submission_first_allowance)
        stack.push_async_callback(guard.close)
        tally = Tally(settings.redis_url)
        stack.push_async_callback(tally.close)
        server = SmtpServer(settings, intake.submit_raw, credentials, certificate, arrivals, guard, tally)
        wakes.start()
        intake.start()
        guard.start()
        stack.push_async_callback(server.close, settings.drain_seconds)
        stack.callback(asyncio.create_task(keep("figures", partial(tell_figures, database, "smtp"), TELL_SECONDS)).cancel)
        await server.start(listeners)
        freeze_heap()
        await stopping.wait()
