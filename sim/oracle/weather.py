"""What is down or slow at the moment."""

from collections.abc import Callable

from infercast.policies.units import PPM, ppm

from ..model import Disturbance
from .agenda import Agenda, Rank

PLACES_APART = "~"


def hop_of(target: str) -> frozenset[str]:
    """Return the two places that a link's name in a disturbance joins."""
    return frozenset(target.split(PLACES_APART))


class Weather:
    """The disturbances that are on. Several may be on for one target: it is down as long as any is, and as slow as all."""

    def __init__(self, disturbances: tuple[Disturbance, ...]) -> None:
        self._all = disturbances
        self._on: set[int] = set()

    def plan(self, agenda: Agenda, changed: Callable[[Disturbance], None]) -> None:
        """Put each beginning and end on the agenda; `changed` is called after each, with what began or ended."""

        def set_on(place: int, on: bool) -> Callable[[], None]:
            def act() -> None:
                (self._on.add if on else self._on.discard)(place)
                changed(self._all[place])

            return act

        for place, disturbance in enumerate(self._all):
            from_us = max(0, disturbance.from_us)
            if disturbance.until_us > from_us:
                # What ends goes before what begins at the same moment.
                agenda.put(disturbance.until_us, Rank.DISTURBANCE, place, set_on(place, on=False))
                agenda.put(from_us, Rank.DISTURBANCE, len(self._all) + place, set_on(place, on=True))

    def site_down(self, site: str) -> bool:
        """Return whether a site is down."""
        return any(self._all[place].target == site for place in self._on if self._all[place].what == "site_down")

    def deployment_down(self, deployment: str) -> bool:
        """Return whether a deployment is down by itself."""
        return any(
            self._all[place].target == deployment for place in self._on if self._all[place].what == "deployment_down"
        )

    def link_down(self, hop: frozenset[str]) -> bool:
        """Return whether a link is down."""
        return any(hop_of(self._all[place].target) == hop for place in self._on if self._all[place].what == "link_down")

    def site_slow_ppm(self, site: str) -> int:
        """Return how long things take at a site, in millionths of what they take on a usual day."""
        return self._slow_ppm(lambda each: each.what == "site_slow" and each.target == site)

    def link_slow_ppm(self, hop: frozenset[str]) -> int:
        """Return how long a link's round trip takes, in millionths of what it takes on a usual day."""
        return self._slow_ppm(lambda each: each.what == "link_slow" and hop_of(each.target) == hop)

    def _slow_ppm(self, meant: Callable[[Disturbance], bool]) -> int:
        slow_ppm = PPM
        for place in sorted(self._on):
            if meant(self._all[place]):
                slow_ppm = slow_ppm * ppm(self._all[place].factor) // PPM
        return slow_ppm
