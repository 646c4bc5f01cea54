"""A real PostgreSQL and a real Valkey out of PyPI wheels, started and stopped by us: trial, development and tests.

The wheels are carriers of programs only; who runs, where the files lie and who stops whom is decided here.
Nothing here knows what Staffetta keeps in the servers. Linux only (macOS and Windows: a container or WSL2).
"""

from app.embedded.child import StartError
from app.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedServers", "StartError"]
