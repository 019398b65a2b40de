"""Every place that a call's data would touch, if it went to a candidate: the way in, the entry, the way on, the candidate.

Receiving is processing. Whoever passes data on sees it. A site keeps what it sees, unless it says that it keeps nothing.
The answer goes back the same way. None of this is asked of the vetoes: proofs hold the two against each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .fleet import Fleet, Site
from .network import Path


class Act(StrEnum):
    """What is done to the data at a place. `seen` says that a site has it in its hands at all."""

    SEEN = "seen"
    PROCESSED = "processed"
    TRANSITED = "transited"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Touch:
    """One act at one place. `country` may be the unknown one; `site` is None for a country that is only crossed."""

    act: Act
    country: str
    site: Site | None
    way: str

    @property
    def said(self) -> str:
        """The touch in words: `stored in US, at iad (the candidate)`."""
        return f"{self.act} in {self.country}, {f'at {self.site.id} ' if self.site else ''}({self.way})"


def touches(fleet: Fleet, origin: str, entry: str, site: str) -> tuple[Touch, ...]:
    """Return all touches of a call from `origin` that enters at `entry` and runs at `site`; none where no way leads there."""
    way_in, way_on = fleet.network.path(origin, entry), fleet.network.path(entry, site)
    if way_in is None or way_on is None:
        return ()
    found = [*_way(fleet, way_in, f"on the way from {origin} to {entry}")]
    found += _at(fleet.site_by_id[entry], "the entry")
    found += _way(fleet, way_on, f"on the way from {entry} to {site}")
    found += _at(fleet.site_by_id[site], "the candidate") if site != entry else ()
    return tuple(found)


def _at(site: Site, way: str) -> Iterable[Touch]:
    yield Touch(Act.SEEN, site.country, site, way)
    yield Touch(Act.PROCESSED, site.country, site, way)
    yield from _kept(site, way)


def _way(fleet: Fleet, path: Path, way: str) -> Iterable[Touch]:
    for country in sorted(path.countries):
        yield Touch(Act.TRANSITED, country, None, way)
    for place in path.via[1:-1]:
        site = fleet.site_by_id[place]
        yield Touch(Act.SEEN, site.country, site, way)
        yield Touch(Act.TRANSITED, site.country, site, way)
        yield from _kept(site, way)


def _kept(site: Site, way: str) -> Iterable[Touch]:
    if site.trust.retention_days != 0:
        yield Touch(Act.STORED, site.country, site, way)
