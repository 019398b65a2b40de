"""Law 2: no weight, price, deadline, preference or signal turns a vetoed candidate into a choice, first or later."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.model import STATIC_RULES, Outcome, Request, Rule
from infercast.policies.snapshot import Snapshot
from tests.laws.worlds import SEEDS, Raw, World, objectives, signals_from, worlds
from tests.support import decide, engine_of, fleet_of, link, raw_fleet, request_of


def forbidden(world: World) -> set[str]:
    """The candidates that files alone veto."""
    return {v.deployment for v in world.decide().verdicts if v.rule is not Rule.NONE and v.rule in STATIC_RULES}


def assert_never_used(names: set[str], world: World) -> None:
    decision = world.decide()
    choice, fast = world.choose()
    assert names.isdisjoint({decision.chosen, *decision.alternatives})
    assert names.isdisjoint(fast)
    assert len(choice.deployments) == len(fast)
    if names == {verdict.deployment for verdict in decision.verdicts}:
        assert decision.outcome is Outcome.REFUSED
        assert choice.outcome is Outcome.REFUSED


@given(worlds(), objectives(), st.sampled_from([0.0, 1e-6, 1000.0]), st.integers(0, 7))
def test_no_preference_buys_a_vetoed_candidate(world: World, objective: Raw, margin: float, fallbacks: int) -> None:
    names = forbidden(world)
    behaviour = {"fallbacks_max": fallbacks, "spread_margin_usd": margin}
    assert_never_used(names, world.but(policy={**world.policy, "objective": objective, "behaviour": behaviour}))


@given(worlds(), SEEDS, st.sampled_from([0, 1, 10**6]), st.sampled_from([0, 1, 10**12]))
def test_no_signal_and_no_call_buys_a_vetoed_candidate(world: World, seed: int, payload: int, deadline_us: int) -> None:
    names = forbidden(world)
    other = world.but(signals=signals_from(seed, world.fleet), tried=())
    assert_never_used(names, other.asking(payload_bytes=payload, deadline_us=deadline_us, id=f"other{seed}"))


@given(worlds(), st.data())
def test_no_price_and_no_speed_buys_a_vetoed_candidate(world: World, data: st.DataObject) -> None:
    names = forbidden(world)
    fleet = deepcopy(world.fleet)
    for site in fleet["sites"]:
        site["accelerators"]["cpu"]["usd_per_hour"] = data.draw(st.sampled_from([0.0, 10_000.0]))
    signals = {name: [0, 1, 1, 1, 0] if name in names else signal for name, signal in world.signals.items()}
    assert_never_used(names, world.but(fleet=fleet, signals=signals, tried=()))


@given(worlds())
def test_retries_stay_among_what_the_first_decision_allowed(world: World) -> None:
    allowed = {verdict.deployment for verdict in world.decide().verdicts if verdict.rule is Rule.NONE}
    engine = world.engine()
    snapshot = world.snapshot(engine.fleet)
    tried = list(world.tried_on(engine.fleet))
    used: list[str] = []
    while (choice := engine.choose(world.request(), snapshot, tried)).outcome is Outcome.CHOSEN:
        used.append(engine.fleet.deployments[choice.deployment].id)
        tried.append(choice.deployment)
    assert sorted(used) == sorted(allowed)


@given(worlds())
def test_a_call_with_nowhere_to_go_is_refused_whatever_it_offers(world: World) -> None:
    nowhere: Raw = {"residency": {"processing": {"allow": []}}}
    world = world.but(policy={**world.policy, "always": nowhere})
    decision = world.decide()
    assert decision.outcome is Outcome.REFUSED
    assert decision.chosen is None
    assert decision.alternatives == ()
    assert world.choose()[0].deployments == ()


@pytest.mark.parametrize("payload_bytes", [10**8, 10**9, 10**10, 10**12, 10**15, 10**18])
def test_no_payload_is_so_large_that_its_price_or_its_time_is_small(payload_bytes: int) -> None:
    links = [link("berlin", "ber", 5, "DE"), link("ber", "iad", 12, "US", egress_usd_per_gb=100)]
    fleet = fleet_of(raw_fleet(links=links, deployments=[{"variant": "large", "site": "iad"}]))
    try:
        request = request_of(payload_bytes=payload_bytes)
    except ValueError:
        return  # a call of that size is refused before it is decided on
    decision = engine_of(fleet=fleet).explain(request, Snapshot.declared(fleet))
    verdict = decision.verdicts[0]
    assert verdict.price_nusd >= payload_bytes * 100  # 100 USD per GB are 100 nUSD per byte
    assert verdict.latency_us >= min(kernel.LATENCY_MAX_US, payload_bytes * 8_000 // 1_000_000)
    ceiling = decide({"price_max_usd": 0.01}, fleet, {"payload_bytes": payload_bytes})
    assert ceiling.outcome is Outcome.REFUSED
    assert isinstance(request, Request)
