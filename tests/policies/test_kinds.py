"""Kinds of call: what stands for a group stands for all of it, and no set of open windows is forgotten."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.fleet import Fleet
from infercast.policies.kinds import (
    INSTANTS_MAX,
    Kind,
    alike,
    instants,
    is_timed,
    origins_named,
    places_of,
    without_windows,
)
from infercast.policies.policy import Policy
from infercast.policies.touches import touches
from tests.laws.worlds import World, worlds
from tests.support import fleet_of, policy_of, raw_fleet

Raw = dict[str, Any]
TIGHT: Raw = {"privacy": {"no_training": True}}
WINDOWS: list[Raw] = [
    {"hours": "08:00-18:00"},
    {"hours": "22:00-06:00", "zone": "Europe/Berlin"},
    {"days": ["sat", "sun"], "zone": "America/New_York"},
    {"hours": "09:00-17:30", "days": ["mon", "fri"], "zone": "Asia/Tokyo"},
    {"since": "2026-03-01", "until": "2026-03-31", "zone": "Europe/Berlin"},
    {"since": "2027-01-01", "hours": "00:00-12:00"},
    {"until": "2025-06-30", "days": ["mon"]},
    {"hours": "18:00-08:00"},
]


def timed(*whens: Raw) -> Policy:
    """A policy that is tighter at some times."""
    return policy_of(overrides=[{"when": when, "constraints": TIGHT} for when in whens])


def open_at(policy: Policy, at_s: int) -> tuple[int, ...]:
    """The overrides that hold for a call from Berlin."""
    return policy.terms(fleet_of(), (), "digits", "berlin", at_s).overrides


@settings(max_examples=150)
@given(worlds())
def test_whom_no_rule_tells_apart_the_engine_does_not_either(world: World) -> None:
    engine = world.engine()
    fleet, policy, entry = engine.fleet, engine.policies["t"], world.call["entry"]
    groups = alike(fleet, policy, "m0", entry, places_of(fleet))
    assert sorted(place for group in groups for place in group) == sorted(places_of(fleet))
    for group in groups:
        compiled = [engine.compiled(Kind("t", "m0", ("plain",), origin, entry).request()) for origin in group]
        assert len({each.gate is None for each in compiled}) == 1, group
        assert len({tuple(veto is None for veto in each.vetoes) for each in compiled}) == 1, group
        assert len({touched(fleet, origin, entry) for origin in group}) == 1, group


def touched(fleet: Fleet, origin: str, entry: str) -> frozenset[tuple[str, str, str]]:
    """What happens where to a call on its way in."""
    found = touches(fleet, origin, entry, entry)
    return frozenset((each.act, each.country, each.site.id if each.site else "") for each in found)


def test_an_override_tells_origins_apart() -> None:
    raw = raw_fleet(
        zones=[{"id": name, "country": "DE", "lat": 0, "lon": 0} for name in ("berlin", "bonn")],
        links=[
            {"from": name, "to": "ber", "rtt_ms": 5, "bandwidth_mbps": 100, "countries": ["DE"]}
            for name in ("berlin", "bonn")
        ],
    )
    fleet = fleet_of(raw)
    assert alike(fleet, policy_of(), "digits", "ber", ("berlin", "bonn")) == [("berlin", "bonn")]
    apart = policy_of(overrides=[{"when": {"origins": ["bonn"]}, "constraints": TIGHT}])
    assert alike(fleet, apart, "digits", "ber", ("berlin", "bonn")) == [("berlin",), ("bonn",)]


def test_origins_are_named_by_id_country_and_group() -> None:
    zones = [{"id": "berlin", "country": "DE", "lat": 0, "lon": 0}, {"id": "sea", "lat": 0, "lon": 0}]
    fleet = fleet_of(raw_fleet(zones=zones, links=[]))
    assert origins_named(["iad"], fleet) == ("iad",)
    # Nobody knows where `sea` lies, so it may lie in any country that is named.
    assert origins_named(["FR"], fleet) == ("par", "sea")
    assert origins_named(["eea"], fleet) == ("phone", "ber", "par", "berlin", "sea")
    assert origins_named(None, fleet) == places_of(fleet)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=4, unique_by=repr),
    st.lists(st.integers(1_735_689_600, 1_830_297_600), min_size=50, max_size=50),  # 2025 to 2027
)
def test_every_set_of_windows_that_can_be_open_has_an_instant(whens: list[Raw], moments: list[int]) -> None:
    policy = timed(*whens)
    found = instants(policy)
    assert found.whole
    known = {open_at(policy, at_s) for at_s in found.at_s}
    assert {open_at(policy, at_s) for at_s in moments} <= known
    assert tuple(range(len(whens))) in known  # the time that nobody knows


def test_windows_that_never_meet_have_no_common_instant_but_the_unknown_time() -> None:
    found = instants(timed({"hours": "08:00-18:00"}, {"hours": "18:00-08:00"}))
    assert {open_at(timed({"hours": "08:00-18:00"}, {"hours": "18:00-08:00"}), at_s) for at_s in found.at_s} == {
        (0,),
        (1,),
        (0, 1),
    }
    assert found.days_walked == "2024-11-27 to 2027-02-07"
    walked = datetime.fromtimestamp(found.from_s, UTC), datetime.fromtimestamp(found.until_s, UTC)
    assert (walked[1] - walked[0]).days > 366


def test_a_policy_without_windows_has_one_instant() -> None:
    policy = policy_of(overrides=[{"when": {"models": ["digits"]}, "constraints": TIGHT}])
    assert not is_timed(policy)
    assert instants(policy).at_s == (0,)
    assert without_windows(policy) is policy


def test_without_windows_only_what_always_holds_is_left() -> None:
    policy = policy_of(
        overrides=[
            {"when": {"hours": "08:00-18:00"}, "constraints": TIGHT},
            {"when": {"models": ["digits"]}, "constraints": TIGHT},
        ]
    )
    assert [override.when.models for override in without_windows(policy).overrides] == [("digits",)]
    assert without_windows(policy).terms(fleet_of(), (), "digits", "berlin", 0).overrides == (0,)


def test_more_sets_of_windows_than_are_looked_at_are_owned_up_to() -> None:
    hours = [
        {"hours": f"{hour:02d}:00-{(hour + 3) % 24:02d}:30", "days": [day]}
        for hour in range(8, 20)
        for day in ("mon", "tue", "wed", "thu", "fri")
    ]
    found = instants(timed(*hours))
    assert not found.whole
    assert len(found.at_s) == INSTANTS_MAX + 1
