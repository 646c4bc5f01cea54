"""Structured logs: one function per thing that happens, JSON lines, ids always, mail addresses never.

The format of the log lives here alone. Who a mail is to or from says its id, to whoever may ask.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_log: Any = structlog.get_logger("staffetta")


def set_up(level: str, *, role: str) -> None:
    """Configure logging for this process; `role` (api, worker, inbox, …) stands in every line."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")


def cause(error: BaseException) -> str:
    """An error's kind and words, on one line and bounded."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def accept_failed(submissions: int, error: BaseException) -> None:
    _log.error("accept_failed", submissions=submissions, cause=cause(error))


def reader_not_served(error: BaseException) -> None:
    """Somebody wanted to unsubscribe or choose, and was told to try again."""
    _log.warning("reader_not_served", cause=cause(error))


def worker_started(worker_id: int, name: str) -> None:
    _log.info("worker_started", worker_id=worker_id, name=name)


def worker_stopped(worker_id: int, released: int) -> None:
    _log.info("worker_stopped", worker_id=worker_id, released=released)


def lease_lost(worker_id: int) -> None:
    _log.warning("lease_lost", worker_id=worker_id)


def clock_is_wrong(ahead_seconds: float) -> None:
    """This machine's clock and PostgreSQL's differ; told once, until they agree again."""
    _log.error("clock_is_wrong", ahead_seconds=round(ahead_seconds, 1))


def workers_given_up(worker_ids: list[int], freed: int, held: int) -> None:
    _log.warning("workers_given_up", worker_ids=worker_ids, freed=freed, held=held)


def loop_failed(loop: str, error: BaseException) -> None:
    _log.error("loop_failed", loop=loop, cause=cause(error), exc_info=None if isinstance(error, OSError) else error)


def worker_waits(reason: str) -> None:
    """A worker that does not begin yet; told once."""
    _log.warning("worker_waits", reason=reason)


def stale_outcomes(count: int) -> None:
    _log.warning("stale_outcomes", count=count)


def wakes_lost(error: BaseException) -> None:
    _log.warning("wakes_lost", cause=cause(error))


def wakes_back() -> None:
    _log.info("wakes_back")


def tally_lost(error: BaseException) -> None:
    _log.warning("tally_lost", cause=cause(error))


def tally_back() -> None:
    _log.info("tally_back")


def chore_done(name: str, **facts: Any) -> None:
    _log.info("chore_done", chore=name, **facts)


def rows_without_message(count: int) -> None:
    _log.error("rows_without_message", count=count)


def webhook_health(endpoint_id: str, *, down: bool, failures: int, cause: str | None) -> None:
    if down:
        _log.warning("webhook_down", endpoint_id=endpoint_id, failures=failures, cause=cause)
    else:
        _log.info("webhook_up", endpoint_id=endpoint_id)


def webhook_disabled(endpoint_id: str, reason: str) -> None:
    _log.warning("webhook_disabled", endpoint_id=endpoint_id, reason=reason)


def webhook_given_up(endpoint_id: str, events: int, cause: str) -> None:
    _log.error("webhook_given_up", endpoint_id=endpoint_id, events=events, cause=cause)


def request_failed(request_id: str, method: str, error: BaseException) -> None:
    _log.error("request_failed", request_id=request_id, method=method, cause=cause(error), exc_info=error)


def child_ended(role: str, status: int) -> None:
    _log.error("child_ended", child=role, status=status)


def outcome_dropped(recipient_id: str) -> None:
    _log.error("outcome_dropped", recipient_id=recipient_id)


def login_refused(address: str, user_name: str | None) -> None:
    """A wrong password; `user_name` only where the password was right and the address was not: what was typed may be a password."""
    _log.info("login_refused", address=address, user_name=user_name)


def credential_held(user_name: str, kind: str, incident_id: str) -> None:
    _log.warning("credential_held", user_name=user_name, kind=kind, incident_id=incident_id)


def smtp_session_failed(peer: str, error: BaseException) -> None:
    _log.error("smtp_session_failed", peer=peer, cause=cause(error), exc_info=error)


def report_taken(kind: str, taken: str) -> None:
    """A mail came back to one of our addresses; what it is, and what became of it."""
    _log.info("report_taken", kind=kind, taken=taken)


def report_sent(message_id: str, kind: str, recipients: int) -> None:
    """A sender is told by mail what became of recipients of a message."""
    _log.info("report_sent", message_id=message_id, kind=kind, recipients=recipients)


def report_let_go(message_id: str, recipients: int, cause: str) -> None:
    """A sender is not told by mail what he is owed."""
    _log.warning("report_let_go", message_id=message_id, recipients=recipients, cause=cause)


def put_off(what: str, about: str, tries: int, error: BaseException, *, given_up: bool) -> None:
    """It could not be done by a fault of ours, for so many times by now: it waits longer, or is not tried again."""
    write = _log.error if given_up else _log.warning
    write("given_up" if given_up else "put_off", what=what, about=about, tries=tries, cause=cause(error), exc_info=error)


def inbound_taken(account_id: int, size_bytes: int, *, is_new: bool) -> None:
    """A mail came in for an account; `is_new` is False when it had come before."""
    _log.info("inbound_taken", account_id=account_id, size_bytes=size_bytes, is_new=is_new)


def inbound_unreadable(message_id: str, takes: int) -> None:
    """Reading it was begun so often and never finished: it is handed on as it came."""
    _log.error("inbound_unreadable", message_id=message_id, takes=takes)


def reclassed(hits: int, corrections: int) -> None:
    """Opens and clicks were looked at a second time."""
    _log.info("reclassed", hits=hits, corrections=corrections)


def certificate_read(path: str) -> None:
    _log.info("certificate_read", path=path)


def certificate_unreadable(path: str, error: BaseException) -> None:
    """The one before it is still served."""
    _log.error("certificate_unreadable", path=path, cause=cause(error))
