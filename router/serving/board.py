"""The signal board: one small actor beside the head. No call passes through it; when it is gone, signals age.

It also reads the tenants' policies, for all sites alike, and hands a new state of them to each worker that asks with an
old one. A worker that starts gets the newest from here, never what an earlier one was started with.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import ray

from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Report

from ..keys import write_private
from ..policy_folder import WATCH_S, Policies, PolicyFolder
from ..signals import Heard, Ledger


@ray.remote(num_cpus=0)
class Board:
    """Keeps the latest reports of all workers, and the policies in force. Raises BadInput where these cannot be read."""

    def __init__(self, fleet: Fleet, policies: str, state: str) -> None:
        self._ledger = Ledger()
        self._folder = PolicyFolder(Path(policies), fleet)
        self._state = Path(state)
        self._watching: asyncio.Task[None] | None = None
        self._say()

    async def exchange(
        self, source: str, reports: dict[str, Report], digest: str
    ) -> tuple[list[Heard], Policies | None]:
        """Tell and hear in one go; with it come the policies, where the caller's are others.

        They are told apart by digest: a board that was started anew counts its versions from 1 again.
        """
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        now_us = time.monotonic_ns() // 1000
        self._ledger.tell(source, reports, now_us)
        current = self._folder.current
        return self._ledger.hear(now_us), current if digest != current.digest else None

    async def policies(self) -> Policies:
        """Return the policies in force."""
        return self._folder.current

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            refused = self._folder.refused
            if await asyncio.to_thread(self._folder.look) or self._folder.refused is not refused:
                self._say()

    def _say(self) -> None:
        """Write down what is in force, and why newer files are not, for `infercast status`."""
        refused = self._folder.refused
        said: dict[str, Any] = {
            "version": self._folder.current.version,
            "digest": self._folder.current.digest,
            "tenants": sorted(self._folder.current.live),
            "shadow": sorted(self._folder.current.shadow),
            "refused": [str(fault) for fault in refused.faults] if refused else [],
        }
        write_private(self._state / "policies.json", json.dumps(said, indent=1))
