"""The benches' worlds are what they are said to be; how fast anything is, no test says."""

from pathlib import Path

import pytest

from bench.compile import write_files
from bench.report import quantile
from bench.worlds import CLASS_NAMES, ENTRY, FlatWorld, Size, distance_km, flat_world, fleet_of, policies_of, raw_fleet
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import STATIC_RULES, Outcome, Request, Rule
from infercast.policies.snapshot import Snapshot

SMALL = Size(sites=14, models=2, variants=3, zones=6, tenants=9, policies=4)


def small_engine() -> Engine:
    return Engine(fleet_of(SMALL), policies_of(SMALL))


def test_a_fleet_has_as_much_of_everything_as_asked() -> None:
    fleet = fleet_of(SMALL)
    assert (len(fleet.sites), len(fleet.zones), len(fleet.models)) == (14, 6, 2)
    assert len(fleet.deployments) == len(fleet.deployment_index) == 14 * 2 * 3


def test_the_published_size_is_the_issues() -> None:
    size = Size()
    assert size.sites * size.models * size.variants == 18_000
    assert (size.zones, size.tenants, size.policies) == (300, 1000, 50)


def test_equal_seeds_make_equal_worlds_and_others_others() -> None:
    assert fleet_of(SMALL, 7).digest == fleet_of(SMALL, 7).digest != fleet_of(SMALL, 8).digest
    first, second = policies_of(SMALL, 7), policies_of(SMALL, 7)
    assert {name: policy.digest for name, policy in first.items()} == {
        name: policy.digest for name, policy in second.items()
    }
    assert flat_world(6, 2, requests=20).requests == flat_world(6, 2, requests=20).requests


@pytest.mark.parametrize("size", [SMALL, Size(sites=1, models=1, variants=1, zones=1, tenants=1, policies=1)])
def test_the_loader_finds_no_fault(size: Size, tmp_path: Path) -> None:
    fleet = load_fleet(write_files(raw_fleet(size), tmp_path))
    assert len(fleet.deployments) == size.sites * size.models * size.variants


def test_every_site_and_zone_reaches_every_site() -> None:
    fleet = fleet_of(SMALL)
    for place in (*fleet.site_by_id, *fleet.zone_by_id):
        assert all(fleet.network.path(place, site.id) is not None for site in fleet.sites)


def test_zones_link_to_three_to_five_sites_and_the_entry_and_to_nothing_else() -> None:
    fleet = fleet_of(SMALL)
    for zone in fleet.zones:
        links = [link for link in fleet.links if zone.id in (link.from_, link.to)]
        assert 3 <= len(links) <= 6
        assert any(ENTRY in (link.from_, link.to) for link in links)
        assert all({link.from_, link.to} - {zone.id} <= set(fleet.site_by_id) for link in links)


def test_round_trips_are_no_shorter_than_light_allows() -> None:
    fleet = fleet_of(SMALL)
    places = {name: place.model_dump() for name, place in (fleet.site_by_id | fleet.zone_by_id).items()}
    for link in fleet.links:
        assert link.rtt_ms >= 2 * distance_km(places[link.from_], places[link.to]) / 200


def test_distance_is_that_of_great_circles() -> None:
    north, south, equator = {"lat": 90.0, "lon": 0.0}, {"lat": -90.0, "lon": 0.0}, {"lat": 0.0, "lon": 77.0}
    assert distance_km(north, south) == pytest.approx(20_015, abs=1)
    assert distance_km(north, equator) == pytest.approx(10_008, abs=1)


def test_tenants_share_as_many_policies_as_asked_each_of_four_classes() -> None:
    policies = policies_of(SMALL)
    assert len(policies) == 9
    assert all(policy.tenant == name for name, policy in policies.items())
    assert all(tuple(policy.classes) == CLASS_NAMES for policy in policies.values())
    assert len({policy.model_copy(update={"tenant": "x"}).model_dump_json() for policy in policies.values()}) == 4


def test_a_large_world_vetoes_some_and_leaves_some() -> None:
    engine = small_engine()
    idle = Snapshot.declared(engine.fleet)
    rules = {
        verdict.rule
        for tenant in engine.policies
        for verdict in engine.explain(Request("r", tenant, "m00", ENTRY, "z000", ("internal",)), idle).verdicts
    }
    assert Rule.NONE in rules
    assert rules & (STATIC_RULES - {Rule.NONE})


def test_a_large_world_is_warmed_and_decided_in() -> None:
    fleet = fleet_of(SMALL)
    engine = Engine(fleet, dict(list(policies_of(SMALL).items())[:2]))
    engine.warm(ENTRY, ["z000", "z001"])
    call = Request("r", "t0000", "m00", ENTRY, "z000", ("public",))
    assert engine.choose(call, Snapshot.declared(fleet)).outcome is Outcome.CHOSEN


def candidates_of(world: FlatWorld, request: Request) -> int:
    return len(Engine(world.fleet, world.policies).compiled(request).deployments)


@pytest.mark.parametrize("candidates", [1, 30, 300, 1000])
def test_a_flat_world_has_exactly_so_many_candidates(candidates: int) -> None:
    world = flat_world(candidates, requests=3)
    assert len(world.fleet.deployments) == candidates
    assert candidates_of(world, world.requests[0]) == candidates


def test_no_rule_of_the_files_vetoes_a_candidate_of_a_flat_world() -> None:
    world = flat_world(30, tenants=5, requests=40)
    engine = Engine(world.fleet, world.policies)
    for request in world.requests:
        decision = engine.explain(request, world.snapshot)
        assert not {verdict.rule for verdict in decision.verdicts} & (STATIC_RULES - {Rule.NONE})


def test_calls_of_a_flat_world_find_a_place_with_four_more_behind_it() -> None:
    world = flat_world(30, tenants=5, requests=40)
    engine = Engine(world.fleet, world.policies)
    choices = [engine.choose(request, world.snapshot) for request in world.requests]
    assert all(choice.outcome is Outcome.CHOSEN and len(choice.deployments) == 5 for choice in choices)
    assert len({choice.deployment for choice in choices}) > 1


def test_no_two_calls_of_a_flat_world_are_equal_and_all_tenants_call() -> None:
    requests = flat_world(30, tenants=5, requests=40).requests
    assert len({(r.tenant, r.origin, r.classes, r.payload_bytes, r.deadline_us) for r in requests}) == 40
    assert {request.tenant for request in requests} == {f"t{at:04}" for at in range(5)}


def test_a_flat_world_has_an_entry_that_every_origin_reaches() -> None:
    world = flat_world(4, requests=1)
    fleet: Fleet = world.fleet
    assert all(fleet.network.path(zone.id, ENTRY) is not None for zone in fleet.zones)


def test_quantiles_of_the_report_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [quantile(values, share) for share in (0.0, 0.05, 0.5, 0.95, 1.0)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert quantile([7.0], 0.95) == 7.0
