"""Signals between places: one small exchange, the same live and (later) in the simulator.

Every worker tells the board what it knows exactly (its own deployments) and hears what all others said, each with its
age; several times a second. The board keeps one report per (deployment, source) and the time it came in, by its own
clock: ages travel, not times, so clocks need not agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infercast.policies.snapshot import DEAD_US, Report

EXCHANGE_S = 0.25


@dataclass(frozen=True, slots=True)
class Heard:
    """A report on a deployment, and how old it is."""

    deployment: str
    report: Report
    age_us: int


class Ledger:
    """The reports of all sources; the board's whole memory. The caller brings the clock."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], tuple[Report, int]] = {}

    def tell(self, source: str, reports: Mapping[str, Report], now_us: int) -> None:
        """Take in what a source says of its deployments."""
        for deployment, report in reports.items():
            self._reports[(deployment, source)] = (report, now_us)

    def hear(self, now_us: int) -> list[Heard]:
        """Return one merged report per deployment: loads add, the slower service time and the younger age count.

        Sources that fell silent are left out once others speak for the deployment, and kept, old, where none does.
        """
        by_deployment: dict[str, list[tuple[Report, int]]] = {}
        for (deployment, _), (report, heard_us) in self._reports.items():
            by_deployment.setdefault(deployment, []).append((report, now_us - heard_us))
        return [merged(deployment, told) for deployment, told in sorted(by_deployment.items())]


def merged(deployment: str, told: list[tuple[Report, int]]) -> Heard:
    """Return what several sources say of one deployment, as one report."""
    youngest_us = min(age_us for _, age_us in told)
    alive = [(report, age_us) for report, age_us in told if age_us <= DEAD_US or age_us == youngest_us]
    reports = [report for report, _ in alive]
    whole = Report(
        in_flight=sum(report.in_flight for report in reports),
        p50_us=max(report.p50_us for report in reports),
        p95_us=max(report.p95_us for report in reports),
        healthy=any(report.healthy for report in reports),
        sizes=_slowest([report.sizes for report in reports if report.sizes]),
        drained=any(report.drained for report in reports),
    )
    return Heard(deployment, whole, youngest_us)


def _slowest(told: list[tuple[tuple[int, int], ...]]) -> tuple[tuple[int, int], ...]:
    """Return, for each payload size, the slower of what was told: p50 and p95 each."""
    by_size = zip(*told, strict=True)
    return tuple((max(p50_us for p50_us, _ in pairs), max(p95_us for _, p95_us in pairs)) for pairs in by_size)
