"""Which clock a place goes by: the IANA zone of its country, and where a country has several, that of the nearest town.

The towns are those of `zone.tab` in the IANA time zone database (https://www.iana.org/time-zones), as the tzdata package
brings it: one per zone, with its coordinates.
"""

from functools import lru_cache
from importlib.resources import files
from math import cos, hypot, radians
from re import fullmatch

from infercast.policies.fleet import Fleet


def zone_of(fleet: Fleet, place: str) -> str | None:
    """Return the IANA name of a site's or zone's clock; None for a place whose country is not known, or that nobody declared."""
    found = fleet.site_by_id.get(place) or fleet.zone_by_id.get(place)
    if found is None:
        return None
    towns = _towns().get(found.country, ())
    return min(((_apart(found.lat, found.lon, lat, lon), name) for name, lat, lon in towns), default=(0.0, None))[1]


def _apart(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Return how far two points are apart, in degrees of latitude; good enough to tell towns of a country apart."""
    east = (lon - other_lon + 180) % 360 - 180
    return hypot(lat - other_lat, east * cos(radians((lat + other_lat) / 2)))


@lru_cache(maxsize=1)
def _towns() -> dict[str, tuple[tuple[str, float, float], ...]]:
    """Return by country the zones with the coordinates of their towns."""
    text = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    found: dict[str, tuple[tuple[str, float, float], ...]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            country, where, name, *_ = line.split("\t")
            found[country] = (*found.get(country, ()), (name, *_degrees(where)))
    return found


def _degrees(iso_6709: str) -> tuple[float, float]:
    """Return latitude and longitude of `±DDMM±DDDMM` or `±DDMMSS±DDDMMSS`. Raises ValueError for anything else."""
    found = fullmatch(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?", iso_6709)
    if found is None:
        raise ValueError(f"zone.tab: {iso_6709!r} is no ISO 6709 point")
    parts = found.groups()
    lat, lon = (
        (-1 if sign == "-" else 1) * (int(degree) + int(minute) / 60 + int(second or 0) / 3600)
        for sign, degree, minute, second in (parts[:4], parts[4:])
    )
    return lat, lon
