"""The Grafana board and the alert rules ask for what /metrics has, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.smtpd import figures as smtp_figures
from app.watch.metrics import tell_figures
from tests.deploy.compose import ROOT
from tests.flows.conftest import House, until

BOARD = json.loads((ROOT / "deploy/grafana/staffetta.json").read_text())
RULES = [rule for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"] for rule in group["rules"]]
# Prometheus' own, and what it adds to every series.
_ITS_OWN = {"up"}
_ADDED_LABELS = {"job", "instance"}


def board_expressions() -> list[str]:
    written = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "5m") for expression in written]


EXPRESSIONS = [rule["expr"] for rule in RULES] + board_expressions()


def selectors(expression: Any) -> Iterator[Any]:
    """Every selector of series in an expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector
    elif isinstance(expression, promql_parser.BinaryExpr):
        yield from (*selectors(expression.lhs), *selectors(expression.rhs))
    elif isinstance(expression, promql_parser.Call):
        for argument in expression.args:
            yield from selectors(argument)
    elif hasattr(expression, "expr"):
        yield from selectors(expression.expr)


def grouped_by(expression: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")}


async def test_every_series_is_there_with_its_labels(house: House) -> None:
    accepted = await house.send()
    await house.until_states(accepted["id"], "delivered")
    assert (await house.api.post("/v1/messages", json={})).status_code == 422  # a refusal to be counted
    smtp_figures.refusals.labels("submission", "451", "4.3.0")
    for figure in (smtp_figures.sessions, smtp_figures.accepted):
        figure.labels("submission")
    await tell_figures(house.database, "smtp")

    async def read() -> str:
        return (await house.api.get("/metrics")).text

    text = await until(read, lambda text: "staffetta_delivery_seconds_bucket" in text and "staffetta_settled_recipients_total{" in text)
    text = await until(read, lambda text: 'process="smtp ' in text)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    assert len(EXPRESSIONS) > 25
    for expression in EXPRESSIONS:
        found = list(selectors(promql_parser.parse(expression)))
        assert found, expression
        for selector in found:
            if selector.name in _ITS_OWN:
                continue
            assert selector.name in labels, expression
            asked = {matcher.name for matcher in selector.matchers.matchers} | grouped_by(expression)
            assert asked - _ADDED_LABELS <= labels[selector.name], expression


def test_what_does_not_parse_is_noticed() -> None:
    with pytest.raises(ValueError):
        promql_parser.parse("sum(rate(staffetta_problems_total[5m])")


def test_every_rule_says_what_is_and_how_urgent() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"\d+m", rule["for"])


def test_the_board_stands_in_rows_without_holes_and_overlaps() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) == 23
    assert len(taken) == 24 * (1 + max(y for _, y in taken))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
