"""`staffetta smtp-credential`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import accounts
from app.cli.smtp_credentials import smtp_credential as commands
from app.keyring import Keyring


def test_a_credential_is_made_listed_and_revoked(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    monkeypatch.setenv("STAFFETTA_KEYRING_PATH", str(tmp_path / "keyring.json"))
    Keyring.create(tmp_path / "keyring.json")
    assert CliRunner().invoke(accounts.app, ["account", "add", "acme"]).exit_code == 0

    def run(*words: str) -> str:
        result = CliRunner().invoke(commands, list(words))
        assert result.exit_code == 0, result.output
        return result.output

    words = ("create", "acme", "--name", "printer", "--from", "acme.example", "--network", "192.0.2.0/24", "--per-minute", "9", "--silent")
    made = json.loads(run(*words, "--json"))
    assert (made["allowed_from"], made["networks"], made["recipients_per_minute"]) == (["acme.example"], ["192.0.2.0/24"], 9)
    assert made["tells_failures"] is False
    assert made["user_name"] in run("list", "acme")
    assert made["password"] not in run("list", "acme", "--json")
    assert "User name  smtp-" in run("create", "acme")
    assert "is revoked" in run("revoke", made["user_name"])
    assert "revoked 20" in run("list", "acme")
    for wrong in (("create", "acme", "--from", "localhost"), ("create", "acme", "--stream", "x"), ("create", "no"), ("revoke", "smtp-x")):
        assert CliRunner().invoke(commands, list(wrong)).exit_code == 1
