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
        self._snapshot = snapshot
        self._estimates = estimates
        self._in_flight = dict.fromkeys(mine, 0)
        self._last_us = dict.fromkeys(self._in_flight, 0)
        self._names = {index: fleet.deployments[index].id for index in self._in_flight}

    @contextmanager
    def running(self, index: int, payload_bytes: int, way_us: int = 0) -> Iterator[Ran]:
        """Count one call in flight, here and in the snapshot. Who has its answer says what its replica spent on it.

        Of the time that it takes, `way_us` is the way there and back, which is estimated apart.
        """
        row = self._snapshot.live[index]
        waits = int(row[kernel.L_IN_FLIGHT]) >= int(row[kernel.L_CONCURRENCY])
        began_us = now_us()

        def ran(service_us: int) -> None:
            self._last_us[index] = now_us()
            self._estimates.served(
                index, payload_bytes, max(1, self._last_us[index] - began_us - way_us), service_us, waits
            )

        self._in_flight[index] += 1
        try:
            with self._snapshot.running(index):
                yield ran
        finally:
            self._in_flight[index] -= 1

    def idle_us(self, index: int) -> int:
        """Return for how long nothing ran at a deployment; 0 while something does."""
        return 0 if self._in_flight[index] else now_us() - self._last_us[index]

    def report(self, index: int, healthy: bool = True) -> Report:
        """Return what to tell the others of a deployment."""
        return self._estimates.report(index, self._in_flight[index], healthy)

    def reports(self, healthy: Callable[[int], bool] = lambda _: True) -> dict[str, Report]:
        """Return what to tell the others, by deployment."""
        return {name: self.report(index, healthy(index)) for index, name in self._names.items()}


def now_us() -> int:
    """Return the monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000
