"""Calls in flight at the deployments of one process, and what they teach about how long calls take."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from infercast.policies import kernel
from infercast.policies.estimates import Estimates
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Report, Snapshot

Ran = Callable[[int], None]


class Loads:
    """The deployments that run in or under this process, as it knows them exactly."""

    def __init__(self, fleet: Fleet, snapshot: Snapshot, estimates: Estimates, mine: Iterable[int]) -> None:
        self.snapshot = snapshot
        self._estimates = estimates
        self.in_flight = dict.fromkeys(mine, 0)
        self._last_us = dict.fromkeys(self.in_flight, 0)
        self._names = {index: fleet.deployments[index].id for index in self.in_flight}

    @contextmanager
    def running(self, index: int, payload_bytes: int, way_us: int = 0) -> Iterator[Ran]:
        """Count one call in flight, here and in the snapshot. Who has its answer says what its replica spent on it.

        Of the time that it takes, `way_us` is the way there and back, which is estimated apart.
        """
        call = InFlight(self, index, payload_bytes, way_us)
        try:
            yield call.ran
        finally:
            call.end()

    def ran(self, index: int, payload_bytes: int, began_us: int, service_us: int, waits: bool) -> None:
        """Learn from an answer that is there."""
        self._last_us[index] = now_us()
        self._estimates.served(index, payload_bytes, max(1, self._last_us[index] - began_us), service_us, waits)

    def waits(self, index: int) -> bool:
        """Return whether a call that comes now has to wait for others."""
        row = self.snapshot.live[index]
        return int(row[kernel.L_IN_FLIGHT]) >= int(row[kernel.L_CONCURRENCY])

    def idle_us(self, index: int) -> int:
        """Return for how long nothing ran at a deployment; 0 while something does."""
        return 0 if self.in_flight[index] else now_us() - self._last_us[index]

    def report(self, index: int, healthy: bool = True) -> Report:
        """Return what to tell the others of a deployment."""
        return self._estimates.report(index, self.in_flight[index], healthy)

    def reports(self, healthy: Callable[[int], bool] = lambda _: True) -> dict[str, Report]:
        """Return what to tell the others, by deployment."""
        return {name: self.report(index, healthy(index)) for index, name in self._names.items()}


class InFlight:
    """One call in flight at a deployment, counted here and in the snapshot until `end`; not a context, which costs more."""

    __slots__ = ("_began_us", "_index", "_loads", "_payload_bytes", "_waits")

    def __init__(self, loads: Loads, index: int, payload_bytes: int, way_us: int = 0) -> None:
        self._waits = loads.waits(index)
        # The way there and back is estimated apart: for what is learned here, the call begins that much later.
        self._began_us = now_us() + way_us
        self._loads, self._index, self._payload_bytes = loads, index, payload_bytes
        loads.in_flight[index] += 1
        loads.snapshot.count(index, 1)

    def ran(self, service_us: int) -> None:
        """Say that the answer is there, and what its replica spent on it."""
        self._loads.ran(self._index, self._payload_bytes, self._began_us, service_us, self._waits)

    def end(self) -> None:
        """Count it no more. Once for each call."""
        self._loads.snapshot.count(self._index, -1)
        self._loads.in_flight[self._index] -= 1


def now_us() -> int:
    """Return the monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000
