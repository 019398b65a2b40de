"""The signal board: one small actor beside the head. No call passes through it; when it is gone, signals age.

It also reads the tenants' policies and keys, for all sites alike, and hands a new state of them to each worker that asks
with an old one. A worker that starts gets the newest from here, never what an earlier one was started with.

And it settles the journals of the state folder into the ledger, those of devices and of dead workers with them.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import DEAD_US, Report

from ..drains import DRAINED, Drained, DrainFile, drain
from ..followed import IN_FORCE, WATCH_S
from ..ingress.admin import NewKey
from ..key_binding import binding_faults
from ..key_changes import issue_key, revoke_key, rotate_key
from ..key_file import KEYS, KeyFile
from ..keys import Holder, Keys, write_private
from ..ledger.asking import MiddleOfDay, Wanted
from ..ledger.background import Background
from ..ledger.reading import usage_by
from ..policy_folder import Policies, PolicyFolder
from ..sight.log_lines import log_to
from ..signals import Heard, Ledger
from .eyes import LOGS
from .office import Done

log = logging.getLogger("infercast.board")


@ray.remote(num_cpus=0)
class Board:
    """Keeps the latest reports of all workers, and the policies and keys in force. Raises BadInput for unreadable ones."""

    def __init__(self, fleet: Fleet, policies: str, state: str, ledger: str) -> None:
        if ray.is_initialized():  # as an actor, in a process of its own
            log_to("board", Path(state) / LOGS / "board.jsonl")
        self._ledger = Ledger()
        self._fleet = fleet
        self._state = Path(state)
        self._folder = PolicyFolder(Path(policies), fleet)
        self._keys = KeyFile(self._state / KEYS)
        self._drains = DrainFile(self._state / DRAINED)
        self._ending = False
        self._under_way: dict[str, tuple[int, bool, int]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._say()
        self._ledger_url = ledger
        self._settling = Background(self._state / "journal", ledger, stand_by=False)

    async def exchange(
        self,
        source: str,
        reports: dict[str, Report],
        policies: str,
        keys: str,
        under_way: tuple[int, bool] = (0, False),
    ) -> tuple[list[Heard], Policies | None, Keys | None, Drained]:
        """Tell and hear in one go; with it come the drained sites, and policies and keys that have other digests than the caller's.

        They are told apart by digest: a board that was started anew counts its versions from 1 again. `under_way` is how
        many calls the caller carries, and whether it takes no new ones.
        """
        self._keep_watching()
        self._settling.keep()
        now_us = time.monotonic_ns() // 1000
        if source:
            self._under_way[source] = (*under_way, now_us)
        self._ledger.tell(source, reports, now_us)
        newer, others = self._folder.current, self._keys.current
        return (
            self._ledger.hear(now_us),
            newer if policies != newer.digest else None,
            others if keys != others.digest else None,
            self._drained(),
        )

    def _drained(self) -> Drained:
        """Return the sites that take no new calls: all of them, once the system ends."""
        return Drained(site.id for site in self._fleet.sites) if self._ending else self._drains.current

    async def end(self) -> int:
        """Let no site take new calls from now on. Returns how many are under way, those of sites that have not heard of it included.

        A site counts as one call until it has. What nobody has heard of for a while carries none.
        """
        self._ending = True
        now_us = time.monotonic_ns() // 1000
        told = [(calls, closed) for calls, closed, at_us in self._under_way.values() if now_us - at_us <= DEAD_US]
        return sum(calls if closed else max(1, calls) for calls, closed in told)

    async def drain(self, site: str, on: bool) -> Done:
        """Drain a site, or take it back; all sites hear of it with their next exchange."""
        try:
            await asyncio.to_thread(drain, self._state, self._fleet, site, on=on)
        except BadInput as error:
            return Done(faults=error.faults)
        if await asyncio.to_thread(self._drains.look):
            self._say()
        return Done()

    def _keep_watching(self) -> None:
        """See to it that the files are followed, whatever may have ended that: else no key is ever revoked again."""
        ended = self._watching
        if ended is not None and not ended.done():
            return
        if ended is not None:
            log.error("policies and keys were followed no longer, and are again", exc_info=ended.exception())
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def in_force(self) -> tuple[Policies, Keys, Drained]:
        """Return the policies and keys in force, and which sites are drained."""
        return self._folder.current, self._keys.current, self._drained()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for followed in (self._folder, self._keys, self._drains):
                refused = followed.refused
                if await asyncio.to_thread(followed.look) or followed.refused is not refused:
                    self._say()

    async def issue_key(self, new: NewKey) -> Done:
        """Issue a key; as any change of the file it is in force in a second or two."""
        faults = []
        if new.holder is Holder.TENANT:
            live = self._folder.current.live
            faults = [
                Fault("", 0, *fault) for fault in binding_faults(self._fleet, live, new.tenant, new.origin, new.classes)
            ]
        if faults:
            return Done(faults=tuple(faults))
        return await self._change(issue_key, new.id, new.tenant, new.origin, new.classes, new.holder, new.lifetime_s)

    async def rotate_key(self, key_id: str, grace_s: int) -> Done:
        """Give a key a new secret."""
        return await self._change(rotate_key, key_id, grace_s)

    async def revoke_key(self, key_id: str) -> Done:
        """End a key."""
        return await self._change(revoke_key, key_id)

    async def _change(self, change: Callable[..., str | None], *arguments: Any) -> Done:
        try:
            secret = await asyncio.to_thread(change, self._state, *arguments)
        except BadInput as error:
            return Done(faults=error.faults)
        return Done(secret or "")

    async def told(self) -> dict[str, Any]:
        """Return what is in force, and why newer files are not."""
        return self._told()

    async def usage(self, by: list[str], wanted: Wanted) -> list[dict[str, Any]] | Done | None:
        """Return the ledger's sums; None where it is out of reach."""
        try:
            return await asyncio.to_thread(usage_by, self._ledger_url, by, wanted)
        except MiddleOfDay as error:
            return Done(faults=error.faults)
        except (OSError, BadInput) as error:
            log.warning("the ledger could not be asked: %s", error)
            return None

    def _told(self) -> dict[str, Any]:
        folder, keys = self._folder, self._keys
        return {
            "policies": {
                "version": folder.current.version,
                "digest": folder.current.digest,
                "tenants": sorted(folder.current.live),
                "shadow": sorted(folder.current.shadow),
                "refused": _faults(folder.refused),
            },
            "keys": {"digest": keys.current.digest, "refused": _faults(keys.refused)},
            "drained": {"sites": sorted(self._drains.current), "refused": _faults(self._drains.refused)},
        }

    def _say(self) -> None:
        """Write that down for `infercast status`, which is to know it with every site down, too."""
        try:
            write_private(self._state / IN_FORCE, json.dumps(self._told(), indent=1))
        except OSError as error:  # a full disk must not end the watch: keys are to be revoked all the same
            log.warning("what is in force could not be written down: %s", error)


def _faults(refused: BadInput | None) -> list[str]:
    return [str(fault) for fault in refused.faults] if refused else []
