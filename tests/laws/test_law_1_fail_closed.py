"""Law 1: an unknown residency, an unknown operator, a rule that faults, an unreadable policy: veto, never a default."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import compiled
from infercast.policies.engine import Unknown
from infercast.policies.faults import BadInput
from infercast.policies.jurisdictions import Jurisdictions
from infercast.policies.model import STATIC_RULES, Outcome, Rule, Tier
from infercast.policies.policy_file import load_policies, load_policy
from infercast.policies.snapshot import Snapshot
from tests.laws import oracle
from tests.laws.worlds import World, eligible, worlds
from tests.support import (
    TRUSTED,
    decide,
    engine_of,
    fleet_of,
    link,
    policy_of,
    raw_fleet,
    raw_policy,
    request_of,
    site,
    write,
)


@given(worlds())
def test_the_files_veto_exactly_what_they_forbid(world: World) -> None:
    fleet = world.engine().fleet
    for verdict in world.decide().verdicts:
        vetoed = verdict.rule is not Rule.NONE and verdict.rule in STATIC_RULES
        assert vetoed is not oracle.may_run(world, fleet, verdict.deployment), verdict


@given(worlds())
def test_a_call_that_may_not_enter_is_not_placed_anywhere(world: World) -> None:
    fleet = world.engine().fleet
    decision = world.decide()
    rules = {verdict.rule for verdict in decision.verdicts}
    if oracle.may_enter(world, fleet, world.call["entry"]):
        assert not any(rule.word.startswith("entry.") for rule in rules)
        assert decision.entries == ()
    else:
        assert rules <= {Rule.ENTRY_RESIDENCY, Rule.ENTRY_TRANSIT, Rule.ENTRY_PRIVACY, Rule.PATH_NONE}
        assert len(rules) <= 1
        assert decision.outcome is Outcome.REFUSED
        reachable = {s.id for s in fleet.sites if fleet.network.path(world.call["origin"], s.id) is not None}
        assert set(decision.entries) == {place for place in reachable if oracle.may_enter(world, fleet, place)}


@given(worlds())
def test_a_peers_call_goes_to_no_upstream(world: World) -> None:
    upstream = {"url": "https://upstream.example", "api": "oip"}
    sites = [
        site if site["id"] == "s0" or site["tier"] == "device" else {**site, "upstream": upstream}
        for site in world.fleet["sites"]
    ]
    zones = [{**zone, "peer": True, "onward": False} for zone in world.fleet["zones"]]
    peers = world.but(fleet={**world.fleet, "sites": sites, "zones": zones}).asking(entry="s0", origin="zone")
    for name in eligible(peers.decide()):
        assert name.endswith("@s0")
    assert all(name.endswith("@s0") for name in peers.choose()[1])


@given(worlds(), st.data())
def test_every_unknown_is_vetoed_by_the_rule_that_asks_for_it(world: World, data: st.DataObject) -> None:
    everything: dict[str, Any] = {
        "residency": {part: {"deny": []} for part in ("processing", "transit")},
        "privacy": {"operators": {"deny": []}, "retention_days_max": 10_000, "no_training": True},
    }
    entry = {**world.fleet["sites"][0], "trust": TRUSTED, "country": "DE", "operator": "acme"}
    world = world.but(fleet={**world.fleet, "sites": [entry, *world.fleet["sites"][1:]]}).asking(
        entry="s0", origin="s0"
    )
    part = data.draw(
        st.sampled_from([everything, {"residency": everything["residency"]}, {"privacy": everything["privacy"]}])
    )
    strict = world.but(policy={**world.policy, "always": part, "classes": {"plain": {}, "health": {}}})
    fleet = strict.engine().fleet
    for name in eligible(strict.decide()):
        place = fleet.site_by_id[name.split("@")[1]]
        path = fleet.network.path(strict.call["entry"], place.id)
        assert path is not None
        if "residency" in part:
            assert place.country != "ZZ"
            assert "ZZ" not in path.countries
        if "privacy" in part:
            assert place.operator is not None
            assert place.trust.retention_days is not None
            assert place.trust.trains_on_inputs is False


def test_a_rule_that_faults_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    engine = engine_of()
    monkeypatch.setattr(compiled, "site_veto", faulty)
    snapshot = Snapshot.declared(engine.fleet)
    for _ in range(2):  # and nothing half-made is kept for the second call
        with pytest.raises(ZeroDivisionError):
            engine.choose(request_of(), snapshot)
        with pytest.raises(ZeroDivisionError):
            engine.explain(request_of(), snapshot)


@pytest.mark.parametrize("bad", ["", "{", "version: 2", "version: 1\ntenant: b\nclasses: {a: {residancy: {}}}"])
def test_one_unreadable_policy_refuses_the_whole_folder(tmp_path: Path, bad: str) -> None:
    write(tmp_path / "good.yaml", raw_policy())
    write(tmp_path / "bad.yaml", bad)
    with pytest.raises(BadInput, match=r"bad\.yaml"):
        load_policies(tmp_path, fleet_of())


@pytest.mark.parametrize("part", ["entry", "processing", "transit", "storage"])
@pytest.mark.parametrize("places", [{"allow": ["atlantis"]}, {"deny": ["atlantis"]}, ["DE", "ZZ"]])
def test_a_place_that_nobody_knows_is_refused_when_loading(tmp_path: Path, part: str, places: Any) -> None:
    path = write(tmp_path / "t.yaml", raw_policy({"residency": {part: places}}))
    with pytest.raises(BadInput, match="is no country and no jurisdiction"):
        load_policy(path, fleet_of())


def test_denying_a_place_that_nobody_knows_permits_nothing() -> None:
    decision = decide({"residency": {"processing": {"deny": ["atlantis"]}}})
    assert eligible(decision) == set()


def test_denying_a_jurisdiction_with_a_fault_permits_nothing() -> None:
    fleet = fleet_of(raw_fleet(jurisdictions={"loop": ["loop", "US"], "typo": ["US", "XX"]}))
    for word in ("loop", "typo"):
        decision = decide({"residency": {"processing": {"deny": [word]}}}, fleet)
        assert eligible(decision) == set()


def test_a_jurisdiction_with_a_fault_permits_nothing() -> None:
    world = Jurisdictions({"a": ["DE", "b"], "b": ["FR", "a"], "typo": ["US", "XX"], "above": ["typo", "CH"]})
    assert world.faults
    for word in ("a", "b", "typo"):
        assert world.countries([word]) == frozenset()


def test_unknown_names_are_refused_not_guessed() -> None:
    engine = engine_of()
    snapshot = Snapshot.declared(engine.fleet)
    for wrong in (
        {"tenant": "nobody"},
        {"model": "nothing"},
        {"entry": "nowhere"},
        {"entry": "berlin"},
        {"origin": "nowhere"},
        {"classes": ("plain", "unheard-of")},
    ):
        with pytest.raises(Unknown):
            engine.choose(request_of(**wrong), snapshot)


def test_a_class_that_a_policy_does_not_know_binds_like_every_class() -> None:
    policy = policy_of(classes={"a": {"deadline_ms": 1}, "b": {"deadline_ms": 2}})
    assert policy.blocks(["unheard-of"]) == policy.blocks(["a", "b"]) == policy.blocks([])


def test_what_may_not_see_the_data_may_not_pass_it_on_the_way_in() -> None:
    fleet = fleet_of(
        raw_fleet(
            links=[
                link("berlin", "iad", 1, "DE"),
                link("iad", "ber", 1, "DE"),
            ]
        )
    )
    decision = decide({"privacy": {"operators": ["acme"]}}, fleet)
    path = fleet.network.path("berlin", "ber")
    assert path is not None
    assert path.via == ("berlin", "iad", "ber")
    assert {verdict.rule for verdict in decision.verdicts} == {Rule.ENTRY_PRIVACY}


def test_what_may_not_store_the_data_may_not_pass_it() -> None:
    keeps = {**TRUSTED, "retention_days": 30}
    raw = raw_fleet(
        sites=[
            site("ber", Tier.EDGE, "DE", trust=TRUSTED),
            site("zrh", Tier.EDGE, "CH", trust=keeps),
            site("par", Tier.CLOUD, "FR", trust=TRUSTED),
        ],
        links=[link("berlin", "ber", 1, "DE"), link("ber", "zrh", 1, "DE"), link("zrh", "par", 1, "FR")],
        deployments=[{"variant": "small", "site": "par"}],
    )
    decision = decide({"residency": {"storage": ["DE", "FR"]}}, fleet_of(raw))
    assert decision.verdicts[0].rule is Rule.RESIDENCY_STORAGE
