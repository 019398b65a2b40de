"""Keeping what nobody calls known: which deployments this place has left alone, when its own are tried, and what that says.

Who is taken for slow is not called, so no call of its own will ever say that it is well again. A probe that comes back as
soon as one may expect does, for whatever this place has not called for a while. Without such a probe nothing is said:
time alone is no evidence.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from infercast.policies.estimates import Estimates
from infercast.policies.fleet import Fleet

from ..api import Asked
from ..errors import Trouble
from ..runtime.host import Answer
from ..runtime.load import Loads, now_us
from ..runtime.probes import due, due_when_slow, probe_of
from .ports import Lost

QUIET_US = 5_000_000
"""What this place has not called for so long is left alone: its probes speak for it."""
PROBE_S = 2.0
"""What a probe may take."""
Run = Callable[[int, Asked, float], Awaitable[Answer]]


class Quiet:
    """Which deployments this place's own calls leave alone."""

    def __init__(self) -> None:
        self._last_us: dict[int, int] = {}
        self._calls: dict[int, int] = {}

    @contextmanager
    def calling(self, index: int) -> Iterator[None]:
        """Say that a call from here is at a deployment, for as long as it is."""
        self.begin(index)
        try:
            yield
        finally:
            self.end(index)

    def begin(self, index: int) -> None:
        """Say that a call from here is at a deployment."""
        self._calls[index] = self._calls.get(index, 0) + 1

    def end(self, index: int) -> None:
        """Say that it is there no more."""
        self._calls[index] -= 1
        self._last_us[index] = now_us()

    def came(self, index: int) -> None:
        """Say that a call from here was at a deployment just now."""
        self._last_us[index] = now_us()

    def at(self, index: int) -> bool:
        """Return whether nothing from here is at a deployment, nor has been for QUIET_US."""
        if self._calls.get(index, 0):
            return False
        return now_us() - self._last_us.get(index, -QUIET_US) >= QUIET_US


class Probing:
    """Probes of a place's own deployments, on zeros; `run` runs one there. Raises nothing that a probe may end in."""

    def __init__(
        self, fleet: Fleet, estimates: Estimates, loads: Loads, quiet: Quiet, mine: Sequence[int], run: Run
    ) -> None:
        self._estimates = estimates
        self._loads = loads
        self._quiet = quiet
        self._run = run
        self._asked = {index: probe_of(fleet, fleet.deployments[index]) for index in mine}
        self._ended_us = dict.fromkeys(self._asked, 0)
        self._took_us = dict.fromkeys(self._asked, 0)

    async def round(self) -> None:
        """Probe what is due, one after the other."""
        for index, asked in self._asked.items():
            if self._due(index):
                await self._probe(index, asked)

    def _due(self, index: int) -> bool:
        since_us = min(self._loads.idle_us(index), now_us() - self._ended_us[index])
        if self._estimates.slow(index):
            return due_when_slow(since_us, self._took_us[index])
        return due(since_us, self._loads.report(index).p50_us)

    async def _probe(self, index: int, asked: Asked) -> None:
        expected_us, began_us = self._estimates.p95_us(index, len(asked.body)), now_us()
        try:
            await self._run(index, asked, PROBE_S)
        except (Lost, Trouble, TimeoutError):
            # Whether it lives is asked for apart; a probe that brings nothing teaches nothing.
            self._ended_us[index], self._took_us[index] = now_us(), 0
            return
        self._ended_us[index] = now_us()
        self._took_us[index] = self._ended_us[index] - began_us
        if self._took_us[index] <= expected_us and self._quiet.at(index):
            self._estimates.reassured(index)


class Ways:
    """Ways to other sites that something has just come back on, as soon as one may expect."""

    def __init__(self, fleet: Fleet, estimates: Estimates, quiet: Quiet, mine: Sequence[int]) -> None:
        self._estimates = estimates
        self._quiet = quiet
        self._at: dict[str, list[int]] = {}
        for index, deployment in enumerate(fleet.deployments):
            if index not in mine:
                self._at.setdefault(deployment.site, []).append(index)
        self._good: set[str] = set()

    def came(self, site: str, trip_us: int, expected_us: int) -> None:
        """Take in a trip to a site and back, and the p95 that was expected of it."""
        if trip_us <= expected_us:
            self._good.add(site)
        else:
            self._good.discard(site)

    def slow(self, site: str) -> bool:
        """Return whether any deployment at a site is left alone and believed much slower than declared."""
        return any(self._quiet.at(index) and self._estimates.slow(index) for index in self._at.get(site, ()))

    def reassure(self, healthy: Callable[[int], bool]) -> None:
        """Say of what is left alone behind a good way, and says itself that it is healthy, that all is well. Uses the trips up."""
        for site in sorted(self._good):
            for index in self._at.get(site, ()):
                if healthy(index) and self._quiet.at(index):
                    self._estimates.reassured(index)
        self._good.clear()
