"""What one place has learned: how long calls take at its own deployments, how far the others are, how wrong it was.

Kept by each site worker and device agent (and by each site of the simulator), fed with what calls really took. It has no
clock: the caller brings times. Own service times go to the others as reports; round trips and surprises stay here and
go into this place's snapshot.
"""

from collections.abc import Sequence

from . import kernel
from .calibration import Calibration
from .estimator import Times
from .fleet import Fleet
from .snapshot import Report, Snapshot
from .units import us_from_ms

OVERHEAD_SHARE = 8
"""The overhead of a call moves by an eighth of each new difference."""
SIZE_TRIP_MAX_BYTES = 65_536
"""Round trips are learned from calls up to this size: the transfer of larger ones is estimated apart."""
TIMED_OUT_FACTOR = 2
"""A call that was given up took at least this many times its patience, for all we know."""
SLOW_FACTOR = 3
SLOW_SPREADS = 2
"""A deployment is believed much slower than declared from this multiple of its declared p95 on, or this one of a normal spread:
where deadlines are tight, a deployment may be out of the question at less than three spreads."""


class Estimates:
    """Learned times of the deployments `mine`, and of the ways from `entry` to every site."""

    def __init__(self, fleet: Fleet, entry: str, mine: Sequence[int]) -> None:
        priors = [tuple(fleet.tables.priors_us[index].tolist()) for index in mine]
        rtt = fleet.tables.rtt(entry)
        self._entry = entry
        self._first = {index: kernel.SIZES * at for at, index in enumerate(mine)}
        self._priors = dict(zip(mine, priors, strict=True))
        self._times = Times([prior for prior in priors for _ in range(kernel.SIZES)])
        self._trips = Times([(max(1, int(p50_us)), max(1, int(p50_us + spread_us))) for p50_us, spread_us in rtt])
        self._surprise = Calibration(len(fleet.deployments))
        self._overhead_us = dict.fromkeys(mine, us_from_ms(fleet.call_overhead_ms))
        self._new_trips: dict[int, int] = {}
        self._new_surprises: set[int] = set()

    def begin(self, index: int, z_milli: Sequence[int]) -> None:
        """Start with quantiles of surprise that were learned before; the snapshot hears of them by `Snapshot.hear_z`."""
        self._surprise.begin(index, z_milli)

    def served(self, index: int, payload_bytes: int, took_us: int, service_us: int, waited: bool) -> None:
        """Learn from a call that ran at an own deployment.

        `took_us` is its whole time there, `service_us` what its replica spent on it. The time of one that had to wait
        for others is no service time: of it, only `service_us` counts, with the overhead that others had.
        """
        overhead_us = self._overhead_us[index]
        if waited:
            took_us = service_us + overhead_us
        else:
            self._overhead_us[index] += (max(0, took_us - service_us) - overhead_us) // OVERHEAD_SHARE
        if self._times.hear(self._first[index] + int(kernel.size_of(payload_bytes)), took_us):
            self._surprise.step_back(index)  # what surprised until now is expected from here on

    def travelled(self, site: int, payload_bytes: int, trip_us: int, now_us: int) -> None:
        """Learn from a call or probe that went to another site: its time away less its time there."""
        if payload_bytes <= SIZE_TRIP_MAX_BYTES:
            self._trips.hear(site, max(1, trip_us))
            self._new_trips[site] = now_us

    def carried(self, index: int, took_us: int, median_us: int, spread_us: int) -> None:
        """Learn how a call's time stood against what was expected of it when it was decided."""
        self._surprise.hear(index, 1000 * (took_us - median_us) // max(1, spread_us))
        self._new_surprises.add(index)

    def gave_up(self, index: int, patience_us: int, median_us: int, spread_us: int) -> None:
        """Learn from a call that gave no answer while it was waited for: it would have taken longer than that."""
        self.carried(index, TIMED_OUT_FACTOR * patience_us, median_us, spread_us)

    def outrun(self, index: int, ran_us: int, median_us: int, spread_us: int) -> None:
        """Learn from a try that was cancelled after `ran_us` since another one answered first: it would have taken longer."""
        self._surprise.hear_censored(index, 1000 * (ran_us - median_us) // max(1, spread_us))
        self._new_surprises.add(index)

    def reassured(self, index: int) -> None:
        """Learn that all is well with a deployment that nobody here calls: a probe came back as soon as one may expect.

        Calls that were given up, or stuck in what is over now, taught that it is slow; who is taken for slow is not called,
        so no call will ever say otherwise.
        """
        if self._surprise.relax(index):
            self._new_surprises.add(index)

    def forget(self, index: int) -> None:
        """Return to the declared times of a deployment that is not called, and on which no probe may run: an upstream's.

        Else who was slow once would never be called again, and so never be known to be well.
        """
        for size in range(kernel.SIZES):
            self._times.begin(self._first[index] + size, *self._priors[index])

    def slow(self, index: int) -> bool:
        """Return whether a deployment is believed to be much slower than declared."""
        if self._surprise.z_milli(index)[2] > SLOW_SPREADS * kernel.Z_NORMAL[2]:
            return True
        declared = self._priors.get(index)
        return declared is not None and max(p95 for _, p95 in self.sizes_us(index)) > SLOW_FACTOR * declared[1]

    def p95_us(self, index: int, payload_bytes: int) -> int:
        """Return the p95 of calls of a size at an own deployment."""
        return self.sizes_us(index)[int(kernel.size_of(payload_bytes))][1]

    def report(self, index: int, in_flight: int, healthy: bool = True) -> Report:
        """Return what to tell the others of an own deployment."""
        sizes = self.sizes_us(index)
        return Report(in_flight, *self._usual(index, sizes), healthy=healthy, sizes=sizes)

    def _usual(self, index: int, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
        first = self._first[index]
        return sizes[max(range(kernel.SIZES), key=lambda size: self._times.calls(first + size))]

    def sizes_us(self, index: int) -> tuple[tuple[int, int], ...]:
        """Return p50 and p95 per payload size.

        A size nobody sent borrows from the next larger one that somebody did, or else the next smaller; what is
        borrowed is never taken for better than what was declared.
        """
        first = self._first[index]
        heard = [size for size in range(kernel.SIZES) if self._times.calls(first + size)]
        return tuple(self._size_us(index, size, heard) for size in range(kernel.SIZES))

    def _size_us(self, index: int, size: int, heard: list[int]) -> tuple[int, int]:
        declared = self._priors[index]
        if not heard:
            return declared[0], declared[1]
        lender = min(heard, key=lambda other: (other < size, abs(other - size)))
        p50_us, _, p95_us, _ = self._times.quantiles_us(self._first[index] + lender)
        if lender == size:
            return p50_us, p95_us
        return max(p50_us, declared[0]), max(p95_us, declared[1])

    def tell(self, snapshot: Snapshot) -> None:
        """Put what was learned since the last time into this place's snapshot; it counts from the next epoch on."""
        for site, heard_us in self._new_trips.items():
            p50_us, _, p95_us, _ = self._trips.quantiles_us(site)
            snapshot.hear_rtt(self._entry, site, p50_us, p95_us - p50_us, heard_us)
        for index in self._new_surprises:
            snapshot.hear_z(self._entry, index, self._surprise.z_milli(index))
        self._new_trips.clear()
        self._new_surprises.clear()
