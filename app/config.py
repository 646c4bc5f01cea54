"""Settings: every knob of the house, read once in `cli` and passed on.

Each field can be set by an environment variable STAFFETTA_<NAME> (upper case). There is no module-level
instance: whoever needs a setting is given it. Units stand in the names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
# Nothing but what mail.tracking can put before a path: a test holds the two together.
_BASE_URL = re.compile(rf"https?://{_LABEL}(?:\.{_LABEL})*\.?(?::([0-9]{{1,5}}))?(?:/[A-Za-z0-9._~\-]+)*")

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}")
_SCHEMES = {
    "database_url": ("postgresql://", "postgres://", "postgresql+asyncpg://"),
    "redis_url": ("redis://", "rediss://", "unix://"),
}
_CHOICES = {"log_level": ("DEBUG", "INFO", "WARNING", "ERROR"), "report_language": ("en", "it", "de", "fr", "es")}


class Settings(BaseSettings):
    """What an operator may set. Docs of the fields are the docs of the settings."""

    model_config = SettingsConfigDict(env_prefix="STAFFETTA_", frozen=True, extra="forbid")

    # --- where things are
    database_url: str = Field("postgresql://localhost/staffetta", description="PostgreSQL, as a libpq URL; `?host=/dir` for a socket.")
    redis_url: str = Field(
        "redis://localhost:6379/0", description="Valkey or Redis; `unix:///path` for a socket. It only wakes: it may be away."
    )
    keyring_path: Path = Field(
        Path("data/keyring.json"), description="The file of secret keys. Losing it means new DKIM keys, API keys and webhook secrets."
    )
    public_url: str = Field(
        "http://localhost:8025",
        description="Where recipients and clients reach this server from outside: `https://host`, perhaps with port and path.",
    )

    # --- HTTP door
    api_host: str = Field("127.0.0.1", description="Address the HTTP API listens on.")
    api_port: int = Field(8025, description="Port the HTTP API listens on.", ge=0, le=65535)
    api_processes: int = Field(1, description="HTTP API processes; one fills a core.", ge=1)
    max_message_bytes: int = Field(25 * 1024 * 1024, description="Largest message accepted, as MIME bytes.", ge=1)
    max_request_bytes: int = Field(40 * 1024 * 1024, description="Largest request body accepted.", ge=1)
    # An id has room for so many (store.ids): a test holds the two together.
    max_recipients: int = Field(1000, description="Most recipients of one message, to + cc + bcc.", ge=1, le=65535)

    render_processes: int = Field(
        2, description="Limited processes for templates (256 MB each), of each API process and worker; started when first needed.", ge=1
    )

    metrics_token: str = Field("", description="Who may read /metrics: `Authorization: Bearer <this>`. Empty: this machine only.")

    # --- group commit
    accept_group_rows: int = Field(500, description="Most submissions in one commit.", ge=1)
    accept_group_bytes: int = Field(8 * 1024 * 1024, description="Most content bytes in one commit.", ge=1)
    accept_waiting_rows: int = Field(5000, description="Submissions that may wait for a commit before 503 is answered.", ge=1)
    accept_waiting_bytes: int = Field(
        128 * 1024 * 1024, description="Content bytes that may wait for a commit before 503 is answered.", ge=1
    )

    # --- SMTP door
    submission_host: str = Field("127.0.0.1", description="Address the SMTP server for mail programs listens on.")
    submission_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (587, 2525), description="Its ports with STARTTLS, comma-separated; empty: none."
    )
    submission_tls_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (465,), description="Its ports with TLS from the first octet, comma-separated; empty: none."
    )
    submission_processes: int = Field(1, description="SMTP processes; one fills a core.", ge=1)
    submission_name: str = Field("", description="The name it greets with, the one in its certificate. Empty: STAFFETTA_HELO_NAME.")
    submission_certificate: Path | None = Field(
        None, description="PEM file of its certificate with the chain; read again when it changes. None: one signed by itself."
    )
    submission_key: Path | None = Field(None, description="PEM file of the certificate's key. None: it is in the certificate's file.")
    submission_connections: int = Field(2000, description="Most connections to one SMTP process; one account alone has half of them.", ge=1)
    submission_connections_per_address: int = Field(
        200, description="Most connections of one IP address (IPv6: one /64) to one SMTP process.", ge=1
    )
    submission_bytes: int = Field(
        256 * 1024 * 1024,
        description="Content of unfinished messages that one SMTP process may hold; at least twice the longest: one account has half.",
        ge=1,
    )
    submission_login_seconds: float = Field(120.0, description="How long a client may take to log in.", gt=0)
    submission_idle_seconds: float = Field(300.0, description="How long a client may be silent (RFC 5321: at least 300).", gt=0)
    submission_session_seconds: float = Field(3600.0, description="How long a session may last after its log-in.", gt=0)

    submission_first_allowance: int = Field(
        1000,
        description="Recipients an hour of an SMTP credential in its first day; what goes beyond is held. Later its habits decide.",
        ge=1,
    )

    # --- mail that comes back, and mail that comes in
    return_host: str = Field(
        "127.0.0.1",
        description="Address the SMTP server for bounces, complaints and inbound mail listens on: the MX of the return paths' domain.",
    )
    return_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (), description="Its ports (25 in the Internet), comma-separated; empty: none."
    )
    return_connections: int = Field(500, description="Most connections to it in one SMTP process.", ge=1)
    return_connections_per_address: int = Field(50, description="Most of them from one address (of IPv6, from one /64).", ge=1)
    return_bytes: int = Field(
        128 * 1024 * 1024,
        description="Content of unfinished mail that one SMTP process may hold there; at least twice the longest: one address has half.",
        ge=1,
    )
    return_most_bytes: int = Field(5 * 1024 * 1024, description="Longest mail that is taken back.", ge=1)
    inbound_most_bytes: int = Field(
        25 * 1024 * 1024, description="Longest mail that is taken in for an account, by an inbound route.", ge=1
    )

    # --- delivery reports
    report_gather_seconds: float = Field(
        5.0, description="How long failures of one SMTP message are gathered before its sender is told by mail.", ge=0
    )
    report_delay_hours: float = Field(
        4.0, description="How long mail is put off before a sender who asked for it (NOTIFY=DELAY) is told.", ge=0
    )
    reports_per_hour: int = Field(
        100, description="Most delivery reports to one sender in an hour from one worker; the others are sent later.", ge=1
    )
    report_language: str = Field("en", description="Language of delivery reports where the sender's mail tells none: en, it, de, fr or es.")

    # --- delivery
    helo_name: str = Field("localhost", description="The name this server says in EHLO; its address should resolve back to it.")
    return_path_domain: str = Field("bounces.localhost", description="Domain of the return paths (VERP).")
    smarthost: str | None = Field(None, description="host:port that takes all mail, instead of delivery to each domain's MX.")
    smtp_port: int = Field(25, description="Port of receiving servers. Anything but 25 is for tests.", ge=0, le=65535)
    dns_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Resolvers as comma-separated ip or ip:port, for mail and webhooks; empty: those of the system."
    )
    allow_private_next_hops: bool = Field(
        False, description="Deliver to loopback and private addresses found by MX. For development and tests."
    )
    connections_per_site: int = Field(
        20, description="Most connections to one receiving site, unless the providers' file says otherwise.", ge=1
    )
    providers_file: Path | None = Field(
        None, description="A TOML file of limits and TLS rules by receiving site, over those that come with the release."
    )
    smtp_patience: float = Field(
        1.0, description="Times RFC 5321's time limits: how long receiving servers may take. Anything but 1 is for tests.", gt=0
    )
    connection_idle_seconds: float = Field(
        15.0, description="How long an idle connection to a receiving server is kept for the next message.", gt=0
    )
    deliveries_per_connection: int = Field(1000, description="Messages sent over one connection before it is closed.", ge=1)
    worker_connections: int = Field(
        200, description="Most conversations at once of one worker process; idle connections are kept beside them.", ge=1
    )
    worker_buffer_rows: int = Field(1000, description="Most recipients claimed and not yet settled by one worker.", ge=1)
    worker_buffer_bytes: int = Field(64 * 1024 * 1024, description="Most content bytes held by one worker.", ge=1)
    worker_processes: int = Field(2, description="Worker processes that `up` starts; one fills a core.", ge=1)
    lease_seconds: float = Field(10.0, description="How long a silent worker keeps its claims.", gt=0)
    heartbeat_seconds: float = Field(2.0, description="How often a worker renews its lease.", gt=0)
    poll_seconds: float = Field(0.5, description="How often a worker looks for work that nobody told it of.", gt=0)
    retry_first_seconds: float = Field(120.0, description="Wait before the second attempt; later waits grow from it.", gt=0)
    max_age_hours_transactional: float = Field(
        24.0, description="Age at which transactional mail is given up, unless expires_at says otherwise.", gt=0
    )
    max_age_hours_bulk: float = Field(72.0, description="Age at which bulk mail is given up, unless expires_at says otherwise.", gt=0)
    drain_seconds: float = Field(25.0, description="How long a worker told to stop finishes conversations under way.", ge=0)

    # --- keeping
    content_retention_days: int = Field(
        30, description="Days after which message content is dropped; up to a sixth later what is kept or waits for weeks more.", ge=1
    )
    history_retention_days: int = Field(400, description="Days after which messages, attempts and events are dropped.", ge=1)
    second_look_seconds: float = Field(
        300.0, description="After so long an open or a click is looked at again: person or machine, by what came with it.", gt=0
    )

    # --- webhooks
    webhook_allow_private: bool = Field(False, description="Post webhooks to loopback and private addresses. For development and tests.")
    webhook_timeout_seconds: float = Field(15.0, description="How long a webhook receiver may take to answer.", gt=0)

    webhook_attempt_days: int = Field(30, description="Days for which single posts to webhooks are listed; whole weeks are dropped.", ge=1)
    webhook_haste: float = Field(1.0, gt=0, description="Divides every wait of the webhook schedule. Anything but 1 is for tests.")

    # --- development
    inbox_smtp_port: int = Field(2526, description="Local inbox: SMTP port.", ge=0, le=65535)
    inbox_http_port: int = Field(8026, description="Local inbox: HTTP port.", ge=0, le=65535)
    inbox_directory: Path = Field(Path("data/inbox"), description="Local inbox: the directory of the messages it keeps.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        """It stands at the beginning of links in mail: what could not be one must not wait for the first mail to be found."""
        url = value.strip().rstrip("/")
        found = _BASE_URL.fullmatch(url)
        if found is None or not 0 < int(found[1] or 443) < 65536:
            raise ValueError(
                f"{value!r} is no base URL: it must be like https://relay.example.com or http://host:8025/path, in plain ASCII"
                " (an international name as xn--…), without user, query or fragment."
            )
        return url

    @field_validator("database_url", "redis_url")
    @classmethod
    def _check_scheme(cls, value: str, field: ValidationInfo) -> str:
        """Without the value: it may hold a password."""
        schemes = _SCHEMES[field.field_name or ""]
        if not value.startswith(schemes):
            raise ValueError(f"must begin with {' or '.join(schemes)}")
        return value

    @field_validator("log_level", "report_language")
    @classmethod
    def _check_choice(cls, value: str, field: ValidationInfo) -> str:
        choices = _CHOICES[field.field_name or ""]
        if value.casefold() not in map(str.casefold, choices):
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    @field_validator("smarthost")
    @classmethod
    def _check_smarthost(cls, value: str | None) -> str | None:
        if value and _HOST_AND_PORT.fullmatch(value) is None:
            raise ValueError(f"must be host:port, like smtp.example.com:587, not {value!r}")
        return value

    @field_validator("submission_ports", "submission_tls_ports", "return_ports", mode="before")
    @classmethod
    def _split_ports(cls, value: object) -> object:
        """0 is a free one, for tests."""
        if isinstance(value, str) and not re.fullmatch(r"[0-9,\s]*", value):
            raise ValueError(f"must be ports with commas between them, like 587,2525, not {value!r}")
        ports = tuple(int(part) for part in value.split(",") if part.strip()) if isinstance(value, str) else value
        if isinstance(ports, tuple) and not all(isinstance(port, int) and 0 <= port < 65536 for port in ports):
            raise ValueError("a port is a number from 1 to 65535")
        return ports

    @field_validator("dns_servers", mode="before")
    @classmethod
    def _split_dns_servers(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
