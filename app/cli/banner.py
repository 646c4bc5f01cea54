"""What `up` says when it is ready: for people, or one line of JSON for programs."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from app.cli.ports import Ports

_TEXT = """\
Staffetta is running.

  API         {api_url}
  API key     {api_key}
  From        {from_address}      (the domain of the first account)
  SMTP        {smtp}
  SMTP user   {smtp_user}      password {smtp_password}
  Incoming    {returns}
  Inbox       {inbox_url}      (all mail goes here, none leaves this machine{exception})
  Data        {directory}
  Keyring     {keyring}
              Losing it means new DKIM keys, API keys and webhook secrets: keep a copy, apart from the database's.

Send an order confirmation, and look at it in the inbox:

{curl}

Ctrl-C stops everything; the data stays."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is. `account` is what first-account.json holds."""

    directory: Path
    keyring: Path
    ports: Ports
    public_url: str
    account: dict[str, str]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def smtp(self) -> str:
        """The ports for mail programs, in words."""
        kinds = (("STARTTLS", self.ports.smtp_starttls), ("TLS", self.ports.smtp_tls))
        ports = [f"{' and '.join(map(str, ports))} ({kind})" for kind, ports in kinds if ports]
        return f"localhost, port {', '.join(ports)}" if ports else "off"

    @property
    def returns(self) -> str:
        """Where bounces and complaints come back to, in words."""
        ports = " and ".join(map(str, self.ports.returns))
        return f"localhost, port {ports}      (bounces, complaints and mail for inbound routes: port 25 elsewhere)" if ports else "off"

    @property
    def inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inbox_http}"


def banner(running: Running) -> str:
    """For the terminal, with a command that sends a mail."""
    smarthost = os.environ.get("STAFFETTA_SMARTHOST")
    return _TEXT.format(
        api_url=running.api_url,
        api_key=running.account["api_key"],
        from_address=running.account["from"],
        smtp=running.smtp,
        smtp_user=running.account["smtp_user"],
        smtp_password=running.account["smtp_password"],
        returns=running.returns,
        inbox_url=running.inbox_url,
        exception=f", but STAFFETTA_SMARTHOST={smarthost} is set" if smarthost else "",
        directory=running.directory,
        keyring=running.keyring,
        curl=_curl(running),
    )


def ready_line(running: Running) -> str:
    """The same as one line of JSON."""
    return json.dumps(
        {
            "api_url": running.api_url,
            "api_key": running.account["api_key"],
            "from": running.account["from"],
            "smtp_user": running.account["smtp_user"],
            "smtp_password": running.account["smtp_password"],
            "inbox_url": running.inbox_url,
            "public_url": running.public_url,
            "ports": running.ports.named,
            "data": str(running.directory),
            "pid": os.getpid(),
        }
    )


def _curl(running: Running) -> str:
    body = {
        "from": f"Example Shop <{running.account['from']}>",
        "to": ["Ada Lovelace <ada@example.com>"],
        "subject": "Your order 1001 is confirmed",
        "html": "<h1>Thank you, Ada!</h1><p>Order <b>1001</b>: one brass gear wheel, 49.90 EUR. We will write again when it ships.</p>",
        "text": "Thank you, Ada! Order 1001: one brass gear wheel, 49.90 EUR. We will write again when it ships.",
    }
    return " \\\n".join(
        (
            f"  curl -sS {running.api_url}/v1/messages",
            f"    -H 'Authorization: Bearer {running.account['api_key']}'",
            "    -H 'Content-Type: application/json'",
            f"    -d {shlex.quote(json.dumps(body))}",
        )
    )
