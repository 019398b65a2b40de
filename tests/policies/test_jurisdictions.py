"""Jurisdictions: countries inside unions inside unions; what nobody declared is inside nothing."""

import pytest

from infercast.policies.jurisdictions import UNKNOWN, Jurisdictions, country_codes


def test_groups_nest() -> None:
    world = Jurisdictions({"eea": ["eu", "NO"], "eu": ["DE", "FR"], "europe": ["eea", "CH", "eu"]})
    assert world.faults == []
    assert world.countries(["eea"]) == {"DE", "FR", "NO"}
    assert world.countries(["europe"]) == {"DE", "FR", "NO", "CH"}
    assert world.countries(["eu", "US"]) == {"DE", "FR", "US"}
    assert world.countries([]) == frozenset()


def test_what_nobody_knows_is_inside_nothing() -> None:
    world = Jurisdictions({"eu": ["DE"]})
    assert world.countries(["atlantis", UNKNOWN, "de"]) == frozenset()
    assert [world.knows(word) for word in ("eu", "DE", "atlantis", UNKNOWN, "de")] == [True, True, False, False, False]


def test_the_unknown_country_is_a_member_of_nothing() -> None:
    world = Jurisdictions({"all": ["DE", UNKNOWN]})
    assert UNKNOWN not in world.countries(["all"])
    assert [(group, member) for group, member, *_ in world.faults] == [("all", UNKNOWN)]


@pytest.mark.parametrize(
    "declared", [{"a": ["a"]}, {"a": ["b"], "b": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["a", "DE"]}]
)
def test_circles_are_faults(declared: dict[str, list[str]]) -> None:
    world = Jurisdictions(declared)
    assert {group for group, *_ in world.faults} == set(declared)
    assert all(message.endswith("is a circle") for _, _, message, _ in world.faults)


def test_a_member_that_nobody_knows_is_a_fault_with_a_remedy() -> None:
    world = Jurisdictions({"benelux": ["BE", "NL", "LX"], "wide": ["benelu"]})
    assert [fault[:2] for fault in world.faults] == [("benelux", "LX"), ("wide", "benelu")]
    assert world.faults[1][3] == "did you mean 'benelux'?"


def test_a_group_may_not_take_a_countrys_name() -> None:
    world = Jurisdictions({"DE": ["FR"]})
    assert [message for _, _, message, _ in world.faults] == ["'DE' is a country's code"]


def test_codes_are_iso_3166() -> None:
    assert {"DE", "NO", "US", UNKNOWN} <= country_codes()
    assert not {"XX", "EU", "UK"} & country_codes()
    assert "DE" in Jurisdictions({"eu": ["DE"]}).words()
    assert "eu" in Jurisdictions({"eu": ["DE"]}).words()
    assert UNKNOWN not in Jurisdictions({}).words()
