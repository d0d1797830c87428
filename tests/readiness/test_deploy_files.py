"""The dashboard and the rules for Prometheus ask only for what there is, and name runbooks that are there."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from tests.town import Town

from muster.platform import prometheus
from muster.readiness.checklist import ROWS
from muster.readiness.health import Components, State

ROOT = Path(__file__).parents[2]
RULES, DASHBOARD = ROOT / "deploy/prometheus/rules.yml", ROOT / "deploy/grafana/muster.json"
ITS_OWN = {"job", "instance"}
"""Labels that Prometheus gives whatever it scrapes."""

OF_OTHERS = {
    "up": frozenset[str](),
    "process_cpu_seconds_total": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
}


def series() -> dict[str, frozenset[str]]:
    """Name of a series → its labels, as they are declared."""
    found = dict(OF_OTHERS)
    for metric in vars(prometheus).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        name, labels = metric._name, frozenset(metric._labelnames)
        match metric:
            case Counter():
                found[f"{name}_total"] = labels
            case Gauge():
                found[name] = labels
            case Histogram():
                found[f"{name}_bucket"] = labels | {"le"}
                found[f"{name}_sum"] = found[f"{name}_count"] = labels
    return found


@dataclass(frozen=True)
class Rule:
    name: str
    expr: str
    summary: str
    runbook: str


def rules() -> list[Rule]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [
        Rule(one["alert"], one["expr"], one["annotations"]["summary"], one["annotations"]["runbook"])
        for group in groups
        for one in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    return dict(json.loads(DASHBOARD.read_text("utf-8")))


def panels() -> list[tuple[str, str]]:
    """(Title, question) of each target, Grafana's variables filled in."""
    found = [
        (f"{panel['title']}: {target['legendFormat']}", target["expr"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]
    found += [("annotation", one["expr"]) for one in dashboard()["annotations"]["list"]]
    return [
        (title, expr.replace("$__rate_interval", "5m").replace("$instance", ".+")) for title, expr in found
    ]


def parts(node: Any) -> Iterator[Any]:
    """An expression and all it is made of."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", None) or ():
        yield from parts(inner)


def selectors(node: Any) -> list[Any]:
    return [one for one in parts(node) if isinstance(one, promql.VectorSelector)]


def breaches(expr: str, known: dict[str, frozenset[str]]) -> list[str]:
    """What an expression asks for that is not there."""
    tree = promql.parse(expr)
    assert selectors(tree), "it asks for nothing"
    found = []
    for one in selectors(tree):
        if one.name not in known:
            found.append(f"no series is named {one.name}")
            continue
        labels = known[one.name] | ITS_OWN
        found += [f"{one.name} has no {m.name}" for m in one.matchers.matchers if m.name not in labels]
    for one in parts(tree):
        if isinstance(one, promql.AggregateExpr) and one.modifier:
            inside = [known.get(each.name, frozenset()) | ITS_OWN for each in selectors(one.expr)]
            missing = [label for label in one.modifier.labels if not all(label in each for each in inside)]
            found += [f"{label} is grouped by, but not there" for label in missing]
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(rate(muster_http_requests[5m]))",
        "max(muster_people{kind='active'})",
        "sum by (path) (muster_queue_jobs)",
        "histogram_quantile(0.9, sum by (le) (rate(muster_job_seconds[5m])))",
        "max(muster_workers) / sum(muster_nothing)",
        "absent(muster_nothing) and on() topk(3, muster_workers)",
    ],
)
def test_a_question_after_what_is_not_there_is_noticed(wrong: str):
    assert breaches(wrong, series())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_a_rule_asks_for_what_there_is_and_names_its_runbook(rule: Rule):
    assert breaches(rule.expr, series()) == []
    assert (ROOT / "docs/runbooks" / f"{rule.runbook}.md").is_file()
    told = set(re.findall(r"\$labels\.(\w+)", rule.summary))
    kept = {
        label
        for one in parts(promql.parse(rule.expr))
        if isinstance(one, promql.AggregateExpr) and one.modifier
        for label in one.modifier.labels
    }
    assert told <= (kept or ITS_OWN)
    assert rule.summary.endswith(".")


@pytest.mark.parametrize("expr", [pytest.param(expr, id=title) for title, expr in panels()])
def test_a_panel_asks_for_what_there_is(expr: str):
    assert breaches(expr, series()) == []


def test_there_is_a_rule_for_each_server_and_each_promise_of_freshness():
    named = {rule.name for rule in rules()}

    assert len(named) == len(rules())
    assert named >= {
        *("MusterWebDown", "MusterPostgresqlDown", "MusterRedisDown", "MusterCacheDown", "MusterSignInDown"),
        *("MusterNoWorker", "MusterBacklog", "MusterErrors", "MusterSlow", "MusterOutboxStuck"),
        *("MusterDirectoryStale", "MusterCustomersStale", "MusterQuotaLow", "MusterProofFailed"),
    }


def test_every_metric_is_shown_or_watched():
    asked = {
        one.name
        for expr in [*(rule.expr for rule in rules()), *(expr for _, expr in panels())]
        for one in selectors(promql.parse(expr))
    }

    metrics = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series()}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} == metrics


async def test_values_that_are_matched_are_values_there_are(town: Town):
    portal = town.portal
    declared = Components(
        portal.database,
        portal.redis,
        portal.cache.redis,
        portal.queues,
        people_every=timedelta(minutes=15),
        customers_every=timedelta(minutes=5),
    ).declared()
    there = {
        ("muster_component_status", "name"): {one.name for one in declared},
        ("muster_component_status", "status"): {state.value for state in State},
        ("muster_proof_held", "row"): {row.id for row in ROWS},
    }

    for expr in [*(rule.expr for rule in rules()), *(expr for _, expr in panels())]:
        for one in selectors(promql.parse(expr)):
            for matcher in one.matchers.matchers:
                values = there.get((one.name, matcher.name))
                assert values is None or set(matcher.value.split("|")) <= values, expr


def test_panels_do_not_lie_on_each_other():
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
