"""compose.yaml: what its own parser says, and what the parser does not look at."""

from __future__ import annotations

import json
import re
from typing import Any

import compose_spec
import pytest

from app.config import Settings
from tests.deploy.compose import FILE, ROOT, interpolate, read_compose, read_example

SPEC = read_compose(read_example())
SERVICES: dict[str, dict[str, Any]] = SPEC["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("staffetta")}


def parse(spec: dict[str, Any]) -> None:
    """As a strict parser of the Compose Specification reads it; ValueError."""
    parsed = compose_spec.PyCompose.from_json(json.dumps(spec))
    parsed.validate()
    parsed.to_spec()


def test_the_parser_takes_it() -> None:
    parse(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"stop_grace_periode": "30s"},
        {"stop_grace_period": "30 apples"},
        {"networks": ["nowhere"]},
        {"secrets": ["none"]},
        {"restart": "sometimes"},
        {"depends_on": {"migrate": {"condition": "service_done"}}},
    ],
)
def test_the_parser_does_not_take_everything(change: dict[str, Any]) -> None:
    spec = json.loads(json.dumps(SPEC))
    spec["services"]["api"] |= change
    with pytest.raises(ValueError):
        parse(spec)


def test_names_lead_somewhere() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith((".", "/"))}
        assert named <= set(SPEC["volumes"]), name
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (ROOT / volume.partition(":")[0]).exists(), volume


def test_every_variable_stands_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    assert asked == set(read_example())


@pytest.mark.parametrize("name", ["STAFFETTA_PUBLIC_HOST", "STAFFETTA_HELO_NAME", "STAFFETTA_RETURN_PATH_DOMAIN", "ACME_EMAIL"])
def test_what_nobody_can_guess_must_be_set(name: str) -> None:
    variables = read_example()
    del variables[name]
    with pytest.raises(KeyError, match=name):
        interpolate(FILE.read_text(), variables)


def test_settings_in_it_exist() -> None:
    known = {f"STAFFETTA_{name.upper()}" for name in Settings.model_fields} | {"STAFFETTA_SECRETS"}
    for service in OURS.values():
        assert set(service["environment"]) <= known
    secrets = set(SPEC["secrets"]) - {"postgres_password"}
    assert {name.upper() for name in secrets} <= known


def test_every_service_comes_back_is_watched_and_bounded() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("on-failure" if name == "migrate" else "unless-stopped"), name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name
        assert name == "migrate" or service["healthcheck"]["test"][0] == "CMD", name


def test_ours_run_locked_down() -> None:
    assert set(OURS) == {"migrate", "api", "smtp", "worker"}
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    for name in ("api", "smtp", "worker"):
        assert SERVICES[name]["volumes"][0] == "keyring:/var/lib/staffetta:ro"
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_only_the_proxy_and_smtp_are_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["smtp", "proxy"]
    assert SPEC["networks"]["inside"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["inside"] for name in ("postgres", "valkey", "migrate"))


def test_a_worker_is_given_the_time_it_drains() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) >= Settings().drain_seconds + 10


def test_connections_are_enough_for_what_it_starts() -> None:
    """The figures of docs/operating.md: up to 17 for each API and SMTP process, 18 for each worker."""
    most = next(int(word.partition("=")[2]) for word in SERVICES["postgres"]["command"] if word.startswith("max_connections"))
    processes = int(SERVICES["api"]["environment"]["STAFFETTA_API_PROCESSES"])
    processes += int(SERVICES["smtp"]["environment"]["STAFFETTA_SUBMISSION_PROCESSES"])
    assert most >= 2 * (17 * processes + 18 * SERVICES["worker"]["deploy"]["replicas"])
