"""The workload block: what it takes, what it refuses and in which words, and the schema that editors check it by."""

from typing import Any

import jsonschema
import pytest

from infercast.policies.documents import Document, validate
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Strict
from infercast.sim.workload_file import Workload
from tests.sim.workloads import source, workload
from tests.support import Raw


class Scenario(Strict):
    workload: Workload


CURVE = [1.0] * 24
WHOLE: Raw = source(
    description="all that there is",
    classes=["plain"],
    origins={"berlin": 3, "tokyo": 1.5},
    entries=["ber", "par"],
    priority=3,
    deadline_ms=200.5,
    rate={"bursty": {"calm_per_s": 1, "burst_per_s": 50.5, "calm_mean": "5m", "burst_mean": "20s"}},
    day_curve=CURVE,
    time_zones={"tokyo": "Asia/Tokyo"},
    payload_bytes={"lognormal": {"p50": 100, "p95": 1000}},
    work={"empirical": [0.5, 1, 2]},
    repeated={"share": 0.3, "questions": 1000, "zipf": 1.1},
    until="90s",
    **{"from": "10s"},
)
RECORDED: Raw = source(rate=None, trace={"file": "a.csv", "format": "azure_llm", "speed": 2, "gaps": "keep"})


def refused(*sources: Raw) -> str:
    document = Document("s.yaml", "workload: {}")
    document.value = {"workload": {"duration": "100s", "sources": list(sources)}}
    with pytest.raises(BadInput) as error:
        validate(document, Scenario)
    return str(error.value)


@pytest.mark.parametrize("raw", [source(), WHOLE, RECORDED])
def test_what_is_right_is_taken_by_the_reader_and_by_the_schema(raw: Raw) -> None:
    assert workload(raw).sources[0].name == "s"
    jsonschema.validate({"duration": "1h", "sources": [raw]}, Workload.model_json_schema())


def test_short_forms_mean_the_long_ones() -> None:
    short = workload(source(payload_bytes=7, work=2, origins=["berlin", "tokyo"])).sources[0]
    long = source(payload_bytes={"constant": 7}, work={"constant": 2.0}, origins={"berlin": 1.0, "tokyo": 1.0})
    assert short == workload(long).sources[0]


def test_times_are_microseconds_inside() -> None:
    found = workload(source(until="1m30s", **{"from": "10s"})).sources[0]
    assert (found.from_, found.until) == (10_000_000, 90_000_000)


def test_a_source_ends_with_the_workload_or_sooner() -> None:
    both = workload(source(), source(name="b", until="10s"), source(name="c", until="1h"))
    assert [both.ends_us(one) for one in both.sources] == [100_000_000, 10_000_000, 100_000_000]
    endless = Workload.model_validate({"sources": [source()]})
    assert endless.ends_us(endless.sources[0]) is None


def test_the_mean_rate_of_bursts_is_that_of_the_long_run() -> None:
    rate = workload(WHOLE).sources[0].rate
    assert rate is not None
    assert rate.mean_per_s == pytest.approx((1 * 300 + 50.5 * 20) / 320)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"rate": None}, "say exactly one of `rate`"),
        ({"trace": RECORDED["trace"]}, "say exactly one of `rate`"),
        ({"rate": {"poisson_per_s": -1}}, "must be at least 0, is -1"),
        ({"rate": {"poisson_per_s": "ten"}}, "must be a number"),
        ({"rate": {"poisson_per_s": 1, "even_per_s": 1}}, "say exactly one of poisson_per_s, even_per_s, bursty"),
        ({"rate": {"poison_per_s": 1}}, "did you mean 'poisson_per_s'?"),
        ({"rate": {"bursty": {**WHOLE["rate"]["bursty"], "calm_mean": "0s"}}}, "at least 1ms"),
        ({"day_curve": [1.0] * 23}, "holds 23 entries, at least 24"),
        ({"day_curve": [0.0] * 24}, "all weights of `day_curve` are 0"),
        ({"origins": {"berlin": 0}}, "all weights of `origins` are 0"),
        ({"origins": {"berlin": -1}}, "must be at least 0"),
        ({"origins": ["berlin", "berlin"]}, "must be `key: value` lines, is a list"),
        ({"payload_bytes": -5}, "must be at least 0"),
        ({"payload_bytes": 1.5}, "must be a whole number"),
        ({"payload_bytes": {"lognormal": {"p50": 10, "p95": 9}}}, "p95 9 is below p50 10"),
        ({"payload_bytes": {"empirical": []}}, "holds 0 entries"),
        ({"work": 0}, "must be at least 0.001"),
        ({"work": {}}, "say exactly one of constant, lognormal, empirical; this says 0"),
        ({"repeated": {"share": 1.1, "questions": 3}}, "must be at most 1"),
        ({"priority": 4}, "must be at most 3"),
        ({"deadline_ms": 0}, "must be more than 0"),
        ({"from": "10s", "until": "10s"}, "`until` is not after `from`"),
        ({"from": 10}, "a duration is written with its units"),
        ({"time_zones": {"berlin": "Europe/Berlim"}}, "did you mean 'Europe/Berlin'?"),
        ({"tenant": "Big Corp"}, "is no name"),
        ({"speed": 2}, "unknown key 'speed'"),
    ],
)
def test_what_is_wrong_is_said_in_words(parts: dict[str, Any], said: str) -> None:
    assert said in refused(source(**parts))


def test_a_trace_brings_its_own_times() -> None:
    assert "a trace brings its own times" in refused({**RECORDED, "day_curve": CURVE})


def test_all_faults_come_at_once_and_name_their_place() -> None:
    said = refused(source(priority=9), source(name="b", rate={"poisson_per_s": -1}, payload_bytes=-1))
    for place in ("sources[0].priority", "sources[1].rate.poisson_per_s", "sources[1].payload_bytes"):
        assert place in said


@pytest.mark.parametrize(
    "parts",
    [{"rate": {}}, {"rate": {"poisson_per_s": 1, "even_per_s": 2}}, {"priority": 4}, {"payload_bytes": "a"}, {"x": 1}],
)
def test_the_schema_refuses_what_has_another_form(parts: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"duration": "1h", "sources": [source(**parts)]}, Workload.model_json_schema())
