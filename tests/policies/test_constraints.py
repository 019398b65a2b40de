"""Constraints: each rule vetoes what it is for, passes what it is not for, and says the values it compared."""

from typing import Any

import pytest

from infercast.policies.constraints import accuracy_veto, entry_veto, outside, privacy_veto, site_veto
from infercast.policies.fleet import Fleet, Site
from infercast.policies.model import Rule
from infercast.policies.parts import Constraints, Places
from tests.support import TRUSTED, card, decide, fleet_of, link, raw_fleet, site

Raw = dict[str, Any]


def block(**parts: Any) -> Constraints:
    return Constraints.model_validate(parts)


def place(**parts: Any) -> Site:
    return Site.model_validate({**site("x", "edge", "DE", operator="acme", trust=TRUSTED), **parts})


def verdict(always: Raw, deployment: str, fleet: Fleet | None = None, **ask: Any) -> tuple[Rule, str]:
    found = decide(always, fleet, ask).verdict_of(deployment)
    return found.rule, found.detail


@pytest.mark.parametrize(
    ("places", "bad"),
    [
        ({}, ["ZZ"]),
        ({"allow": ["eea"]}, ["CH", "ZZ"]),
        ({"allow": ["europe"], "deny": ["FR"]}, ["FR", "ZZ"]),
        ({"deny": ["eea"]}, ["DE", "FR", "ZZ"]),
        ({"allow": []}, ["CH", "DE", "FR", "ZZ"]),
        ({"allow": ["DE"], "deny": ["DE"]}, ["CH", "DE", "FR", "ZZ"]),
    ],
)
def test_places_permit_what_is_allowed_and_not_denied(places: Raw, bad: list[str]) -> None:
    assert outside(Places.model_validate(places), ["FR", "ZZ", "DE", "CH"], fleet_of()) == bad


def test_a_part_left_out_asks_for_nothing() -> None:
    assert outside(None, ["ZZ"], fleet_of()) == []


@pytest.mark.parametrize("part", ["entry", "processing"])
def test_entry_residency(part: str) -> None:
    rule, detail = verdict({"residency": {part: ["FR"]}}, "large@par")
    assert rule is Rule.ENTRY_RESIDENCY
    assert detail == f"ber: {part} in DE, allowed: FR"


def test_entry_residency_asks_where_the_entry_stores() -> None:
    keeps = site("ber", "edge", "DE", trust={**TRUSTED, "retention_days": 1})
    fleet = fleet_of(
        raw_fleet(
            sites=[keeps, *raw_fleet()["sites"][2:]],
            links=raw_fleet()["links"][1:],
            deployments=[{"variant": "large", "site": "par"}],
        )
    )
    rule, detail = verdict({"residency": {"storage": ["FR"]}}, "large@par", fleet)
    assert (rule, detail) == (Rule.ENTRY_RESIDENCY, "ber: storage in DE, allowed: FR")


def test_entry_transit() -> None:
    rule, detail = verdict({"residency": {"transit": ["FR"]}}, "small@ber")
    assert (rule, detail) == (Rule.ENTRY_TRANSIT, "way to ber: transit in DE, allowed: FR")


def test_entry_privacy() -> None:
    rule, detail = verdict({"privacy": {"tiers": ["cloud"]}}, "large@par")
    assert (rule, detail) == (Rule.ENTRY_PRIVACY, "ber: tier edge, allowed: cloud")


def test_path_none() -> None:
    assert verdict({}, "small@phone") == (Rule.PATH_NONE, "no link leads to phone")


def test_residency_processing() -> None:
    assert verdict({"residency": {"processing": ["europe"]}}, "large@iad") == (
        Rule.RESIDENCY_PROCESSING,
        "processing in US, allowed: europe",
    )
    assert verdict({"residency": {"processing": ["europe"]}}, "large@par")[0] is Rule.NONE


def test_residency_transit_names_the_way() -> None:
    rule, detail = verdict({"residency": {"transit": {"deny": ["US"]}}}, "large@iad")
    assert (rule, detail) == (
        Rule.RESIDENCY_TRANSIT,
        "transit in US, allowed: anywhere without US, by way of ber > par > iad",
    )


def test_a_link_of_unknown_course_fails_every_transit_rule() -> None:
    links = [link("berlin", "ber", 1, "DE"), link("ber", "par", 1)]
    rule, detail = verdict({"residency": {"transit": {"deny": []}}}, "large@par", fleet_of(raw_fleet(links=links)))
    assert rule is Rule.RESIDENCY_TRANSIT
    assert detail.startswith("transit in ZZ")


def test_residency_storage_asks_only_sites_that_keep_or_do_not_say() -> None:
    rule = {"residency": {"storage": ["DE"]}}
    assert verdict(rule, "large@par")[0] is Rule.NONE  # Paris keeps inputs for no time
    assert verdict(rule, "large@iad") == (Rule.RESIDENCY_STORAGE, "storage in US, allowed: DE")


@pytest.mark.parametrize(
    ("asked", "said", "rule", "detail"),
    [
        ({"tiers": ["device", "cloud"]}, {}, Rule.PRIVACY_TIER, "tier edge, allowed: device, cloud"),
        ({"tiers": []}, {}, Rule.PRIVACY_TIER, "tier edge, allowed: none"),
        ({"operators": ["me"]}, {}, Rule.PRIVACY_OPERATOR, "operator acme is not permitted"),
        ({"operators": {"deny": ["acme"]}}, {}, Rule.PRIVACY_OPERATOR, "operator acme is not permitted"),
        ({"operators": {"deny": []}}, {"operator": None}, Rule.PRIVACY_OPERATOR, "operator unknown is not permitted"),
        (
            {"retention_days_max": 7},
            {"trust": {"retention_days": 8}},
            Rule.PRIVACY_RETENTION,
            "inputs are kept 8 days, at most 7 days allowed",
        ),
        (
            {"retention_days_max": 7},
            {"trust": {}},
            Rule.PRIVACY_RETENTION,
            "inputs are kept an unknown time, at most 7 days allowed",
        ),
        (
            {"no_training": True},
            {"trust": {"trains_on_inputs": True}},
            Rule.PRIVACY_TRAINING,
            "the operator trains on inputs, or does not say",
        ),
        ({"no_training": True}, {"trust": {}}, Rule.PRIVACY_TRAINING, "the operator trains on inputs, or does not say"),
        (
            {"attestation": ["tpm", "nitro"]},
            {"trust": {"attestation": "none"}},
            Rule.PRIVACY_ATTESTATION,
            "attestation none, asked: tpm or nitro",
        ),
        ({"attestation": ["tpm"]}, {"trust": {}}, Rule.PRIVACY_ATTESTATION, "attestation unknown, asked: tpm"),
        (
            {"certifications": ["soc2", "c5", "iso27001"]},
            {},
            Rule.PRIVACY_CERTIFICATION,
            "not certified c5, soc2",
        ),
    ],
)
def test_privacy_rules_veto_and_say_why(asked: Raw, said: Raw, rule: Rule, detail: str) -> None:
    veto = privacy_veto(block(privacy=asked), place(**said))
    assert veto is not None
    assert (veto.rule, veto.detail) == (rule, detail)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"tiers": ["edge"]},
        {"operators": ["acme"]},
        {"operators": {"deny": ["hyper"]}},
        {"retention_days_max": 0},
        {"no_training": True},
        {"attestation": ["tdx"]},
        {"certifications": ["iso27001"]},
    ],
)
def test_privacy_rules_pass_who_fulfils_them(asked: Raw) -> None:
    assert privacy_veto(block(privacy=asked), place()) is None


def test_a_place_between_the_ends_must_be_trusted_too() -> None:
    links = [link("berlin", "ber", 1, "DE"), link("ber", "iad", 1, "DE"), link("iad", "par", 1, "DE")]
    rule, detail = verdict({"privacy": {"operators": ["acme"]}}, "large@par", fleet_of(raw_fleet(links=links)))
    assert (rule, detail) == (Rule.PRIVACY_OPERATOR, "passes iad: operator hyper is not permitted")


def test_accuracy_below_the_floor_and_accuracy_that_nobody_measured() -> None:
    floor = {"accuracy_min": {"digits": 0.95}}
    assert verdict(floor, "small@ber") == (Rule.ACCURACY, "accuracy 0.9000 is below the floor 0.9500")
    assert verdict(floor, "large@par")[0] is Rule.NONE
    unmeasured = raw_fleet(cards={"small": card("small", None, 1.0), "large": card("large", 0.98, 4.0)})
    assert verdict({"accuracy_min": {"digits": 0.0}}, "small@ber", fleet_of(unmeasured)) == (
        Rule.ACCURACY,
        "accuracy was never measured, floor 0.0000",
    )
    assert verdict({"accuracy_min": {"other": 1.0}}, "small@ber", fleet_of(unmeasured))[0] is Rule.NONE


def test_the_first_rule_in_their_order_is_the_verdict_whichever_block_asks() -> None:
    fleet = fleet_of()
    blocks = [block(privacy={"tiers": ["edge"]}), block(residency={"processing": ["DE"]})]
    for order in (blocks, blocks[::-1]):
        veto = site_veto(order, fleet.site_by_id["iad"], fleet.network.path("ber", "iad"), fleet)
        assert veto is not None
        assert veto.rule is Rule.RESIDENCY_PROCESSING


def test_no_block_is_no_veto() -> None:
    fleet = fleet_of()
    ber = fleet.site_by_id["ber"]
    assert entry_veto([block()], ber, fleet.network.path("berlin", "ber"), fleet) is None
    assert site_veto([block()], ber, fleet.network.path("ber", "ber"), fleet) is None
    assert accuracy_veto([block()], None, "digits") is None


@pytest.mark.parametrize("asked", [{"deadline_ms": 0.0001}, {"deadline_ms": 1e-300}])
def test_a_deadline_too_short_to_be_told_is_none_the_less_one(asked: Raw) -> None:
    """0 microseconds would mean that there is none, and would take the place of the other block's, too."""
    for always, other in ((asked, {}), (asked, {"deadline_ms": 5}), ({"deadline_ms": 5}, asked)):
        decision = decide(always, classes={"plain": other})
        assert decision.deadline_us == 1
        assert {verdict.rule for verdict in decision.verdicts} <= {Rule.DEADLINE, Rule.PATH_NONE}
