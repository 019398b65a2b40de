"""The signal board: one small actor beside the head. No call passes through it; when it is gone, signals age."""

import time

import ray

from infercast.policies.snapshot import Report

from ..signals import Heard, Ledger


@ray.remote(num_cpus=0)
class Board:
    """Keeps the latest reports of all workers."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    async def exchange(self, source: str, reports: dict[str, Report]) -> list[Heard]:
        """Tell and hear in one go."""
        now_us = time.monotonic_ns() // 1000
        self._ledger.tell(source, reports, now_us)
        return self._ledger.hear(now_us)
