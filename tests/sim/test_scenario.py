"""Scenario files: what stands on what, what is said of the world beside the fleet, and every fault at once."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infercast.policies.faults import BadInput, Fault
from infercast.sim.happenings import FOREVER_US
from infercast.sim.model import Disturbance, Scaling, Truth, World
from infercast.sim.scenario import Scenario, load_scenario
from infercast.sim.settings import read_axis
from infercast.sim.traffic import Scale, Shift, Which
from tests.sim.scenarios import ROOT, SOURCE, WHOLE, faults, line_of, load, write_scenario

SEC = 1_000_000


def test_a_scenario_says_when_it_starts_and_all_that_it_does_not_say_has_a_default(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert (loaded.seed, loaded.replications, loaded.starts_at_s) == (1, 1, 1796112000)
    made = loaded.world()
    plain = World(loaded.fleet, loaded.policies, made.calls)
    differing = [each.name for each in fields(World) if getattr(made, each.name) is not getattr(plain, each.name)]
    assert [name for name in differing if getattr(made, name) != getattr(plain, name)] == ["starts_at_s"]


@pytest.mark.parametrize(
    "text",
    ["2026-12-01 08:00 UTC", "2026-12-01T09:00:00+01:00", "2026-12-01 09:00 Europe/Berlin", "2026-12-01 03:00:00-05:00",
     "2026-12-01T08:00:00Z"],
)  # fmt: skip
def test_a_start_names_its_zone(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, starts_at=text).starts_at_s == 1796112000


@pytest.mark.parametrize("text", ["2026-12-01 08:00", "tomorrow", 1796112000, "2026-12-01", "2026-12-01 09:00 Europe/Berlon", "1969-12-01T00:00Z", "0001-01-01 00:00 Asia/Tokyo", "9999-12-31T23:00:00-10:00"])  # fmt: skip
def test_a_start_without_a_zone_is_refused(tmp_path: Path, text: Any) -> None:
    found = faults(tmp_path, starts_at=text)
    assert len(found) == 1
    assert found[0].startswith("s.yaml:4: starts_at: ")


def test_sites_that_tell_each_other_all_the_time_are_refused(tmp_path: Path) -> None:
    """Simulated time would never go on."""
    (found,) = faults(tmp_path, exchange="0s")
    assert "exchange: sites tell each other every 1ms at most" in found
    assert load(tmp_path, exchange="1ms").exchange_us == 1000


@pytest.mark.parametrize(("text", "said"), [("2026-03-29 02:30", "never comes"), ("2026-10-25 02:30", "comes twice")])
def test_a_start_that_its_clock_does_not_show_once_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (found,) = faults(tmp_path, starts_at=f"{text} Europe/Berlin")
    assert f"this hour {said}" in found
    assert "+0" in found  # how to say which is meant


def test_what_a_file_states_takes_the_place_of_its_bases_and_changes_add_up(tmp_path: Path) -> None:
    write_scenario(tmp_path, {"fail": {"site": "dub"}}, name="base/base.yaml", seed=5, replications=3)
    middle = {"version": 1, "base": "base/base.yaml", "seed": 6, "changes": [{"slow": {"site": "fra", "factor": 2}}]}
    (tmp_path / "middle.yaml").write_text(yaml.safe_dump(middle))
    top = {"version": 1, "base": "middle.yaml", "duration": "2s", "changes": [{"fail": {"link": "dub~fra"}}]}
    (tmp_path / "top.yaml").write_text(yaml.safe_dump(top))
    loaded = load_scenario(tmp_path / "top.yaml")
    assert (loaded.seed, loaded.replications) == (6, 3)
    assert loaded.workload.duration == 2 * SEC
    assert [each.target for each in loaded.happenings.disturbances] == ["dub", "fra", "fra~dub"]


def test_paths_are_relative_to_the_file_that_states_them(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "w.yaml").write_text(yaml.safe_dump({"sources": [SOURCE]}))
    write_scenario(tmp_path, name="base/base.yaml", workload="w.yaml")
    (tmp_path / "top.yaml").write_text("version: 1\nbase: base/base.yaml\n")
    loaded = load_scenario(tmp_path / "top.yaml")
    assert [source.name for source in loaded.workload.sources] == ["wards"]
    assert loaded.workload_folder == tmp_path / "base"


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nbase: b.yaml\n")
    (tmp_path / "b.yaml").write_text("version: 1\nbase: a.yaml\n")
    with pytest.raises(BadInput, match=r"b\.yaml:2: base: 'a\.yaml' leads back to this file: a circle"):
        load_scenario(tmp_path / "a.yaml")


def test_what_nobody_says_is_missing(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("version: 1\n")
    with pytest.raises(BadInput) as caught:
        load_scenario(tmp_path / "s.yaml")
    assert {fault.field for fault in caught.value.faults} == {"fleet", "policies", "workload", "starts_at"}
    assert all(fault.remedy for fault in caught.value.faults)


def test_what_happens_is_as_the_file_says(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {"fail": {"site": "dub", "from": "10m", "until": "1h30m"}},
        {"fail": {"deployment": "resnet50@iad"}},
        {"fail": {"link": "dub~fra", "from": "1s"}},
        {"slow": {"site": "fra", "factor": 3, "until": "90s"}},
        {"slow": {"link": "fra~iad", "factor": 1.5}},
    )
    assert loaded.happenings.disturbances == (
        Disturbance("site_down", "dub", 600 * SEC, 5400 * SEC),
        Disturbance("deployment_down", "resnet50@iad", 0, FOREVER_US),
        Disturbance("link_down", "fra~dub", SEC, FOREVER_US),
        Disturbance("site_slow", "fra", 0, 90 * SEC, 3.0),
        Disturbance("link_slow", "fra~iad", 0, FOREVER_US, 1.5),
    )


def test_scaling_and_what_things_really_take_are_as_the_file_says(tmp_path: Path) -> None:
    own = {"deployments": ["squeezenet@dub"], "replicas_min": 1, "replicas_max": 3, "cold_start": "20s"}
    loaded = load(
        tmp_path,
        {"autoscale": own},
        {"truth": {"deployments": ["resnet50@iad", "squeezenet@fra"], "p50_ms": 10, "p95_ms": 20}},
        {"truth": {"deployments": ["squeezenet@fra"], "shape": "constant", "p50_ms": 7}},
        {"truth": {"deployments": ["squeezenet@dub"], "shape": "empirical", "values_ms": [3, 1, 2]}},
        {"power": {"watts": {"fra": 65}}},
        {"batching": {"marginal": {"resnet50": 0.25}}},
    ).happenings
    assert loaded.scaling == {"squeezenet@dub": Scaling(1, 3, cold_start_us=20 * SEC)}
    assert loaded.truth == {
        "resnet50@iad": Truth(10_000, 20_000),
        "squeezenet@fra": Truth(7_000, 7_000, "constant"),
        "squeezenet@dub": Truth(2_000, 3_000, "empirical", (1_000, 2_000, 3_000)),
    }
    assert (loaded.watts, loaded.batch_marginal) == ({"fra": 65}, {"resnet50": 0.25})


def test_traffic_is_scaled_and_shifted_in_the_order_of_the_file(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {"traffic": {"scale": 3, "tenants": ["hospital"], "from": "1s", "until": "2s", "hours": "08:00-10:00"}},
        {"traffic": {"shift_to": "zurich", "share": 0.5, "origins": ["paris"]}},
        settings=read_axis("traffic.scale=2").settings(),
    )
    assert loaded.traffic == (
        Scale(3, Which(tenants=frozenset({"hospital"}), from_us=SEC, until_us=2 * SEC, hours="08:00-10:00")),
        Shift(0.5, "zurich", Which(origins=frozenset({"paris"}))),
        Scale(2.0),
    )
    assert len(loaded.world().calls) > len(load(tmp_path).world().calls)


def test_sources_come_change_and_go(tmp_path: Path) -> None:
    more = {**SOURCE, "name": "more"}
    curve = [0.0] * 23 + [24.0]
    changes: list[dict[str, Any]] = [
        {"add_source": {"source": more}},
        {"change_source": {"source": "more", "patch": {"day_curve": curve, "rate": {"poisson_per_s": 9}}}},
        {"remove_source": {"source": "wards"}},
    ]
    loaded = load(tmp_path, *changes).workload
    assert [(s.name, s.day_curve, s.rate and s.rate.poisson_per_s) for s in loaded.sources] == [
        ("more", tuple(curve), 9)
    ]
    beside = tmp_path / "w.yaml"
    beside.write_text(yaml.safe_dump({"sources": [SOURCE]}))
    assert load(tmp_path, *changes, workload="w.yaml").workload == loaded


def test_a_policy_is_patched_or_replaced_and_only_that_tenants(tmp_path: Path) -> None:
    before = load(tmp_path).policies
    patch = {"objective": {"waiting": {"usd_per_second": 0.5}}, "limits": {"budget_usd_per_day": 1}}
    after = load(tmp_path, {"policy": {"tenant": "hospital", "patch": patch}}).policies
    assert after["hospital"].objective.waiting.usd_per_second == 0.5
    assert after["hospital"].objective.waiting.quantile == before["hospital"].objective.waiting.quantile
    assert after["hospital"].limits.budget_usd_per_day == 1
    assert {name for name in before if before[name].digest != after[name].digest} == {"hospital"}
    (tmp_path / "mine.yaml").write_text("version: 1\ntenant: hospital\nclasses: {personal: {}}\n")
    whole = load(tmp_path, {"policy": {"tenant": "hospital", "file": "mine.yaml"}}).policies
    assert list(whole["hospital"].classes) == ["personal"]
    twice = load(
        tmp_path,
        {"policy": {"tenant": "hospital", "file": "mine.yaml"}},
        {"policy": {"tenant": "hospital", "patch": {"classes": {"open": {}}}}},
    ).policies
    assert list(twice["hospital"].classes) == ["personal", "open"]


def test_a_patch_cannot_loosen_a_base(tmp_path: Path) -> None:
    found = faults(tmp_path, {"policy": {"tenant": "bank", "patch": {"always": {"privacy": {"no_training": False}}}}})
    line = line_of(tmp_path / "s.yaml", "no_training")
    assert len(found) == 1
    assert found[0].startswith(f"s.yaml:{line}: always.privacy.no_training: is looser than its base, ")


def test_the_policies_files_are_never_written(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "policies" / "tenants").rglob("*.yaml")}
    load(tmp_path, {"policy": {"tenant": "bank", "patch": {"claims": None}}})
    assert {path: path.read_bytes() for path in before} == before


def test_settings_reach_the_changed_files(tmp_path: Path) -> None:
    def loaded(*texts: str) -> Scenario:
        axes = [read_axis(text).settings()[0] for text in texts]
        return load(tmp_path, {"slow": {"site": "fra", "factor": 2}}, settings=tuple(axes))

    grown = loaded("fleet.deployments[squeezenet@dub].replicas=3").fleet
    assert grown.deployments[grown.deployment_index["squeezenet@dub"]].replicas == 3
    assert loaded("policies.studio.objective.usd_per_error=0.25").policies["studio"].objective.usd_per_error == 0.25
    assert {p.behaviour.fallbacks_max for p in loaded("policies.*.behaviour.fallbacks_max=1").policies.values()} == {1}
    assert loaded("workload.sources.wards.rate.poisson_per_s=2").workload.sources[0].rate.poisson_per_s == 2  # type: ignore[union-attr]
    assert (loaded("seed=7", "duration=9s").seed, loaded("duration=9s").workload.duration) == (7, 9 * SEC)
    assert loaded("changes[0].slow.factor=4").happenings.disturbances[0].factor == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fleet.sites.frx.country=DE", "did you mean 'fra'"),
        ("fleet.deployments[squeezenet@dub].replicas=99", "has 4 cpu slots"),
        ("policies.hospitl.objective.usd_per_error=1", "did you mean 'hospital'"),
        ("policies.hospital.objective.usd_per_eror=1", "did you mean 'usd_per_error'"),
        ("workload.sources.ward.priority=1", "did you mean 'wards'"),
        ("traffic.scal=2", "command line: traffic.scal: traffic holds no 'scal' (did you mean 'scale'?)"),
        ("traffic.scale=much", "traffic.scale="),
        ("traffic.scale=-2", "a factor is from 0"),
        ("sed=7", "did you mean 'seed'"),
        ("replications=0", "command line: replications=0: must be at least 1"),
        (
            "fleet.deployments[squeezenet@dub].replicas=0",
            "command line: fleet.deployments[squeezenet@dub].replicas=0: must",
        ),
        (
            "fleet.sites.fra.acelerators.cpu.slots=1",
            "fra.acelerators.cpu.slots=1: unknown key 'acelerators' (did you mean",
        ),
        ("policies.*.objective.usd_per_error=-1", "command line: policies.*.objective.usd_per_error=-1: must be"),
    ],
)
def test_a_setting_that_cannot_be_is_said_as_the_command_lines(tmp_path: Path, text: str, said: str) -> None:
    found = faults(tmp_path, settings=read_axis(text).settings())
    assert len(found) == 1, found
    assert found[0].startswith("command line: ")
    assert said in found[0]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"fail": {"site": "dab"}}, "dab", "did you mean 'dub'"),
    ({"fail": {"deployment": "resnet50@dub"}}, "resnet50@dub", "no deployment is called"),
    ({"fail": {"link": "dub~gru"}}, "dub~gru", "no link is called"),
    ({"fail": {"site": "dub", "link": "fra~dub"}}, "fail", "say one of site, deployment, link"),
    ({"fail": {"site": "dub", "from": "10m", "until": "5m"}}, "fail", "it would end before it begins"),
    ({"fail": {"site": "dub", "from": 600}}, "from", "written with its units"),
    ({"slow": {"site": "dub"}}, "slow", "'factor' is missing"),
    ({"slow": {"site": "dub", "factor": 0}}, "factor", "more than 0"),
    ({"traffic": {"scale": 2, "tenants": ["bonk"]}}, "bonk", "did you mean 'bank'"),
    ({"traffic": {"scale": 2, "sources": ["ward"]}}, "ward", "did you mean 'wards'"),
    ({"traffic": {"scale": 2, "hours": "9-10"}}, "hours", "HH:MM-HH:MM"),
    ({"traffic": {"shift_to": "pariss"}}, "pariss", "did you mean 'paris'"),
    ({"traffic": {}}, "traffic", "say one of scale, shift_to"),
    ({"autoscale": {"deployments": ["digits-large@fra"], "replicas_min": 1, "replicas_max": 2}}, "digits-large@fra", "workers"),
    ({"autoscale": {"deployments": ["resnet50@iad"], "replicas_min": 1, "replicas_max": 9}}, "resnet50@iad", "has 4 cpu slots"),
    ({"autoscale": {"deployments": ["resnet50@iad"], "replicas_min": 2, "replicas_max": 1}}, "autoscale", "is above"),
    ({"truth": {"deployments": ["resnet50@iad"], "p50_ms": 1}}, "truth", "lognormal needs p95_ms"),
    ({"truth": {"deployments": ["resnet50@iad"], "shape": "empirical"}}, "truth", "values_ms goes with"),
    ({"truth": {"deployments": ["resnet@iad"], "p50_ms": 1, "p95_ms": 2}}, "resnet@iad", "did you mean 'resnet50@iad'"),
    ({"power": {"watts": {"frx": 3}}}, "frx", "did you mean 'fra'"),
    ({"batching": {"marginal": {"resnet": 0.3}}}, "resnet", "did you mean 'resnet50'"),
    ({"policy": {"tenant": "bank"}}, "policy", "say one of file, patch"),
    ({"policy": {"tenant": "bonk", "patch": {}}}, "bonk", "did you mean 'bank'"),
    ({"policy": {"tenant": "bank", "file": "none.yaml"}}, "none.yaml", "cannot be read"),
    ({"policy": {"tenant": "bank", "patch": {"modells": []}}}, "modells", "did you mean 'models'"),
    ({"change_source": {"source": "wads", "patch": {"priority": 1}}}, "wads", "did you mean 'wards'"),
    ({"change_source": {"source": "wards", "patch": {"prio": 1}}}, "prio", "did you mean 'priority'"),
    ({"remove_source": {"source": "x"}}, "x", "known: wards"),
    ({"fall": {"site": "dub"}}, "fall", "did you mean 'fail'"),
    ({"fail": {"site": "dub"}, "slow": {"site": "dub", "factor": 2}}, "fail", "exactly one of"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word", "said"), WRONG, ids=[f"{i}-{next(iter(w[0]))}" for i, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, change: dict[str, Any], word: str, said: str) -> None:
    found = faults(tmp_path, change)
    text = (tmp_path / "s.yaml").read_text()
    line = text[: text.index(word, text.index("changes:"))].count("\n") + 1
    at_line = [fault for fault in found if fault.startswith(f"s.yaml:{line}: ") and said in fault]
    assert at_line, found
    assert len(found) == 1 or word == "fall", found


def test_faults_of_scenario_policies_and_workload_come_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        {"fail": {"site": "dab"}},
        {"policy": {"tenant": "bank", "patch": {"limits": {"requests_per_minute": -1}}}},
        {"change_source": {"source": "wads", "patch": {"priority": 1}}},
    )
    assert len(found) == 3


JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 0.5, float("nan"), float("inf"), "", "x", "\0", "fra", "fra~dub", "1h", "base.yaml", [], {},
    [[]], [None], {"": ""}, "squeezenet@dub", {"x": {"y": []}}, "s.yaml", "2026-12-01 09:00 UTC", [{"fail": {"site": "fra"}}],
)  # fmt: skip
RICH = {
    **WHOLE,
    "seed": 3,
    "replications": 2,
    "exchange": "250ms",
    "bins": 10,
    "changes": [
        {"fail": {"site": "dub", "from": "1s", "until": "2s"}},
        {"slow": {"link": "fra~dub", "factor": 2}},
        {"remove_site": {"site": "gru"}},
        {"resize_site": {"site": "fra", "accelerators": {"cpu": {"slots": 4}}}},
        {"change_link": {"link": "fra~iad", "rtt_ms": 100}},
        {"change_price": {"tier": "edge", "scale": 2}},
        {"change_model": {"model": "vision", "remove": ["resnet50"]}},
        {"traffic": {"scale": 2, "tenants": ["hospital"], "hours": "08:00-10:00"}},
        {"policy": {"tenant": "bank", "patch": {"limits": {"requests_per_minute": 5}}}},
        {"autoscale": {"deployments": ["squeezenet@dub"], "replicas_min": 1, "replicas_max": 2}},
        {"change_source": {"source": "wards", "patch": {"priority": 1}}},
        {"truth": {"deployments": ["squeezenet@dub"], "shape": "constant", "p50_ms": 3}},
    ],
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for step, part in inner for place in places(part, (*at, step)))]


PLACES = [place for place in places(RICH) if place and place[0] not in ("fleet", "policies")]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), st.sampled_from(JUNK))
def test_whatever_stands_anywhere_a_scenario_is_refused_or_loaded_whole(
    tmp_path: Path, place: tuple[Any, ...], junk: Any
) -> None:
    value = yaml.safe_load(yaml.safe_dump(RICH))
    inner = value
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = junk
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    refused: tuple[Fault, ...] = ()
    loaded = None
    try:
        loaded = load_scenario(path)
    except BadInput as error:
        refused = error.faults
    if loaded is None:
        assert any(fault.file.startswith(str(tmp_path)) for fault in refused)
    else:
        assert loaded.replications >= 1
