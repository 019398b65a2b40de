"""Where calls enter: as the live engine says, the nearest first; and what else makes kinds of calls."""

import pytest

from infercast.policies.engine import Engine
from infercast.policies.model import Request
from infercast.sim.kind_book import KindBook, Row
from infercast.sim.workload_file import Source
from tests.sim.workloads import FLEET, POLICIES, calls, source
from tests.support import Raw, policy_of

STRICT: dict[str, Raw] = {
    "europe": {"always": {"residency": {"processing": ["europe"]}}},
    "nobody": {"always": {"residency": {"entry": []}}},
    "trusted": {"always": {"privacy": {"operators": ["acme"]}}},
    "device": {"always": {"privacy": {"tiers": ["device"]}}},
    "night": {
        "overrides": [
            {"when": {"hours": "22:00-06:00"}, "constraints": {"residency": {"entry": ["DE"]}}},
            {"when": {"models": ["vision"]}, "constraints": {"residency": {"entry": ["FR"]}}},
        ]
    },
}


def entries(
    name: str, origin: str, model: str = "digits", classes: tuple[str, ...] = (), first: str = ""
) -> tuple[str, ...]:
    policies = {name: policy_of(tenant=name, **STRICT[name])}
    book = KindBook((Source.model_validate(source()),), FLEET, policies)
    book.number(Row(0, name, model, classes, origin, None, first))
    return book.kinds()[0][0].entries


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.parametrize("origin", ["berlin", "phone", "tokyo", "ber", "nowhere", "newyork", "cam"])
@pytest.mark.parametrize("model", ["digits", "vision"])
@pytest.mark.parametrize("classes", [(), ("plain",)])
def test_a_call_may_enter_where_the_engine_says(name: str, origin: str, model: str, classes: tuple[str, ...]) -> None:
    engine = Engine(FLEET, {name: policy_of(tenant=name, **STRICT[name])})
    open_to = engine.entries(Request("", name, model, "ber", origin, classes))
    found = entries(name, origin, model, classes)
    if open_to:
        assert found == open_to[:4]
    else:
        nearest = min((path.rtt_us, site.id) for site in FLEET.sites if (path := FLEET.network.path(origin, site.id)))
        assert found == (nearest[1],)  # so that the engine refuses the call, and says why


def test_some_of_these_are_not_all_sites() -> None:
    assert entries("europe", "berlin") == ("ber", "par")
    assert entries("nobody", "berlin") == ("ber",)
    assert entries("device", "phone") == ("phone",)
    assert entries("night", "berlin") == ("ber",)  # callers do not know the hours


def test_an_entry_that_was_used_is_tried_first() -> None:
    assert entries("europe", "berlin", first="par") == ("par", "ber")
    assert entries("europe", "berlin", first="iad") == ("iad", "ber", "par")


def test_entries_that_are_named_are_taken_as_they_are() -> None:
    found = calls(source(entries=["iad", "ber"]))
    assert [kind.entries for kind in found.kinds] == [("iad", "ber")]


def test_a_kind_is_who_what_whence_and_how_urgent() -> None:
    [kind] = calls(source(classes=["plain"], priority=2, deadline_ms=12.5)).kinds
    assert (kind.tenant, kind.model, kind.origin, kind.classes) == ("t", "digits", "berlin", ("plain",))
    assert (kind.priority, kind.deadline_us) == (2, 12_500)


def test_sources_that_send_the_same_kind_share_it() -> None:
    found = calls(source(), source(name="b", origins=["berlin", "tokyo"]))
    assert [kind.origin for kind in found.kinds] == ["berlin", "tokyo"]
    assert POLICIES["t"].tenant == found.kinds[0].tenant
