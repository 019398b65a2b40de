"""Seeing, as a site's worker has it: calls counted and traced, beliefs read, all of it told to Ray once a second."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Snapshot

from ..cache.answers import AnswerCache
from ..conduct.caller import Caller
from ..quota.accounts import Ledgered
from ..sight import table
from ..sight.buckets import Labels
from ..sight.exporting import Exporting, otlp_exporter
from ..sight.log_lines import log_to
from ..sight.seeing import Seeing
from ..sight.settings import trace_settings
from ..sight.telling import ThroughRay
from ..signals import Heard
from .watching import place_of, watch_accounts, watch_cache, watch_conduct

log = logging.getLogger("infercast.site")
TELL_S = 1.0
LOGS = "logs"
"""The folder in the state folder with the logs of sites, `SITE.jsonl`."""


def seeing_of(entry: str, fleet: Fleet) -> Seeing:
    """Return what looks at an entry's calls, with traces where OpenTelemetry's variables say so. Raises BadInput."""
    traces = trace_settings(os.environ)
    return Seeing(entry, fleet, traces, Exporting(entry, traces, otlp_exporter()) if traces else None)


class Eyes:
    """What a worker looks with. `heard` returns the newest signals, and how long ago they came in."""

    def __init__(
        self, site: str, fleet: Fleet, snapshot: Snapshot, state: Path, heard: Callable[[], tuple[list[Heard], int]]
    ) -> None:
        log_to(site, state / LOGS / f"{site}.jsonl")
        self._fleet = fleet
        self._snapshot = snapshot
        self._heard = heard
        self.seeing = seeing = seeing_of(site, fleet)
        seeing.watch(table.IN_FLIGHT, lambda: self._believed(kernel.L_IN_FLIGHT))
        seeing.watch(table.HEALTHY, lambda: self._believed(kernel.L_HEALTHY))
        seeing.watch(table.SIGNAL_AGE, self._ages)

    def _believed(self, column: int) -> Iterator[tuple[Labels, float]]:
        for index in range(len(self._fleet.deployments)):
            yield place_of(self._fleet, index), int(self._snapshot.live[index, column])

    def _ages(self) -> Iterator[tuple[Labels, float]]:
        heard, ago_us = self._heard()
        youngest_us: dict[str, int] = {}
        for one in heard:
            site = self._fleet.deployments[self._fleet.deployment_index[one.deployment]].site
            youngest_us[site] = min(youngest_us.get(site, one.age_us), one.age_us)
        for site, age_us in youngest_us.items():
            yield (site,), (age_us + ago_us) / 1_000_000

    def watch(self, caller: Caller, accounts: Ledgered, cache: AnswerCache, kept_lines: Callable[[], int]) -> None:
        """Read what the parts of the entry count by themselves, and how many lines its journal keeps."""
        watch = self.seeing.watch
        watch_conduct(watch, caller)
        watch_accounts(watch, accounts)
        watch_cache(watch, cache)
        watch(table.JOURNAL_KEPT, lambda: [((), kept_lines())])

    async def tell(self) -> None:
        """Tell Ray what there is, once a second, for as long as the worker lives. What cannot be told is told later."""
        ray = ThroughRay()
        failing = False
        while True:
            samples = list(self.seeing.samples())
            try:
                await asyncio.to_thread(ray.tell, samples)
                failing = False
            except Exception as error:  # noqa: BLE001 - whatever Ray's metrics meet, calls go on, and it is tried again
                if not failing:
                    log.warning("Ray does not take metrics: %s", type(error).__name__)
                failing = True
            await asyncio.sleep(TELL_S)
