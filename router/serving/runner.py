"""Where a call runs, seen from a site worker: here, in a replica of its own here, or at another site of the cluster."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from infercast.policies.fleet import Fleet
from infercast.policies.model import Hosting
from infercast.policies.snapshot import Report, Snapshot

from ..conduct.ports import Carried, Lost
from ..runtime.host import Answer, Host, Load
from .wire import Away, Came

SILENT_MAX = 2


class ClusterRunner:
    """Runs calls for the worker of one site."""

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        snapshot: Snapshot,
        host: Host,
        own: Mapping[str, DeploymentHandle],
        emulate: bool,
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._snapshot = snapshot
        self._host = host
        self._own = dict(own)
        self._emulate = emulate
        self._others: dict[str, DeploymentHandle] = {}
        self._silent = dict.fromkeys(own, 0)
        self.loads = {
            deployment.id: Load(fleet, deployment) for deployment in fleet.deployments if deployment.site == site
        }

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call on a deployment. Raises Lost, Trouble or TimeoutError."""
        place = self._fleet.deployments[deployment]
        if place.site == self._site:
            return await self.run_here(deployment, call.body, call.header_bytes, timeout_s)
        async with asyncio.timeout(timeout_s):
            return await self._run_away(deployment, place.site, call, timeout_s)

    async def run_here(self, index: int, body: bytes, header_bytes: int | None, timeout_s: float) -> Answer:
        """Run at this site, keeping its load exact while it runs."""
        deployment = self._fleet.deployments[index]
        with self.loads[deployment.id].running(self._snapshot, index):
            if deployment.hosted is Hosting.IN_WORKER:
                return await self._host.run(deployment.variant, self._site, body, header_bytes, timeout_s)
            return await self._run_own(deployment.variant, body, header_bytes, timeout_s)

    async def _run_own(self, variant: str, body: bytes, header_bytes: int | None, timeout_s: float) -> Answer:
        try:
            async with asyncio.timeout(timeout_s):
                came: Came = await self._own[variant].run.remote(body, header_bytes)
        except (RayError, RayServeException) as error:
            raise Lost(str(error)) from error
        return _answer_in(came)

    async def _run_away(self, index: int, site: str, call: Carried, timeout_s: float) -> Answer:
        path = self._fleet.network.path(self._site, site)
        away_us = path.rtt_us if path is not None and self._emulate else 0
        if site not in self._others:
            self._others[site] = serve.get_app_handle(site)
        try:
            await asyncio.sleep(away_us / 2_000_000)
            away = Away(call.request, index, call.body, call.header_bytes, timeout_s)
            came: Came = await self._others[site].run_away.remote(away)
            await asyncio.sleep(away_us / 2_000_000)
        except (RayError, RayServeException) as error:
            raise Lost(str(error)) from error
        return replace(_answer_in(came), emulated_us=away_us)

    async def look_after_own(self) -> None:
        """Ask each replica of its own whether it lives; one that twice says nothing for a second is not healthy."""
        for variant, handle in self._own.items():
            try:
                await asyncio.wait_for(handle.ping.remote(), 1.0)
                self._silent[variant] = 0
            except (RayError, RayServeException, TimeoutError):
                self._silent[variant] += 1

    def reports(self) -> dict[str, Report]:
        """Return what this worker knows of its own deployments."""
        return {
            deployment.id: self.loads[deployment.id].report(self._silent.get(deployment.variant, 0) < SILENT_MAX)
            for deployment in self._fleet.deployments
            if deployment.site == self._site
        }


def _answer_in(came: Came) -> Answer:
    if came.lost:
        raise Lost(came.message)
    if came.answer is None:
        raise came.trouble()
    return came.answer
