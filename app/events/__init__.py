"""TOLD: history and its consequences. Nothing becomes history but by `record`; webhooks and feeds read what it wrote."""
