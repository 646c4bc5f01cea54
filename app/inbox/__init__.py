"""The local inbox, for trial and development: a real SMTP server that keeps what it receives, and a page that shows it.

Everything it shows was written by somebody else and is hostile until escaped. It knows nothing of the house but the DKIM
keys that a domain should publish; no mail leaves it.
"""

from app.inbox.local import Inbox, run

__all__ = ["Inbox", "run"]
