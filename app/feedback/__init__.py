"""BACK: what recipients and receivers say afterwards becomes history and its consequences.

Doors give it values: no HTTP and no SMTP here.
"""
