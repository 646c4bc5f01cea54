"""Doubles of the outside world that are real servers: a scripted SMTP sink, DNS zones, a webhook receiver."""
