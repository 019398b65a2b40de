"""The disturbances of a world as steps in time: what is down, how slow things are, from when on."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infercast.policies.faults import did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.network import Path
from infercast.policies.units import LATENCY_MAX_US, PPM

from ..model import Disturbance

Steps = list[tuple[int, int]]
"""(from when in microseconds, value), in order of time, each value another than the one before."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A disturbance's begin or end, in the order in which they count."""

    at_us: int
    place: int
    ends: bool
    disturbance: Disturbance


def marks_of(disturbances: tuple[Disturbance, ...]) -> list[Mark]:
    """Return begins and ends by time, then place in the list, begin before end. What would end before it begins is nothing."""
    marks = []
    for place, one in enumerate(disturbances):
        from_us = max(0, one.from_us)
        if one.until_us > from_us:
            marks += [Mark(from_us, place, False, one), Mark(one.until_us, place, True, one)]
    return sorted(marks, key=lambda mark: (mark.at_us, mark.place, mark.ends))


class Upheaval:
    """What the disturbances do to each site, deployment and way of a fleet. Raises ValueError for a target nobody declared."""

    def __init__(self, fleet: Fleet, disturbances: tuple[Disturbance, ...]) -> None:
        self._marks = marks_of(disturbances)
        self._fleet = fleet
        self._rtt_us: dict[frozenset[str], int] = {}
        for link in fleet.links:
            facts = link.facts()
            ends = frozenset(facts.ends)
            self._rtt_us[ends] = min(facts.rtt_us, self._rtt_us.get(ends, facts.rtt_us))
        for one in disturbances:
            self._check(one)
        self.nothing = not self._marks

    def _check(self, one: Disturbance) -> None:
        if one.what == "deployment_down":
            known = tuple(self._fleet.deployment_index)
        elif one.what.startswith("link"):
            known = tuple("~".join(sorted(ends)) for ends in self._rtt_us)
        else:
            known = tuple(self._fleet.site_by_id)
        name = "~".join(sorted(one.target.split("~"))) if one.what.startswith("link") else one.target
        if name not in known:
            raise ValueError(f"{one.what}: nothing is called {one.target!r} ({did_you_mean(name, known)})")

    def down(self, what: str, target: str) -> Steps:
        """Return when a site or deployment is down (1) and up again (0)."""
        return _steps((at_us, int(bool(active))) for at_us, active in self._active(what, target))

    def slow_ppm(self, site: str) -> Steps:
        """Return how slow services that begin at a site are, in millionths."""
        return _steps((at_us, _product_ppm(active)) for at_us, active in self._active("site_slow", site))

    def way(self, path: Path | None) -> tuple[Steps, Steps]:
        """Return when a way is cut (1) and open again (0), and its median round trip in microseconds."""
        if path is None or len(path.via) < 2:
            return [], []
        links = [frozenset(hop) for hop in zip(path.via, path.via[1:], strict=False)]
        cuts: list[tuple[int, int]] = []
        trips: list[tuple[int, int]] = []
        down: dict[frozenset[str], int] = dict.fromkeys(links, 0)
        slow: dict[frozenset[str], list[Mark]] = {link: [] for link in links}
        for mark in self._marks:
            link = frozenset(mark.disturbance.target.split("~"))
            if link not in down or not mark.disturbance.what.startswith("link"):
                continue
            if mark.disturbance.what == "link_down":
                down[link] += -1 if mark.ends else 1
            elif mark.ends:
                slow[link] = [other for other in slow[link] if other.place != mark.place]
            else:
                slow[link] = sorted([*slow[link], mark], key=lambda other: other.place)
            cuts.append((mark.at_us, int(any(down.values()))))
            trip_us = sum(self._rtt_us[one] * _product_ppm(slow[one]) // PPM for one in links)
            trips.append((mark.at_us, min(trip_us, LATENCY_MAX_US)))
        return _steps(cuts), _steps(trips)

    def _active(self, what: str, target: str) -> Iterator[tuple[int, list[Mark]]]:
        active: list[Mark] = []
        for mark in self._marks:
            if (mark.disturbance.what, mark.disturbance.target) == (what, target):
                others = [other for other in active if other.place != mark.place]
                active = others if mark.ends else sorted([*others, mark], key=lambda other: other.place)
                yield mark.at_us, active


def value_at(steps: Steps, at_us: int, before: int = 0) -> int:
    """Return what holds at a time."""
    place = bisect_right(steps, at_us, key=lambda step: step[0])
    return steps[place - 1][1] if place else before


def _product_ppm(marks: list[Mark]) -> int:
    product = PPM
    for mark in marks:
        product = min(product * round(mark.disturbance.factor * PPM) // PPM, 1000 * PPM)
    return product


def _steps(values: Iterable[tuple[int, int]]) -> Steps:
    """Keep the last value of each time, and of those only what changes something."""
    steps: Steps = []
    for at_us, value in dict(values).items():
        if not steps or steps[-1][1] != value:
            steps.append((at_us, value))
    return steps
