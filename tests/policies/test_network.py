"""Network: the declared path of least round trip; devices are ends; the facts of a path follow its direction."""

from typing import Any

import pytest

from infercast.policies.network import HERE_KBPS, LinkFacts, Network
from infercast.policies.tables import one_way_us

THROUGH = {"ber": "DE", "par": "FR", "iad": "US"}


def facts(start: str, end: str, rtt_us: int, *countries: str, **more: Any) -> LinkFacts:
    common = {"spread_us": 0, "kbps": 1000, "egress_nusd_per_gb": 0, "egress_back_nusd_per_gb": 0}
    return LinkFacts((start, end), rtt_us, countries=frozenset(countries), **{**common, **more})


def network(*links: LinkFacts) -> Network:
    return Network(THROUGH, [*THROUGH, "phone", "tablet", "zone"], links)


def test_a_place_reaches_itself_at_once_even_a_device() -> None:
    for place in ("ber", "phone"):
        path = network().path(place, place)
        assert path is not None
        assert (path.via, path.rtt_us, path.kbps, path.countries) == ((place,), 0, HERE_KBPS, frozenset())


def test_the_path_is_the_one_of_least_round_trip() -> None:
    path = network(facts("ber", "iad", 100), facts("ber", "par", 30), facts("par", "iad", 40)).path("ber", "iad")
    assert path is not None
    assert path.via == ("ber", "par", "iad")
    assert path.rtt_us == 70


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_links_between_two_places_the_quicker_is_taken(order: int) -> None:
    links = [facts("ber", "par", 30, "DE"), facts("par", "ber", 20, "CH")][::order]
    path = network(*links).path("ber", "par")
    assert path is not None
    assert path.rtt_us == 20
    assert path.countries == {"CH"}


def test_nothing_leads_into_a_device_and_nothing_through_one() -> None:
    net = network(facts("ber", "phone", 1), facts("phone", "par", 1), facts("zone", "ber", 1), facts("zone", "par", 1))
    assert net.path("ber", "phone") is None
    assert net.path("tablet", "phone") is None
    assert net.path("ber", "par") is None
    out = net.path("phone", "par")
    assert out is not None
    assert out.via == ("phone", "par")


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_equally_quick_links_whichever_is_worse_counts_and_not_the_first(order: int) -> None:
    links = [
        facts("ber", "par", 20, "DE", spread_us=7, kbps=10, egress_nusd_per_gb=1, egress_back_nusd_per_gb=5),
        facts("par", "ber", 20, "GB", spread_us=3, kbps=4, egress_nusd_per_gb=2, egress_back_nusd_per_gb=9),
    ][::order]
    path = network(*links).path("ber", "par")
    assert path is not None
    assert path.countries == {"DE", "GB"}
    assert (path.spread_us, path.kbps, path.egress_nusd_per_gb, path.egress_back_nusd_per_gb) == (7, 4, 9, 5)


def test_where_no_link_leads_there_is_no_path() -> None:
    net = network(facts("ber", "par", 1))
    assert net.path("ber", "iad") is None
    assert net.path("nowhere", "ber") is None
    assert net.path("ber", "nowhere") is None


def test_countries_are_those_of_links_and_of_places_between_the_ends() -> None:
    path = network(facts("ber", "par", 1, "CH"), facts("par", "iad", 1, "GB")).path("ber", "iad")
    assert path is not None
    assert path.countries == {"CH", "GB", "FR"}  # the ends themselves are judged as places, not as transit


def test_medians_add_spreads_add_as_roots_of_squares_and_bandwidth_is_the_narrowest() -> None:
    path = network(facts("ber", "par", 10, spread_us=30, kbps=50), facts("par", "iad", 20, spread_us=40, kbps=7)).path(
        "ber", "iad"
    )
    assert path is not None
    assert (path.rtt_us, path.spread_us, path.kbps) == (30, 50, 7)


def test_egress_is_paid_by_who_sends() -> None:
    first = facts("ber", "par", 1, egress_nusd_per_gb=1, egress_back_nusd_per_gb=10)
    second = facts("iad", "par", 1, egress_nusd_per_gb=100, egress_back_nusd_per_gb=1000)
    path, back = (network(first, second).path(*ends) for ends in (("ber", "iad"), ("iad", "ber")))
    assert path is not None
    assert back is not None
    assert (path.egress_nusd_per_gb, path.egress_back_nusd_per_gb) == (1 + 1000, 10 + 100)
    assert (back.egress_nusd_per_gb, back.egress_back_nusd_per_gb) == (100 + 10, 1000 + 1)


def test_bytes_are_on_their_way_for_half_the_round_trip_and_their_transfer() -> None:
    path = network(facts("ber", "par", 2_000, kbps=8_000)).path("ber", "par")
    assert one_way_us(path, 0) == 1_000
    assert one_way_us(path, 500) == 1_000 + 500
    assert one_way_us(None, 500) == 0
