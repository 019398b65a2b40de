"""Law 4: tightening a constraint never adds an eligible candidate; making only the least score smaller keeps it least."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.extending import looser_parts, merged
from infercast.policies.model import Preference, Rule
from infercast.policies.policy import Base, Draft, Policy
from tests.laws.worlds import ATTESTATIONS, MARKS, OPERATORS, SEEDS, Dice, Raw, World, eligible, policy_from, worlds

TIERS = ("device", "edge", "cloud")


def _less(dice: Dice, allowed: list[str] | None, pool: tuple[str, ...]) -> list[str]:
    """A list that allows no more than the given one; None allows everything."""
    return [word for word in (pool if allowed is None else allowed) if dice.random() < 0.7]


def _smaller(dice: Dice, limit: float | None, pool: tuple[float, ...]) -> float:
    return min(dice.choice(pool), dice.choice(pool) if limit is None else limit)


def _tighter_place(dice: Dice, places: Raw | None) -> Raw:
    places = places or {"allow": None, "deny": []}
    allow = _less(dice, places["allow"], ("eea", "US", "CH")) if dice.random() < 0.5 else places["allow"]
    return {"allow": allow, "deny": sorted({*places["deny"], *dice.some(("US", "FR"))})}


def _tighten_part(dice: Dice, residency: Raw, part: str) -> None:
    residency[part] = _tighter_place(dice, residency.get(part))


def tighter(seed: int, block: Raw) -> Raw:
    """A block that asks for all that the given one asks, and for more in some of its parts."""
    dice, block = Dice(seed), deepcopy(block)
    residency, privacy = block.setdefault("residency", {}), block.setdefault("privacy", {})
    ways: dict[str, Callable[[], None]] = {
        **{
            part: partial(_tighten_part, dice, residency, part)
            for part in ("entry", "processing", "transit", "storage")
        },
        "tiers": lambda: privacy.update(tiers=_less(dice, privacy.get("tiers"), TIERS)),
        "operators": lambda: privacy.update(
            operators={
                "allow": _less(dice, (privacy.get("operators") or {}).get("allow"), OPERATORS),
                "deny": (privacy.get("operators") or {}).get("deny", []),
            }
        ),
        "retention": lambda: privacy.update(
            retention_days_max=int(_smaller(dice, privacy.get("retention_days_max"), (0, 7, 30)))
        ),
        "training": lambda: privacy.update(no_training=True),
        "attestation": lambda: privacy.update(attestation=_less(dice, privacy.get("attestation"), ATTESTATIONS)),
        "marks": lambda: privacy.update(certifications=sorted({*privacy.get("certifications", []), dice.of(*MARKS)})),
        "deadline": lambda: block.update(deadline_ms=_smaller(dice, block.get("deadline_ms"), (1, 20, 100, 400))),
        "price": lambda: block.update(price_max_usd=_smaller(dice, block.get("price_max_usd"), (0.0, 1e-6, 1e-3))),
        "accuracy": lambda: block.update(
            accuracy_min={"m0": max(dice.of(0.5, 0.9, 0.95), block.get("accuracy_min", {}).get("m0", 0))}
        ),
    }
    for way in dice.sample(sorted(ways), dice.randint(1, 3)):
        ways[way]()
    return block


@given(worlds(), SEEDS, st.sampled_from(["always", "health", "plain"]))
def test_tightening_a_constraint_never_adds_a_candidate(world: World, seed: int, where: str) -> None:
    policy = deepcopy(world.policy)
    if where == "always":
        policy["always"] = tighter(seed, policy["always"])
    else:
        policy["classes"][where] = tighter(seed, policy["classes"][where])
    before, after = world.decide(), world.but(policy=policy).decide()
    assert eligible(after) <= eligible(before)
    if before.chosen is None:
        assert after.chosen is None


@given(worlds(), SEEDS)
def test_a_further_override_with_constraints_never_adds_a_candidate(world: World, seed: int) -> None:
    overrides = [override for override in policy_from(seed)["overrides"] if override["constraints"] is not None]
    policy = {**world.policy, "overrides": [*world.policy["overrides"], *overrides]}
    assert eligible(world.but(policy=policy).decide()) <= eligible(world.decide())


@given(worlds(), SEEDS)
def test_at_a_time_that_nobody_knows_every_window_is_open(world: World, at_s: int) -> None:
    unknown, known = (eligible(world.asking(at_s=each).decide()) for each in (0, at_s % 10**10))
    assert unknown <= known


@given(worlds(), SEEDS, st.booleans())
def test_a_tenant_that_extends_a_base_is_never_looser_than_the_base_nor_than_its_own_file(
    world: World, seed: int, related: bool
) -> None:
    """Whether or not loading would have called the tenant's file looser: joined, both bind."""
    own = policy_from(seed)
    if related:
        blocks = {name: tighter(seed, block) for name, block in world.policy["classes"].items()}
        own = {**own, "always": tighter(seed + 1, world.policy["always"]), "classes": blocks}
    fleet = world.engine().fleet
    base = Base.model_validate({name: part for name, part in world.policy.items() if name != "tenant"})
    draft = Draft.model_validate({**own, "extends": "base.yaml"})
    if related:
        assert [at for at, _ in looser_parts(base, draft, fleet) if at[0] in ("always", "classes")] == []
    joined = Policy(**merged(base, draft, fleet), tenant="t")
    apart = [world.but(policy=part).decide() for part in (world.policy, own)]
    decision = Engine(fleet, {"t": joined}).explain(world.request(), world.snapshot(fleet), world.tried_on(fleet))
    for one in apart:
        assert eligible(decision) <= eligible(one)
        assert not one.deadline_us or decision.deadline_us <= one.deadline_us


@given(worlds(), st.sampled_from([1, 1_000, 50_000, 10**6]))
def test_an_earlier_deadline_never_adds_a_candidate(world: World, deadline_us: int) -> None:
    later = world.asking(deadline_us=deadline_us * 2).decide()
    sooner = world.asking(deadline_us=deadline_us).decide()
    assert eligible(sooner) <= eligible(later)


@given(worlds(), st.sampled_from([1, 5, 64]))
def test_more_load_never_adds_a_candidate(world: World, more: int) -> None:
    busy = {name: signal and [signal[0] + more, *signal[1:]] for name, signal in world.signals.items()}
    assert eligible(world.but(signals=busy).decide()) <= eligible(world.decide())


@given(worlds(spread=False), st.sampled_from([1, 10**3, 10**9]))
def test_making_only_the_least_score_smaller_keeps_it_least(world: World, less: int) -> None:
    engine = world.engine()
    request, snapshot = world.request(), world.snapshot(engine.fleet)
    kind, view = engine.compiled(request), snapshot.view(request.entry, request.model)
    out = np.zeros((view.shape[1], kernel.O_COLS), dtype=np.int64)
    kernel.evaluate(view, kind.codes, kind.exposure, kind.params, request.payload_bytes, request.deadline_us, out)
    order = np.zeros(len(kind.deployments) + 1, dtype=np.int64)
    found = kernel.rank(view, out, 0, 0, order)
    before = order[:found].tolist()
    if found:
        out[before[0], kernel.O_PRIMARY] -= less
        assert kernel.rank(view, out, 0, 0, order) == found
        assert order[:found].tolist() == before


@given(worlds(spread=False, measured=True))
def test_a_chosen_site_that_becomes_cheaper_stays_chosen(world: World) -> None:
    before = world.decide()
    if before.chosen is None:
        return
    mine = before.verdict_of(before.chosen)
    fleet = deepcopy(world.fleet)
    for site in fleet["sites"]:
        if site["id"] == mine.site:
            site["accelerators"]["cpu"]["usd_per_hour"] = 0.0
    after = world.but(fleet=fleet).decide()
    assert after.verdict_of(before.chosen).rule is Rule.NONE
    rivals = {name for name in (after.chosen,) if name and after.verdict_of(name).site != mine.site}
    assert not rivals
    assert before.preference in Preference
