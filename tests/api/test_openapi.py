"""The OpenAPI document: whole, good for generators, and true: schemathesis asks the application what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from app import errors
from app.api.problems import TITLES
from app.config import Settings
from app.main import build_app

SECONDS_PER_MODE = 12
LEAST_ASKED = 3


@schemathesis.serializer("message/rfc822")
def write_mail(_context: Any, value: Any) -> bytes:
    """A made-up mail as it is sent: text for the most part."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = build_app(Settings()).openapi()
    return made


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield path, method, operation


def test_it_does_not_depend_on_the_settings(document: dict[str, Any]) -> None:
    other = Settings(public_url="https://relay.example.com", max_recipients=3, api_port=1)
    assert json.dumps(build_app(other).openapi()) == json.dumps(document)


def test_every_operation_is_fit_for_generators(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+[A-Za-z]+", each) for each in ids)
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in _operations(document):
        assert operation["summary"], (path, method)
        assert set(operation["tags"]) <= tags, (path, method)
        assert any(status.startswith("2") for status in operation["responses"]), (path, method)
        if path.startswith("/v1/"):
            assert {"401", "403", "500", "503"} <= operation["responses"].keys(), (path, method)
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), (path, method)
            assert all(content["example"] for content in operation["requestBody"]["content"].values())
        named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), (path, method)


def test_every_refusal_is_the_one_problem(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if status[0] in "45" and path.startswith("/v1/"):
                assert answer["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}, (
                    path,
                    method,
                )
    assert set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(TITLES)
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_reference_leads_somewhere_and_nothing_is_left_over(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/(\w+/[\w\-.]+)"', text))
    there = {f"{kind}/{name}" for kind in ("schemas", "headers") for name in document["components"][kind]}
    assert named == there
    # Marks that tell the forms of an address apart are for errors alone.
    assert "<text>" not in text


def test_titles_of_all_codes() -> None:
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.RelayError)}
    assert codes <= TITLES.keys()


@pytest.fixture(scope="module")
def address(house: Any) -> Iterator[str]:
    """The application behind a real server, in a thread of its own: schemathesis is not asynchronous."""
    config = uvicorn.Config(build_app(house.settings), host="127.0.0.1", port=0, lifespan="on", ws="none", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join(10)


WANTED = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def _ask(operation: Any, mode: GenerationMode, until: float, address: str, token: str) -> int:
    """Made-up requests to one operation until its time is up; returns how many."""
    asked = 0

    @settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        # The first examples of a large schema may take longer than its whole share of the time.
        if asked < LEAST_ASKED or time.monotonic() < until:
            asked += 1
            answer = case.call(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=10)
            # A first line of more than 64 KB, or what is no HTTP, never comes to the application: the server below it answers.
            if answer.content != b"Invalid HTTP request received.":
                case.validate_response(answer, checks=WANTED)

    with contextlib.suppress(Unsatisfiable):  # of some operations nothing can be wrong
        ask()
    return asked


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_application_does_what_it_says(document: dict[str, Any], address: str, house: Any, mode: GenerationMode) -> None:
    """For some seconds: no 500, no answer that is not in the document or not of its schema."""
    operations = [each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations()]
    asked: Counter[str] = Counter()
    for operation in operations:
        until = time.monotonic() + SECONDS_PER_MODE / len(operations)
        asked[operation.label] = _ask(operation, mode, until, address, house.shop.token)
    assert asked["POST /v1/messages"] >= LEAST_ASKED
    assert asked.total() >= 50, asked
