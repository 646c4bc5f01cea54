"""IN: accept or refuse. Nothing enters the house but by `submit`; it owns the group commit."""
