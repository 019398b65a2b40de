"""Live signals at an instant, and what the engine may believe of them at their age.

Ignorance is not bliss: a signal that has grown old is never taken for better than it was, nor for better than a site
whose replicas are all busy; one that was never heard, or not for long, says that the site is not healthy.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import kernel
from .fleet import Deployment, Fleet
from .units import LATENCY_MAX_US, NUSD_PER_USD, us_from_ms

Table = npt.NDArray[np.int64]
FRESH_US = 1_500_000
"""Up to this age a signal is taken as it is."""
DEAD_US = 4_000_000
"""Beyond this age a deployment counts as not healthy."""
IN_FLIGHT_MAX = 10_000_000
"""Ten times the largest `queue_max`: a report above it is vetoed the same, and bounds the kernel's products."""
NEVER_US = -1


@dataclass(frozen=True, slots=True)
class Report:
    """What a site says of one of its deployments: calls in flight, and service time of late."""

    in_flight: int
    p50_us: int
    p95_us: int
    healthy: bool = True


class Snapshot:
    """Signals of every deployment of a fleet, seen from anywhere. Arrays only; the caller brings the clock.

    `live` is what the kernel reads. `age_us[d]` is the age of the signal that row d stands on, NEVER_US before the
    first; `epoch` counts changes.
    """

    def __init__(self, fleet: Fleet) -> None:
        count = len(fleet.deployments)
        self.fleet = fleet
        self.epoch = 0
        self.live: Table = np.zeros((count, kernel.L_COLS), dtype=np.int64)
        self.age_us: Table = np.full(count, NEVER_US, dtype=np.int64)
        self._heard_us: Table = np.full(count, NEVER_US, dtype=np.int64)
        self._reported: list[Report | None] = [None] * count
        self._rtt: dict[str, Table] = {}
        for index, deployment in enumerate(fleet.deployments):
            self._declare(index, deployment)

    @classmethod
    def declared(cls, fleet: Fleet) -> "Snapshot":
        """Return the snapshot that the files alone give: every site healthy and idle, service times as on the cards."""
        snapshot = cls(fleet)
        snapshot.live[:, kernel.L_HEALTHY] = 1
        for index, deployment in enumerate(fleet.deployments):
            snapshot.live[index, kernel.L_P50_US] = prior_us(fleet, deployment)[0]
        return snapshot

    def _declare(self, index: int, deployment: Deployment) -> None:
        """Set a row to what is known before any signal: not healthy, and slow rather than fast (the declared p95)."""
        p50_us, p95_us = prior_us(self.fleet, deployment)
        row = self.live[index]
        accelerator = self.fleet.site_by_id[deployment.site].accelerators[deployment.accelerator]
        row[kernel.L_CONCURRENCY] = deployment.replicas * deployment.concurrency
        row[kernel.L_QUEUE_MAX] = deployment.queue_max
        row[kernel.L_P50_US] = p95_us
        row[kernel.L_SPREAD_US] = p95_us - p50_us
        row[kernel.L_NUSD_PER_S] = round(accelerator.usd_per_hour * NUSD_PER_USD / 3600)

    def rtt(self, entry: str) -> Table:
        """Return the round trips from an entry to every site, int64[sites, R_COLS], declared until measured."""
        table = self._rtt.get(entry)
        if table is None:
            table = np.zeros((len(self.fleet.sites), kernel.R_COLS), dtype=np.int64)
            for index, site in enumerate(self.fleet.sites):
                path = self.fleet.network.path(entry, site.id)
                table[index] = (path.rtt_us, path.spread_us) if path else (LATENCY_MAX_US, 0)
            self._rtt[entry] = table
        return table

    def digest(self) -> str:
        """Return a digest of all signals as the kernel reads them, the same on every machine."""
        signals = self.live.astype("<i8", copy=False).tobytes() + self.age_us.astype("<i8", copy=False).tobytes()
        return hashlib.blake2b(signals, digest_size=16).hexdigest()

    def hear(self, index: int, report: Report, heard_us: int) -> None:
        """Take in a report that was true at `heard_us` on the caller's clock. An older one than known changes nothing."""
        if heard_us >= self._heard_us[index]:
            self._reported[index] = report
            self._heard_us[index] = heard_us

    def distrust(self, index: int, now_us: int) -> None:
        """Forget a deployment until it says something newer than `now_us`: a call to it has just failed."""
        self.epoch += 1
        self._heard_us[index] = max(int(self._heard_us[index]), now_us)
        self._reported[index] = None
        self.live[index, kernel.L_HEALTHY] = 0

    def believe(self, now_us: int) -> None:
        """Work out `live` and `age_us` for an instant on the caller's clock; a new epoch."""
        self.epoch += 1
        for index, report in enumerate(self._reported):
            self._believe_one(index, report, now_us)

    def _believe_one(self, index: int, report: Report | None, now_us: int) -> None:
        row = self.live[index]
        if report is None:
            row[kernel.L_HEALTHY] = 0
            self.age_us[index] = NEVER_US if self._heard_us[index] < 0 else now_us - self._heard_us[index]
            return
        age_us = max(0, now_us - int(self._heard_us[index]))
        self.age_us[index] = age_us
        in_flight, p50_us, p95_us = report.in_flight, report.p50_us, max(report.p50_us, report.p95_us)
        spread_us = p95_us - p50_us
        if age_us > FRESH_US:
            in_flight = max(in_flight, int(row[kernel.L_CONCURRENCY]))
            prior_p50_us, prior_p95_us = prior_us(self.fleet, self.fleet.deployments[index])
            p50_us = max(p50_us, prior_p95_us)
            p95_us = p50_us + max(spread_us, prior_p95_us - prior_p50_us)
        row[kernel.L_IN_FLIGHT] = min(max(0, in_flight), IN_FLIGHT_MAX)
        row[kernel.L_P50_US] = min(max(1, p50_us), LATENCY_MAX_US)
        row[kernel.L_SPREAD_US] = min(max(0, p95_us - p50_us), LATENCY_MAX_US)
        row[kernel.L_HEALTHY] = int(report.healthy and age_us <= DEAD_US)


def prior_us(fleet: Fleet, deployment: Deployment) -> tuple[int, int]:
    """Return p50 and p95 of a call's time at a deployment by the files: the card's, with the fleet's call overhead."""
    service = fleet.service_ms(deployment)
    overhead_us = us_from_ms(fleet.call_overhead_ms)
    p50_us = us_from_ms(service.p50) + overhead_us
    return p50_us, max(p50_us, us_from_ms(service.p95) + overhead_us)
