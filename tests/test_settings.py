"""Settings that cannot be are refused when a program starts, in one line that says what they must be like."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.accounts.tracking_hosts import check_host
from app.cli.settings import read_settings
from app.config import Settings
from app.mail.tracking import _checked

GOOD = [
    "http://localhost:8025",
    "https://relay.example.com",
    "https://relay.example.com.",
    "http://127.0.0.1:1",
    "https://xn--bcher-kva.example/mail/relay",
    "https://a-b.example:65535/x_y~z.1-2",
    "https://a--b.example",
]
BAD = [
    "",
    "relay.example.com",
    "ftp://relay.example.com",
    "https://",
    "https:///path",
    "https://b\u00fccher.example",
    "https://my_relay.example",
    "https://relay..example.com",
    "https://-relay.example.com",
    "https://relay.example.com:0",
    "https://relay.example.com:65536",
    "https://relay.example.com:",
    "https://user@relay.example.com",
    "https://relay.example.com/?a=1",
    "https://relay.example.com#a",
    "https://relay.example.com//a",
    "https://relay.example.com/a b",
    "https://[::1]:8025",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_base_url_is_taken_and_can_stand_in_links(url: str) -> None:
    for given in (url, f"{url}/", f" {url}/ "):
        assert Settings(public_url=given).public_url == url
    assert _checked(url) == url.encode()


@pytest.mark.parametrize("url", BAD)
def test_what_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="no base URL"):
        Settings(public_url=url)


def test_it_is_one_line_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAFFETTA_PUBLIC_URL", "relay.example.com")
    with pytest.raises(SystemExit) as ended:
        read_settings()
    words = str(ended.value)
    assert words.startswith("staffetta: STAFFETTA_PUBLIC_URL: 'relay.example.com' is no base URL: it must be like https://")
    assert "\n" not in words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HISTORY_RETENTION_DAYS", "-5", "must be at least 1, not '-5'"),  # it would have dropped all history
        ("LEASE_SECONDS", "0", "must be more than 0.0, not '0'"),
        ("API_PORT", "70000", "must be at most 65535, not '70000'"),
        ("API_PORT", "abc", "must be a whole number, not 'abc'"),
        ("WEBHOOK_ALLOW_PRIVATE", "maybe", "must be true or false, not 'maybe'"),
        ("LOG_LEVEL", "chatty", "must be one of DEBUG, INFO, WARNING, ERROR, not 'chatty'"),
        ("REPORT_LANGUAGE", "xx", "must be one of en, it, de, fr, es, not 'xx'"),
        ("SMARTHOST", "relay", "must be host:port, like smtp.example.com:587, not 'relay'"),
        ("SUBMISSION_PORTS", "587;465", "must be ports with commas between them, like 587,2525, not '587;465'"),
        ("DATABASE_URL", "mysql://u:secret@host/x", "must begin with postgresql:// or postgres:// or postgresql+asyncpg://"),
        ("REDIS_URL", "localhost", "must begin with redis:// or rediss:// or unix://"),
    ],
)
def test_a_value_that_cannot_be_says_what_it_must_be(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"STAFFETTA_{name}", value)
    with pytest.raises(SystemExit) as ended:
        read_settings()
    assert str(ended.value) == f"staffetta: STAFFETTA_{name}: {words}"


def test_a_name_that_is_none_is_told_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAFFETTA_API_PROT", "1")
    monkeypatch.setenv("STAFFETTA_VENV", "/x")
    assert read_settings().api_port == 8025
    told = capsys.readouterr().err
    assert told == "staffetta: STAFFETTA_API_PROT is no setting of this release and does nothing: do you mean STAFFETTA_API_PORT?\n"


@pytest.mark.parametrize("host", ["click.shop.example", "Click.shop.example.", "b\u00fccher.shop.example", "a-1.b.shop.example"])
def test_a_tracking_host_that_is_taken_can_stand_in_links(host: str) -> None:
    kept = check_host("shop.example", host)
    assert Settings(public_url=f"https://{kept}").public_url == f"https://{kept}"
    assert _checked(f"https://{kept}") == f"https://{kept}".encode()


@pytest.mark.parametrize(
    "host", ["https://click.shop.example", "click.shop.example/x", "click.shop.example:80", "a_b.shop.example", "click..shop.example"]
)
def test_a_tracking_host_that_cannot_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"host name|below the domain"):
        check_host("shop.example", host)
