"""Clocks of places: by country, by the nearest town where a country has several, none where nobody knows the country."""

import pytest

from infercast.policies.fleet import Fleet
from infercast.sim.clocks import zone_of
from tests.support import fleet_of, raw_fleet, site


def fleet(country: str, lat: float, lon: float) -> Fleet:
    raw = raw_fleet()
    raw["sites"].append({**site("here", "edge", country), "lat": lat, "lon": lon})
    raw["zones"].append({"id": "there", "country": country, "lat": lat, "lon": lon})
    return fleet_of(raw)


@pytest.mark.parametrize(
    ("country", "lat", "lon", "zone"),
    [
        ("JP", 35.8, 140.4, "Asia/Tokyo"),
        ("SG", 1.35, 103.99, "Asia/Singapore"),
        ("US", 40.69, -74.17, "America/New_York"),
        ("US", 37.4, -122.0, "America/Los_Angeles"),
        ("US", 41.9, -87.7, "America/Chicago"),
        ("BR", -23.4, -46.5, "America/Sao_Paulo"),
        ("AU", -31.9, 115.9, "Australia/Perth"),
        ("AU", -37.8, 145.0, "Australia/Melbourne"),
        ("NZ", -43.95, 179.9, "Pacific/Chatham"),  # nearer by way of the date line than Auckland
    ],
)
def test_a_place_goes_by_the_clock_of_the_nearest_town_of_its_country(
    country: str, lat: float, lon: float, zone: str
) -> None:
    assert zone_of(fleet(country, lat, lon), "here") == zone
    assert zone_of(fleet(country, lat, lon), "there") == zone


def test_the_nearest_town_of_another_country_does_not_count() -> None:
    assert zone_of(fleet("CH", 52.5, 13.4), "here") == "Europe/Zurich"  # in Berlin, by its coordinates


def test_what_nobody_knows_has_no_clock() -> None:
    assert zone_of(fleet("ZZ", 52.5, 13.4), "here") is None
    assert zone_of(fleet("DE", 52.5, 13.4), "elsewhere") is None
