"""A workload against its fleet and policies: each unknown word, and each source without calls, with place and remedy."""

from pathlib import Path
from typing import Any

import pytest

from tests.sim.workloads import faults, source

LLM = {"file": "a.csv", "format": "azure_llm"}


def test_what_is_right_has_no_fault(tmp_path: Path) -> None:
    log = source(name="l", tenant=None, model=None, origins=None, rate=None, trace={**LLM, "format": "decision_log"})
    llm = source(name="r", rate=None, trace=LLM)
    gpt = {**LLM, "format": "burstgpt", "models": {"GPT-4": "vision", "ChatGPT": "digits"}}
    both = source(name="b", model=None, rate=None, trace=gpt)
    assert faults(source(), log, llm, both, source(name="w", origins={"berlin": 1, "tokyo": 0}), path=tmp_path) == []


@pytest.mark.parametrize(
    ("parts", "field", "said", "remedy"),
    [
        ({"tenant": "tt"}, "tenant", "no tenant is called 'tt'", "did you mean 't'?"),
        ({"tenant": None}, "tenant", "'tenant' is missing", "only a decision log has tenants"),
        ({"model": "digit"}, "model", "no model is called 'digit'", "did you mean 'digits'?"),
        ({"model": None}, "model", "'model' is missing", "only a trace brings models"),
        ({"tenant": "u"}, "model", "'u' may not call 'digits'", "known: vision"),
        ({"classes": ["plain", "plane"]}, "classes[1]", "'t' has no class 'plane'", "did you mean 'plain'?"),
        ({"origins": ["berlin", "berlim"]}, "origins.berlim", "no place is called 'berlim'", "did you mean 'berlin'?"),
        ({"origins": None}, "origins", "'origins' is missing", "name zones or sites"),
        ({"origins": ["isle"]}, "origins.isle", "no link leads from 'isle' to any site", "add a link"),
        ({"entries": ["phone"]}, "origins.berlin", "no link leads from 'berlin' to phone", "another entry"),
        ({"entries": ["bar"]}, "entries[0]", "no site is called 'bar'", "did you mean"),
        ({"time_zones": {"berlim": "Europe/Berlin"}}, "time_zones.berlim", "no place is called", "'berlin'?"),
        ({"origins": ["nowhere"], "day_curve": [1.0] * 24}, "origins.nowhere", "clock of 'nowhere'", "time_zones"),
        ({"rate": {"poisson_per_s": 0}}, "rate", "its rate is 0", "leave the source out"),
        ({"from": "100s"}, "from", "it begins after the workload has ended", "begin sooner"),
        ({"rate": None, "model": None, "trace": LLM}, "model", "'model' is missing", "add it"),
        ({"rate": None, "model": None, "trace": {**LLM, "format": "burstgpt"}}, "model", "missing", "`models` in the"),
        ({"rate": None, "trace": {**LLM, "models": {"a": "digits"}}}, "trace.models", "name no models", "`model`"),
    ],
)
def test_a_fault_says_where_what_and_what_to_do(
    tmp_path: Path, parts: dict[str, Any], field: str, said: str, remedy: str
) -> None:
    found = faults(source(**parts), path=tmp_path)
    assert [fault.field for fault in found] == [f"workload.sources[0].{field}"]
    assert found[0].line > 1
    assert said in found[0].message
    assert remedy in found[0].remedy


def test_a_clock_that_is_named_needs_no_country(tmp_path: Path) -> None:
    named = source(origins=["nowhere"], day_curve=[1.0] * 24, time_zones={"nowhere": "Asia/Kolkata"})
    assert faults(named, path=tmp_path) == []


def test_a_model_of_a_trace_is_held_against_the_fleet_and_the_tenant(tmp_path: Path) -> None:
    trace = {"file": "a.csv", "format": "burstgpt", "models": {"GPT-4": "visio", "ChatGPT": "digits"}}
    found = faults(source(tenant="u", model=None, rate=None, trace=trace), path=tmp_path)
    assert [fault.field.rpartition("trace.")[2] for fault in found] == ["models.GPT-4", "models.ChatGPT"]
    assert "did you mean 'vision'?" in found[0].remedy
    assert "'u' may not call 'digits'" in found[1].message


def test_a_device_calls_for_its_own_tenant_only(tmp_path: Path) -> None:
    found = faults(source(origins=["cam"]), path=tmp_path)
    assert [fault.message for fault in found] == ["'cam' is a device of 'u'"]


def test_two_sources_of_one_name_would_share_their_luck(tmp_path: Path) -> None:
    assert [fault.message for fault in faults(source(), source(), path=tmp_path)] == ["'s' stands twice"]


def test_a_made_up_source_needs_an_end(tmp_path: Path) -> None:
    assert [fault.field for fault in faults(source(), path=tmp_path, duration=None)] == ["workload.sources[0].until"]
    assert faults(source(until="5s"), path=tmp_path, duration=None) == []


def test_more_calls_than_can_be_run_are_refused_before_they_are_drawn(tmp_path: Path) -> None:
    found = faults(
        source(rate={"poisson_per_s": 600_000}), source(name="b", rate={"poisson_per_s": 600_000}), path=tmp_path
    )
    assert [fault.message for fault in found] == ["about 1.2e+08 calls, at most 1e+08 can be run"]


def test_calls_are_counted_from_a_source_s_beginning(tmp_path: Path) -> None:
    short = source(rate={"poisson_per_s": 1_000_000}, **{"from": "60s"})
    assert faults(short, path=tmp_path) == []


def test_more_bursts_than_can_be_drawn_are_refused(tmp_path: Path) -> None:
    bursty = {"calm_per_s": 0.01, "burst_per_s": 0.01, "calm_mean": "1ms", "burst_mean": "1ms"}
    found = faults(source(rate={"bursty": bursty}), path=tmp_path, duration="20001s")
    assert [fault.message for fault in found] == ["about 1e+07 bursts, at most 1e+07 can be drawn"]
    assert faults(source(rate={"bursty": bursty}), path=tmp_path, duration="20000s") == []


def test_all_sources_are_looked_at(tmp_path: Path) -> None:
    found = faults(source(tenant="x"), source(name="b", model="y"), source(name="c", origins=["z"]), path=tmp_path)
    assert [fault.field.split(".")[1] for fault in found] == ["sources[0]", "sources[1]", "sources[2]"]
