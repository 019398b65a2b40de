"""A tenant may only tighten its base: merging binds both exactly, and whatever is looser is named."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infercast.policies.engine import Engine
from infercast.policies.extending import looser_parts, merged
from infercast.policies.fleet import Fleet
from infercast.policies.parts import Budget, Constraints, Limits, Log, ModelLimits
from infercast.policies.policy import Base, Draft, Policy
from infercast.policies.tightening import SINGLE, looser, merge, merge_limits, merge_logs
from tests.laws.worlds import ATTESTATIONS, MARKS, OPERATORS, SEEDS, Dice, World, eligible, worlds
from tests.support import fleet_of

Raw = dict[str, Any]
WORDS = ("eea", "europe", "DE", "FR", "US", "CH", "GB", "atlantis")


def _words(dice: Dice) -> list[str]:
    return dice.sample(WORDS, dice.randint(0, 3))


def block_from(seed: int) -> Constraints:
    """A block of constraints of which about a third is stated."""
    dice = Dice(seed)

    def stated(**parts: Any) -> Raw:
        return {name: value for name, value in parts.items() if dice.random() < 0.35}

    def places() -> Raw:
        return {**stated(allow=_words(dice), deny=_words(dice))}

    residency = stated(entry=places(), processing=places(), transit=places(), storage=places())
    operators = stated(allow=dice.some(OPERATORS), deny=dice.some(OPERATORS))
    privacy = stated(
        tiers=dice.some(("device", "edge", "cloud")),
        operators=operators,
        retention_days_max=dice.of(0, 7, 30),
        no_training=dice.of(True, False),
        attestation=dice.some(ATTESTATIONS),
        certifications=dice.some(MARKS),
    )
    log = stated(keep_days=dice.of(0, 30, 365), residency=places(), decisions=dice.of(True, False))
    rest = stated(
        residency=residency,
        privacy=privacy,
        deadline_ms=dice.of(1, 20, 100, 400),
        price_max_usd=dice.of(0.0, 1e-7, 1e-4),
        accuracy_min=stated(m0=dice.of(0.8, 0.9, 0.95), m1=dice.of(0.8, 0.9)),
        log=log,
    )
    return Constraints.model_validate(rest)


BLOCKS = SEEDS.map(block_from)


def passing(world: World, always: Constraints, plain: Constraints) -> set[str]:
    """What passes a policy of these two blocks in a world, for a call of its one class."""
    fleet = Fleet.model_validate(world.fleet)
    policy = Policy(version=1, tenant="t", always=always, classes={"plain": plain})
    raw = world.asking(classes=["plain"])
    return eligible(Engine(fleet, {"t": policy}).explain(raw.request(), raw.snapshot(fleet)))


@settings(deadline=None, max_examples=50)
@given(worlds(), BLOCKS, BLOCKS)
def test_a_merged_block_vetoes_exactly_what_either_vetoes(world: World, base: Constraints, own: Constraints) -> None:
    fleet = Fleet.model_validate(world.fleet)
    assert passing(world, merge(base, own, fleet), Constraints()) == passing(world, base, own)


@settings(deadline=None, max_examples=50)
@given(worlds(), BLOCKS, BLOCKS)
def test_what_is_not_looser_lets_nothing_through_that_its_base_vetoes(
    world: World, base: Constraints, own: Constraints
) -> None:
    fleet = Fleet.model_validate(world.fleet)
    tight = own if not looser(base, own, fleet, inherits=False) else merge(own, base, fleet)
    assert looser(base, tight, fleet, inherits=False) == []
    assert passing(world, Constraints(), tight) <= passing(world, Constraints(), base)


@settings(deadline=None, max_examples=100)
@given(BLOCKS, BLOCKS, BLOCKS)
def test_merging_is_never_looser_and_the_order_of_three_does_not_matter(
    one: Constraints, two: Constraints, three: Constraints
) -> None:
    fleet = fleet_of()
    whole = merge(merge(one, two, fleet), three, fleet)
    other = merge(one, merge(two, three, fleet), fleet)
    for part in (one, two, three, other):
        assert looser(part, whole, fleet, inherits=False) == []
    assert looser(whole, other, fleet, inherits=False) == []


@settings(deadline=None, max_examples=100)
@given(BLOCKS)
def test_a_block_is_as_tight_as_itself_and_inherits_whole(block: Constraints) -> None:
    fleet = fleet_of()
    assert looser(block, block, fleet, inherits=False) == []
    assert looser(block, Constraints(), fleet) == []
    assert merge(block, Constraints(), fleet) == merge(Constraints(), block, fleet) == merge(block, block, fleet)


def block(**parts: Any) -> Constraints:
    return Constraints.model_validate(parts)


LOOSER: list[tuple[Raw, Raw, str, str]] = [
    ({"residency": {"processing": ["eea"]}}, {"residency": {"processing": ["eea", "US"]}}, "residency.processing.allow", "US"),
    ({"residency": {"transit": ["DE"]}}, {"residency": {"transit": ["europe"]}}, "residency.transit.allow", "CH, FR"),
    ({"residency": {"entry": {"deny": ["eea"]}}}, {"residency": {"entry": ["FR", "US"]}}, "residency.entry.allow", "FR"),
    ({"residency": {"storage": ["DE"]}}, {"residency": {"storage": None}}, "residency.storage", "nothing"),
    ({"privacy": {"tiers": ["edge"]}}, {"privacy": {"tiers": ["edge", "cloud"]}}, "privacy.tiers", "cloud"),
    ({"privacy": {"tiers": ["edge"]}}, {"privacy": {"tiers": None}}, "privacy.tiers", "edge"),
    ({"privacy": {"operators": ["acme"]}}, {"privacy": {"operators": ["acme", "me"]}}, "privacy.operators.allow", "me"),
    ({"privacy": {"operators": {"deny": ["me"]}}}, {"privacy": {"operators": ["me"]}}, "privacy.operators.allow", "me"),
    ({"privacy": {"operators": ["acme"]}}, {"privacy": {"operators": None}}, "privacy.operators", "acme"),
    ({"privacy": {"retention_days_max": 7}}, {"privacy": {"retention_days_max": 8}}, "privacy.retention_days_max", "8 days"),
    ({"privacy": {"retention_days_max": 7}}, {"privacy": {"retention_days_max": None}}, "privacy.retention_days_max", "7"),
    ({"privacy": {"no_training": True}}, {"privacy": {"no_training": False}}, "privacy.no_training", "training"),
    ({"privacy": {"attestation": ["tdx"]}}, {"privacy": {"attestation": ["tdx", "tpm"]}}, "privacy.attestation", "tpm"),
    ({"deadline_ms": 100}, {"deadline_ms": 100.5}, "deadline_ms", "100.5 ms is above the base's 100 ms"),
    ({"deadline_ms": 100}, {"deadline_ms": None}, "deadline_ms", "no limit"),
    ({"price_max_usd": 0}, {"price_max_usd": 0.1}, "price_max_usd", "0.1 USD"),
    ({"accuracy_min": {"m": 0.9}}, {"accuracy_min": {"m": 0.8}}, "accuracy_min.m", "0.8 is below the base's 0.9"),
    ({"log": {"keep_days": 30}}, {"log": {"keep_days": 31}}, "log.keep_days", "31 days"),
    ({"log": {"residency": ["DE"]}}, {"log": {"residency": ["FR"]}}, "log.residency.allow", "FR"),
    ({"log": {"decisions": False}}, {"log": {"decisions": True}}, "log.decisions", "recorded"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "own", "at", "said"), LOOSER, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_looser_line_is_named_with_both_values(base: Raw, own: Raw, at: str, said: str) -> None:
    found = looser(block(**base), block(**own), fleet_of())
    assert [".".join(map(str, place)) for place, _ in found] == [at]
    assert said in found[0][1]
    assert looser(block(**own), block(**base), fleet_of()) == [] or at.startswith(
        ("residency.entry", "log.res", "privacy.op")
    )


@pytest.mark.parametrize(
    ("base", "own"),
    [
        ({"residency": {"processing": ["eea"]}}, {"residency": {"processing": ["DE"]}}),
        ({"residency": {"processing": ["eea"]}}, {"residency": {"processing": {"deny": ["US"]}}}),
        ({"residency": {"processing": {"allow": ["eea"], "deny": ["FR"]}}}, {"residency": {"processing": ["eea"]}}),
        ({"privacy": {"certifications": ["soc2"]}}, {"privacy": {"certifications": ["iso27001"]}}),
        ({"privacy": {"operators": {"deny": ["me"]}}}, {"privacy": {"operators": {"deny": ["acme"]}}}),
        ({"accuracy_min": {"m": 0.9}}, {"accuracy_min": {"n": 0.1}}),
        ({"deadline_ms": 100, "price_max_usd": 1}, {"deadline_ms": 100, "price_max_usd": 0}),
        ({"log": {"keep_days": 30, "decisions": False}}, {"log": {"residency": ["DE"]}}),
    ],
)
def test_a_line_that_adds_is_no_loosening(base: Raw, own: Raw) -> None:
    assert looser(block(**base), block(**own), fleet_of()) == []


@pytest.mark.parametrize(
    ("base", "own", "at", "said"), LOOSER, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_left_out_asks_for_nothing_where_nothing_is_inherited(base: Raw, own: Raw, at: str, said: str) -> None:
    found = looser(block(**base), Constraints(), fleet_of(), inherits=False)
    assert any(at.startswith(".".join(map(str, place))) for place, _ in found), found


def test_the_narrower_lists_own_words_are_kept() -> None:
    fleet = fleet_of()
    both = merge(block(residency={"processing": ["europe"]}), block(residency={"processing": ["eea"]}), fleet)
    assert both.residency.processing is not None
    assert both.residency.processing.allow == ("eea",)
    crossed = merge(block(residency={"processing": ["eea"]}), block(residency={"processing": ["FR", "US"]}), fleet)
    assert crossed.residency.processing is not None
    assert crossed.residency.processing.allow == ("FR",)


def test_logs_take_the_tightest_of_each() -> None:
    logs = [None, Log(keep_days=90), Log.model_validate({"residency": ["eea"]}), Log(keep_days=30, decisions=False)]
    log = merge_logs(logs, fleet_of())
    assert (log.keep_days, log.decisions) == (30, False)
    assert log.residency is not None
    assert log.residency.allow == ("eea",)
    assert merge_logs([], fleet_of()) == Log()


LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(0, 3),
    budget_usd_per_day=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    completion_tokens_max=st.none() | st.integers(1, 3),
    per_model=st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(ModelLimits, concurrent_max=st.none() | st.integers(0, 3))
    ),
    budgets=st.lists(
        st.builds(
            Budget,
            per=st.sampled_from(["day", "month"]),
            usd=st.sampled_from([1.0, 2.0]),
            models=st.sampled_from([None, ("a",), ("a", "b")]),
            when_spent=st.sampled_from(["refuse", "alert"]),
        ),
        max_size=3,
        unique=True,
    ).map(tuple),
)


def binding(limits: Limits) -> dict[tuple[str, str], float]:
    """The least that refuses, by period and model ("" for all of them together)."""
    least: dict[tuple[str, str], float] = {}
    for budget in limits.budgets:
        for model in budget.models or ("",):
            if budget.when_spent == "refuse":
                at = (budget.per, model)
                least[at] = min(least.get(at, budget.usd), budget.usd)
    return least


@given(LIMITS, LIMITS)
@settings(deadline=None, max_examples=50)
def test_of_two_limits_the_lower_one_holds(base: Limits, own: Limits) -> None:
    both = merge_limits(base, own)
    for part in SINGLE:
        given_ = [value for value in (getattr(base, part), getattr(own, part)) if value is not None]
        assert getattr(both, part) == min(given_, default=None)
    for model in ("a", "b"):
        of = [each.per_model[model].concurrent_max for each in (base, own) if model in each.per_model]
        least = min((value for value in of if value is not None), default=None)
        assert both.per_model.get(model, ModelLimits()).concurrent_max == least
    one, other = binding(base), binding(own)
    assert binding(both) == {at: min(each[at] for each in (one, other) if at in each) for at in {*one, *other}}
    assert {*base.budgets, *own.budgets} == {*both.budgets}
    assert len(both.budgets) == len({*both.budgets})


def base_of(**parts: Any) -> Base:
    return Base.model_validate({"version": 1, **parts})


def draft_of(**parts: Any) -> Draft:
    return Draft.model_validate({"version": 1, "tenant": "t", "extends": "base/b.yaml", **parts})


def whole(base: Base, own: Draft) -> Policy:
    return Policy(**merged(base, own, fleet_of()), tenant="t")


def test_what_is_not_stated_is_inherited_and_a_stated_objective_takes_the_bases_place_whole() -> None:
    base = base_of(
        models=["digits"],
        deadline_quantile="p90",
        always={"deadline_ms": 100},
        classes={"plain": {"price_max_usd": 1}},
        objective={"preference": "cheapest", "usd_per_error": 1},
        behaviour={"fallbacks_max": 1, "retries_max": 2},
        limits={"concurrent_max": 5},
    )
    inherited = whole(base, draft_of())
    for part in ("models", "deadline_quantile", "always", "classes", "objective", "behaviour", "limits"):
        assert getattr(inherited, part) == getattr(base, part), part
    own = whole(base, draft_of(objective={"preference": "fastest"}, behaviour={"retries_max": 0}, classes={"new": {}}))
    assert (own.objective.preference, own.objective.usd_per_error) == ("fastest", 0)
    assert (own.behaviour.fallbacks_max, own.behaviour.retries_max) == (1, 0)
    assert set(own.classes) == {"plain", "new"}
    assert own.classes["plain"].price_max_usd == 1


def test_the_bases_overrides_stay_but_not_their_preferences_under_an_objective_of_ones_own() -> None:
    base = base_of(
        overrides=[
            {"when": {"origins": ["US"]}, "constraints": {"deadline_ms": 9}, "objective": {"preference": "cheapest"}},
            {"when": {"origins": ["FR"]}, "objective": {"preference": "cheapest"}},
        ]
    )
    mine = {"when": {"models": ["digits"]}, "constraints": {"price_max_usd": 0}}
    kept = whole(base, draft_of(classes={"plain": {}}, overrides=[mine]))
    assert len(kept.overrides) == 3
    assert kept.overrides[:2] == base.overrides
    own = whole(base, draft_of(classes={"plain": {}}, overrides=[mine], objective={"preference": "fastest"}))
    assert [override.objective for override in own.overrides] == [None, None]
    first = own.overrides[0].constraints
    assert first is not None
    assert first.deadline_ms == 9


@pytest.mark.parametrize(
    ("base", "own", "at"),
    [
        ({"models": ["a"]}, {"models": ["a", "b"]}, ("models",)),
        ({"models": ["a"]}, {"models": None}, ("models",)),
        ({"deadline_quantile": "p95"}, {"deadline_quantile": "p90"}, ("deadline_quantile",)),
        ({"limits": {"concurrent_max": 1}}, {"limits": {"concurrent_max": 2}}, ("limits", "concurrent_max")),
        ({"limits": {"concurrent_max": 1}}, {"limits": {"concurrent_max": None}}, ("limits", "concurrent_max")),
        ({"limits": {"completion_tokens_max": 5}}, {"limits": {"completion_tokens_max": 6}}, ("limits", "completion_tokens_max")),
        ({"limits": {"per_model": {"a": {"concurrent_max": 1}}}}, {"limits": {"per_model": {"a": {"concurrent_max": 2}}}},
         ("limits", "per_model", "a", "concurrent_max")),
        ({"limits": {"budgets": [{"per": "day", "usd": 1}]}}, {"limits": {"budgets": [{"per": "day", "usd": 2}]}},
         ("limits", "budgets", 0, "usd")),
        ({"always": {"deadline_ms": 1}}, {"always": {"deadline_ms": 2}}, ("always", "deadline_ms")),
        ({"classes": {"c": {"deadline_ms": 1}}}, {"classes": {"c": {"deadline_ms": 2}}}, ("classes", "c", "deadline_ms")),
    ],
)  # fmt: skip
def test_a_policy_looser_than_its_base_is_named(base: Raw, own: Raw, at: tuple[str, ...]) -> None:
    assert [place for place, _ in looser_parts(base_of(**base), draft_of(**own), fleet_of())] == [at]
    assert looser_parts(base_of(**own), draft_of(**base), fleet_of()) == []


@settings(deadline=None, max_examples=60)
@given(BLOCKS, BLOCKS, BLOCKS)
def test_a_policy_that_loads_is_as_tight_as_its_base(always: Constraints, plain: Constraints, own: Constraints) -> None:
    fleet = fleet_of()
    base, draft = Base(version=1, always=always, classes={"plain": plain}), draft_of(classes={"plain": {}})
    draft = draft.model_copy(update={"classes": {"plain": own}})
    assume(not looser_parts(base, draft, fleet))
    policy = whole(base, draft)
    assert looser(always, policy.always, fleet, inherits=False) == []
    for part in (plain, own):
        assert looser(part, policy.classes["plain"], fleet, inherits=False) == []


def test_saying_the_same_again_is_no_loosening() -> None:
    same: Raw = {
        "deadline_quantile": "p95",
        "models": ["a"],
        "limits": {"concurrent_max": 1},
        "always": {"deadline_ms": 1},
    }
    assert looser_parts(base_of(**same), draft_of(**same), fleet_of()) == []


def test_denying_a_place_that_nobody_knows_permits_nothing_and_is_kept() -> None:
    base, own = block(residency={"entry": {"deny": ["atlantis"]}}), block(residency={"entry": {"deny": ["US"]}})
    found = looser(base, own, fleet_of(), inherits=False)
    assert found == [(("residency", "entry", "deny"), "does not deny atlantis, which the base denies")]
    assert looser(own, base, fleet_of(), inherits=False) == []
    both = merge(base, own, fleet_of()).residency.entry
    assert both is not None
    assert both.deny == ("atlantis", "US")
