"""Ways between places: what they truly take, which links they use, what bytes cost on them."""

from dataclasses import dataclass
from itertools import pairwise

from infercast.policies.fleet import Fleet
from infercast.policies.kernel import EGRESS_MAX_NUSD_PER_GB
from infercast.policies.network import Path
from infercast.policies.tables import ps_per_byte
from infercast.policies.units import LATENCY_MAX_US, PPM

from ..model import Ints
from ..shapes import ONE_BITS, shape_of_trip
from .weather import Weather


@dataclass(frozen=True, slots=True)
class Way:
    """A declared path. `hops` are its links and the round trip of each."""

    hops: tuple[tuple[frozenset[str], int], ...]
    ps_per_byte: int
    egress_nusd_per_gb: int
    egress_back_nusd_per_gb: int
    shape: Ints

    def transfer_us(self, size_bytes: int) -> int:
        """Return what bytes take on it, one way."""
        return -(-self.ps_per_byte * size_bytes // 1_000_000)

    def egress_nusd(self, sent_bytes: int, received_bytes: int) -> int:
        """Return what a call's bytes cost, in the engine's rounding: thousands of bytes and the rest apart."""
        out, back = self.egress_nusd_per_gb, self.egress_back_nusd_per_gb
        whole = out * (sent_bytes // 1000) + back * (received_bytes // 1000)
        rest = out * (sent_bytes % 1000) + back * (received_bytes % 1000)
        return whole // 1_000_000 + rest // 1_000_000_000

    def rtt_us(self, weather: Weather) -> int:
        """Return the round trip's median as things are now."""
        return sum(rtt_us * weather.link_slow_ppm(hop) // PPM for hop, rtt_us in self.hops)

    def trip_us(self, weather: Weather, point: int | None) -> int:
        """Return the round trip of a call that draws this point of its shape; None is one that does not vary."""
        rtt_us = self.rtt_us(weather)
        return min(rtt_us if point is None else (rtt_us * int(self.shape[point])) >> ONE_BITS, LATENCY_MAX_US)

    def closed(self, weather: Weather) -> bool:
        """Return whether a link of it is down."""
        return any(weather.link_down(hop) for hop, _ in self.hops)


class Ways:
    """The ways of a fleet, made on first need."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rtt_us: dict[frozenset[str], int] = {}
        for link in fleet.links:
            facts = link.facts()
            hop = frozenset(facts.ends)
            self._rtt_us[hop] = min(facts.rtt_us, self._rtt_us.get(hop, facts.rtt_us))
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, source: str, target: str) -> Way:
        """Return the way from a place to a site; one that takes and costs nothing where the fleet declares none."""
        found = self._ways.get((source, target))
        if found is None:
            found = self._ways[(source, target)] = self._make(self._fleet.network.path(source, target))
        return found

    def _make(self, path: Path | None) -> Way:
        if path is None:
            nothing = Path((), 0, 0, 0, 0, 0, frozenset())
            return Way((), 0, 0, 0, shape_of_trip(nothing))
        hops = tuple((frozenset(ends), self._rtt_us[frozenset(ends)]) for ends in pairwise(path.via))
        assert sum(rtt_us for _, rtt_us in hops) == path.rtt_us
        out = min(path.egress_nusd_per_gb, EGRESS_MAX_NUSD_PER_GB)
        back = min(path.egress_back_nusd_per_gb, EGRESS_MAX_NUSD_PER_GB)
        return Way(hops, ps_per_byte(path.kbps), out, back, shape_of_trip(path))
