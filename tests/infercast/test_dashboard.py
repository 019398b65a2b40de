"""The dashboard, the alerts and the guide speak of the metrics that there are, and of no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infercast.router.sight.table import METRICS
from infercast.router.sight.telling import series_of

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "examples" / "grafana" / "infercast.json"
RULES = ROOT / "examples" / "prometheus" / "alerts.yml"
CONFIG = ROOT / "examples" / "prometheus" / "prometheus.yml"
GUIDE = ROOT / "docs" / "seeing.md"
SERIES = {f"ray_{name}": set(labels) for metric in METRICS.values() for name, labels in series_of(metric).items()}
FUNCTIONS = {"sum", "rate", "histogram_quantile", "max", "min", "label_values"}
WORDS = {"by", "bool", *FUNCTIONS}
TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")|(?P<range>\[[^\]]*\])|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<number>\d+(?:\.\d+)?)"""
    r"""|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/(){},=<>])|(?P<space>\s+)"""
)


def tokens(query: str) -> list[tuple[str, str]]:
    """A query's tokens; raises AssertionError for anything that is none."""
    found, at = [], 0
    while at < len(query):
        match = TOKEN.match(query, at)
        assert match is not None, f"{query!r} at {at}"
        at = match.end()
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
    return found


def checked(query: str) -> set[str]:
    """Return the series that a query names; raises AssertionError where it is malformed, or names what is not there."""
    found = tokens(query)
    depth: list[str] = []
    pairs = {")": "(", "}": "{"}
    used: list[str] = []
    grouping: set[str] = set()
    for index, (kind, word) in enumerate(found):
        if word in "({":
            depth.append(word)
        elif word in ")}":
            assert depth, query
            assert depth.pop() == pairs[word], query
        elif kind == "range":
            assert word in ("[$__rate_interval]", "[5m]"), query
        elif kind == "name" and word not in WORDS:
            if depth[-1:] == ["{"]:
                assert found[index + 1][1] in ("=", "=~", "!=", "!~"), query
                assert word in SERIES[used[-1]], f"{word} is no label of {used[-1]}: {query}"
            elif _grouping(found, index):
                grouping.add(word)
            else:
                assert word in SERIES, f"{word} is no metric: {query}"
                used.append(word)
    assert not depth, query
    assert used, query
    for label in grouping:
        assert all(label in SERIES[name] for name in used), f"{label} is no label of all of {used}: {query}"
    return set(used)


def _grouping(found: list[tuple[str, str]], index: int) -> bool:
    """Whether a name stands in the list behind `by`."""
    while index and found[index - 1][1] not in "()":
        index -= 1
    return index >= 2 and found[index - 1][1] == "(" and found[index - 2][1] == "by"


def queries() -> Iterator[tuple[str, str]]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_a_query_names_what_is_exported(title: str, query: str) -> None:
    assert checked(query)


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(ray_infercast_calls[5m])",
        "sum by (colour) (ray_infercast_calls_total)",
        'ray_infercast_calls_total{colour="red"}',
        "sum(rate(ray_infercast_calls_total[5m])",
        "rate(ray_infercast_calls_total[7x])",
        "sum by (le) (ray_infercast_calls_total)",
    ],
)
def test_a_query_that_is_wrong_is_seen(wrong: str) -> None:
    with pytest.raises(AssertionError):
        checked(wrong)


def test_every_metric_is_on_the_dashboard() -> None:
    used = set().union(*(checked(query) for _, query in queries()))
    shown = {metric.name for metric in METRICS.values() if used & {f"ray_{name}" for name in series_of(metric)}}
    assert shown == set(METRICS)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert board["uid"] == "infercast"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        assert panel["type"] == "row" or (panel["description"] and panel["targets"])
    variables = {variable["name"] for variable in board["templating"]["list"]}
    said = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert said - {"__rate_interval"} == variables
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            assert label in SERIES[series]


def test_prometheus_is_sent_to_the_file_that_up_writes() -> None:
    from infercast.router.sight.targets import TARGETS

    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (file,) = job["file_sd_configs"][0]["files"]
    assert (CONFIG.parent / file).resolve() == ROOT / ".infercast" / TARGETS
    dropped = re.compile(job["metric_relabel_configs"][0]["regex"])
    assert not [label for labels in SERIES.values() for label in labels if dropped.fullmatch(label)]
    assert [(CONFIG.parent / name).resolve() for name in config["rule_files"]] == [RULES]


def test_every_metric_is_in_the_guide() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {name for name in rows if name.startswith(("infercast_", "gen_ai_"))} == set(METRICS)
    for metric in METRICS.values():
        shape, labels, meaning = rows[metric.name].split(" | ")
        assert shape == metric.shape
        assert labels.split(", ") == [f"`{label}`" for label in metric.labels]
        assert meaning == metric.meaning
