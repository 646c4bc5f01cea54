"""What the SMTP doors of a process count, for Prometheus; watch.metrics has it told."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

sessions = Gauge("staffetta_smtp_sessions", "SMTP sessions open.", ["door"])
accepted = Counter("staffetta_smtp_accepted_total", "Mails answered with a 250, after their commit.", ["door"])
refusals = Counter("staffetta_smtp_refusals_total", "Replies of 4yz and 5yz.", ["door", "code", "enhanced"])
logins_refused = Counter("staffetta_smtp_logins_refused_total", "Log-ins with a wrong password, or from a wrong network.")
