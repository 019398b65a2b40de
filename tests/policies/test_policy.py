"""A policy in force: which terms bind a call of a kind at a time, how long they last, and what its digests cover."""

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infercast.policies.fleet import Fleet
from infercast.policies.model import Preference
from infercast.policies.policy import CLAIMS_MAX, CLASSES_MAX, OVERRIDES_MAX, Policy, Terms, When
from tests.support import fleet_of, policy_of, raw_fleet, site

Raw = dict[str, Any]
TIGHT: Raw = {"constraints": {"deadline_ms": 5}}
NOON = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp())  # a Wednesday
NIGHT = NOON + 12 * 3600


def over(when: Raw, **parts: Any) -> Policy:
    """A policy of one override."""
    return policy_of(overrides=[{"when": when, **(parts or TIGHT)}])


def terms(
    policy: Policy, model: str = "digits", origin: str = "berlin", at_s: int = NOON, fleet: Fleet | None = None
) -> Terms:
    return policy.terms(fleet or fleet_of(), ("plain",), model, origin, at_s)


def test_terms_hold_always_the_classes_and_what_comes_on_top() -> None:
    policy = policy_of(
        {"deadline_ms": 3},
        classes={"b": {"deadline_ms": 2}, "a": {"deadline_ms": 1}},
        overrides=[{"when": {"models": ["digits"]}, **TIGHT}, {"when": {"models": ["other"]}, **TIGHT}],
        deadline_quantile="p99",
    )
    fleet = fleet_of()
    for classes, deadlines in (
        (("a",), [3, 1, 5]),
        (("b", "a", "b"), [3, 1, 2, 5]),
        ((), [3, 1, 2, 5]),
        (("x", "a"), [3, 1, 2, 5]),
    ):
        found = policy.terms(fleet, classes, "digits", "berlin", NOON)
        assert [block.deadline_ms for block in found.blocks] == deadlines
        assert (found.overrides, found.deadline_quantile, found.behaviour) == ((0,), "p99", policy.behaviour)
    assert policy.terms(fleet, ("a",), "third", "berlin", NOON).overrides == ()


@pytest.mark.parametrize(
    ("when", "model", "origin", "at_s", "binds"),
    [
        ({"models": ["digits"]}, "digits", "berlin", NOON, True),
        ({"models": ["digits"]}, "other", "berlin", NOON, False),
        ({"models": []}, "digits", "berlin", NOON, False),
        ({"origins": ["berlin"]}, "digits", "berlin", NOON, True),
        ({"origins": ["berlin"]}, "digits", "ber", NOON, False),
        ({"origins": ["eea"]}, "digits", "berlin", NOON, True),
        ({"origins": ["eea"]}, "digits", "iad", NOON, False),
        ({"origins": ["US", "ber"]}, "digits", "iad", NOON, True),
        ({"hours": "22:00-06:00"}, "digits", "berlin", NOON, False),
        ({"hours": "22:00-06:00"}, "digits", "berlin", NIGHT, True),
        ({"hours": "22:00-06:00", "models": ["other"]}, "digits", "berlin", NIGHT, False),
        ({"days": ["wed"]}, "digits", "berlin", NOON, True),
        ({"days": ["thu", "sat"]}, "digits", "berlin", NOON, False),
        ({"since": "2026-11-25", "until": "2026-11-25"}, "digits", "berlin", NOON, True),
        ({"since": "2026-11-26"}, "digits", "berlin", NOON, False),
        ({"days": ["wed"], "hours": "21:00-22:00", "zone": "Asia/Tokyo"}, "digits", "berlin", NOON, True),
    ],
)
def test_an_override_binds_when_all_its_parts_hold(when: Raw, model: str, origin: str, at_s: int, binds: bool) -> None:
    assert terms(over(when), model, origin, at_s).overrides == ((0,) if binds else ())


def test_where_it_is_not_known_whether_an_override_is_meant_it_binds() -> None:
    nowhere = raw_fleet()
    nowhere["sites"].append(site("lost", "edge", "ZZ"))
    fleet = fleet_of(nowhere)
    assert terms(over({"origins": ["US"]}), origin="lost", fleet=fleet).overrides == (0,)  # it may be in the US
    assert terms(over({"origins": ["ber"]}), origin="lost", fleet=fleet).overrides == ()  # but it is not `ber`
    assert terms(over({"origins": ["atlantis"]})).overrides == (0,)  # nobody knows who is meant
    assert terms(over({"hours": "10:00-10:01"}), at_s=0).overrides == (0,)  # nobody knows the time
    assert terms(over({"since": "2100-01-01"}), at_s=0).overrides == (0,)


def test_constraints_only_ever_come_on_top_and_the_last_objective_wins() -> None:
    cheap, fast = {"preference": "cheapest"}, {"preference": "fastest"}
    policy = policy_of(
        objective={"preference": "most_private"},
        overrides=[
            {"when": {"models": ["digits"]}, "objective": cheap},
            {"when": {"hours": "23:00-01:00"}, "objective": fast},
            {"when": {"origins": ["berlin"]}, **TIGHT},
        ],
    )
    day, night = terms(policy), terms(policy, at_s=NIGHT)
    assert (day.objective.preference, night.objective.preference) == (Preference.CHEAPEST, Preference.FASTEST)
    assert terms(policy, "other", "ber").objective is policy.objective
    assert [block.deadline_ms for block in day.blocks] == [None, None, 5]
    assert (day.overrides, night.overrides) == ((0, 2), (0, 1, 2))


WHENS = st.fixed_dictionaries(
    {},
    optional={
        "models": st.sampled_from([["digits"], ["other"], []]),
        "origins": st.sampled_from([["berlin"], ["eea"], ["US"], ["atlantis"]]),
        "hours": st.sampled_from(["22:00-06:00", "09:30-17:00"]),
        "days": st.sampled_from([["mon"], ["sat", "sun"]]),
        "zone": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
        "since": st.sampled_from(["2026-03-29", "2026-11-01"]),
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(WHENS, max_size=4), st.integers(0, 2**31), st.sampled_from(["berlin", "iad"]), st.data())
def test_terms_stay_as_they_are_throughout_a_period(
    whens: list[Raw], at_s: int, origin: str, data: st.DataObject
) -> None:
    policy = policy_of(overrides=[{"when": when, **TIGHT} for when in whens])
    from_s, until_s = policy.period(at_s)
    assert from_s <= at_s < until_s
    other = data.draw(st.integers(max(from_s, -(2**40)), min(until_s, 2**40) - 1))
    now = terms(policy, origin=origin, at_s=at_s)
    # Another policy of the same text remembers nothing of this one's answers.
    assert terms(policy.model_copy(), origin=origin, at_s=other) == now
    assert terms(policy, origin=origin, at_s=other) is now, "equal questions are answered from memory"


def test_a_policy_without_windows_has_one_period() -> None:
    assert policy_of().period(0) == over({"models": ["digits"]}).period(NOON) == (-(2**62), 2**62)


def test_logs_are_as_tight_as_the_tightest_block() -> None:
    policy = policy_of(
        {"log": {"keep_days": 90, "residency": ["europe"]}},
        classes={"plain": {"log": {"keep_days": 30}}, "health": {"log": {"decisions": False, "residency": ["eea"]}}},
    )
    plain, both = terms(policy).log, policy.terms(fleet_of(), (), "digits", "berlin", NOON).log
    assert (plain.keep_days, plain.decisions) == (30, True)
    assert (both.keep_days, both.decisions) == (30, False)
    assert both.residency is not None
    assert both.residency.allow == ("eea",)
    assert terms(policy_of()).log.keep_days is None


MEANT: list[Raw] = [
    {"models": ["digits"]},
    {"deadline_quantile": "p99"},
    {"always": {"deadline_ms": 7}},
    {"always": {"log": {"keep_days": 1}}},
    {"classes": {"plain": {"deadline_ms": 7}}},
    {"classes": {"plain": {}, "more": {}}},
    {"overrides": [{"when": {"days": ["mon"]}, **TIGHT}]},
    {"overrides": [{"when": {"days": ["tue"]}, **TIGHT}]},
    {"objective": {"usd_per_error": 1}},
    {"behaviour": {"retries_max": 1}},
    {"behaviour": {"cache": {"ttl_s": 5}}},
    {"limits": {"requests_per_minute": 1}},
    {"limits": {"weight": 2}},
]
UNMEANT: list[Raw] = [
    {"description": "x"},
    {"always": {"description": "x"}},
    {"classes": {"plain": {"description": "x"}}},
    {"claims": [{"refused": True}]},
    {"always": {"deadline_ms": None, "privacy": {}}},
    {"limits": {}},
    {"extends": "base/b.yaml"},
]


def test_digests_cover_what_is_meant_and_nothing_else() -> None:
    plain = policy_of()
    digests = [policy_of(**parts).digest for parts in MEANT]
    assert len({plain.digest, *digests}) == 1 + len(MEANT)
    assert {policy_of(**parts).digest for parts in UNMEANT} == {plain.digest}
    said = [
        policy_of(overrides=[{"description": text, "when": {}, "constraints": {"description": text}}]) for text in "ab"
    ]
    assert said[0].digest == said[1].digest
    other = policy_of(tenant="u")
    assert other.digest != plain.digest
    assert other.core_digest == plain.core_digest


def test_equal_terms_have_equal_digests_and_others_do_not() -> None:
    assert (
        terms(policy_of()).digest == terms(policy_of(tenant="u", limits={"concurrent_max": 1}, description="x")).digest
    )
    kinds = [policy_of(**parts) for parts in (*MEANT[1:5], *MEANT[8:11])]
    assert len({terms(policy_of()).digest, *(terms(policy).digest for policy in kinds)}) == 1 + len(kinds)
    policy = over({"hours": "22:00-06:00"})
    assert terms(policy).digest != terms(policy, at_s=NIGHT).digest
    assert terms(policy).digest == terms(policy_of()).digest


def test_a_copy_forgets_what_was_worked_out_from_the_original() -> None:
    policy = over({"hours": "22:00-06:00"})
    digest, before = policy.digest, terms(policy, at_s=NIGHT)
    changed = policy.model_copy(update={"overrides": (), "tenant": "u"})
    assert changed.digest != digest
    assert terms(changed, at_s=NIGHT).overrides == ()
    assert changed.period(NIGHT) == (-(2**62), 2**62)
    for same in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert (same.digest, terms(same, at_s=NIGHT)) == (digest, before)
    assert terms(policy, at_s=NIGHT) is before


@pytest.mark.parametrize(
    "parts",
    [
        {"classes": {}},
        {"classes": {f"c{n}": {} for n in range(CLASSES_MAX + 1)}},
        {"overrides": [{"when": {"models": ["digits"]}, **TIGHT}] * (OVERRIDES_MAX + 1)},
        {"claims": [{"refused": True}] * (CLAIMS_MAX + 1)},
        {"always": {"residency": {"entry": ["DE"] * 513}}},
        {"always": {"deadline_ms": True}},
        {"always": {"deadline_ms": "200"}},
        {"always": {"deadline_ms": float("nan")}},
        {"always": {"price_max_usd": float("inf")}},
        {"always": {"accuracy_min": {"m": 1.01}}},
        {"always": {"privacy": {"no_training": "yes"}}},
        {"always": {"privacy": {"retention_days_max": 1.0}}},
        {"limits": {"budget_usd_per_day": -0.01}},
        {"behaviour": {"cache": {"ttl_s": 0}}},
        {"behaviour": {"hedge": {"budget_share": 1.5}}},
        {"extra": 1},
    ],
)
def test_what_has_no_bound_or_another_kind_is_refused(parts: Raw) -> None:
    with pytest.raises(ValidationError):
        policy_of(**parts)


@pytest.mark.parametrize(
    "when",
    [
        {"hours": "22-6"},
        {"zone": "Mars/Base"},
        {"since": "2026-12-02", "until": "2026-12-01"},
        {"since": 20261201},
        {"since": "soon"},
        {"days": []},
        {"days": ["monday"]},
        {"classes": ["plain"]},
    ],
)
def test_a_time_that_cannot_be_is_refused(when: Raw) -> None:
    with pytest.raises(ValidationError):
        When.model_validate(when)
