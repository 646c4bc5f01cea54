"""Who may send, as whom: credentials, domains and their DKIM keys."""
