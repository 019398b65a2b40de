"""Where a call runs, seen from a site worker: here, in a replica of its own here, or at another site of the cluster."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from infercast.policies import kernel
from infercast.policies.estimates import SIZE_TRIP_MAX_BYTES, Estimates
from infercast.policies.fleet import Deployment, Fleet
from infercast.policies.model import Hosting
from infercast.policies.snapshot import Report, Snapshot
from infercast.policies.tables import one_way_us

from ..api import Asked
from ..conduct.ports import Carried, Lost
from ..conduct.probing import PROBE_S, Probing, Quiet, Ways
from ..runtime.host import Answer, Host
from ..runtime.load import InFlight, Loads, now_us
from ..runtime.probes import IDLE_US_MIN, SLOW_IDLE_US_MIN
from ..streams import Delayed, Watched, begun
from ..upstream.runner import Upstreams
from .callee import Callee
from .wire import Arriving, Away, Came, answer_in

SILENT_MAX = 2
FORGET_US = 120_000_000
"""An upstream's deployment that nobody here has called for so long is no longer believed to be slow: no probe could say so."""
LOOP_TICK_US = 1000


class ClusterRunner:
    """Runs calls for the worker of one site."""

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        snapshot: Snapshot,
        estimates: Estimates,
        host: Host,
        own: Mapping[str, DeploymentHandle],
        emulate: bool,
        upstreams: Upstreams,
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._snapshot = snapshot
        self._host = host
        self._own = {variant: Callee(partial(_itself, handle)) for variant, handle in own.items()}
        self._emulate = emulate
        self._others = {site.id: Callee(partial(serve.get_app_handle, site.id)) for site in fleet.sites}
        self._silent = dict.fromkeys(own, 0)
        self._estimates = estimates
        self._mine = [index for index, deployment in enumerate(fleet.deployments) if deployment.site == site]
        self._upstreams = upstreams
        self._loads = Loads(fleet, snapshot, estimates, [*self._mine, *fleet.upstream_deployments])
        self._quiet = Quiet()
        self._probing = Probing(fleet, estimates, self._loads, self._quiet, self._mine, self.run_here)
        self._ways = Ways(fleet, estimates, self._quiet, self._mine)
        self._travelled_us: dict[str, int] = {}

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call on a deployment. Raises Lost, Trouble or TimeoutError."""
        place = self._fleet.deployments[deployment]
        if place.site == self._site:
            answer = self._at_once(deployment, place, call)
            if answer is not None:
                self._quiet.came(deployment)
                return answer
            self._quiet.begin(deployment)
            return await _ending(self.run_here(deployment, call, timeout_s), lambda: self._quiet.end(deployment))
        self._quiet.begin(deployment)
        if place.hosted is Hosting.UPSTREAM:
            running = self._run_upstream(deployment, call, timeout_s)
            return await _ending(running, lambda: self._quiet.end(deployment))
        self._snapshot.send(deployment, 1)

        def end() -> None:
            self._snapshot.send(deployment, -1)
            self._quiet.end(deployment)

        return await _ending(self._run_away(deployment, place.site, call, timeout_s), end)

    async def run_here(self, index: int, asked: Asked, timeout_s: float) -> Answer:
        """Run at this site, keeping its load exact while it runs."""
        answer = self._at_once(index, self._fleet.deployments[index], asked)
        if answer is not None:
            return answer
        call = InFlight(self._loads, index, len(asked.body))
        return await _ending(self._run_here(index, asked, timeout_s, call), call.end)

    def _at_once(self, index: int, place: Deployment, asked: Asked) -> Answer | None:
        """Run what is so short that nothing else runs in between; None for what is not. While it runs, nobody could count it."""
        if place.hosted is not Hosting.IN_WORKER or not self._host.inline(place.variant, asked):
            return None
        waits = self._loads.waits(index)
        began_us = now_us()
        answer = self._host.run_inline(place.variant, self._site, asked)
        self._loads.ran(index, len(asked.body), began_us, answer.service_us, waits)
        answer.at_site_us = now_us() - began_us  # it has been made just now, for this call alone
        return answer

    async def _run_here(self, index: int, asked: Asked, timeout_s: float, call: InFlight) -> Answer:
        deployment = self._fleet.deployments[index]
        began_us = now_us()
        if deployment.hosted is Hosting.IN_WORKER:
            answer = await self._host.run(deployment.variant, self._site, asked, timeout_s)
        else:
            answer = await self._run_own(deployment.variant, asked, timeout_s)
        call.ran(answer.service_us)
        return answer.after(now_us() - began_us)

    async def _run_upstream(self, index: int, call: Carried, timeout_s: float) -> Answer:
        """Run at an upstream. The way there is real, and part of what it takes: what is believed of it is taken off."""
        site = self._fleet.deployments[index].site
        row = self._snapshot.rtt(self._site)[self._fleet.tables.site_index[site]]
        going = InFlight(self._loads, index, len(call.body), int(row[kernel.R_P50_US]))
        return await _ending(self._answered(self._upstreams.run(index, call, timeout_s), going), going.end)

    async def _answered(self, running: Coroutine[Any, Any, Answer], going: InFlight) -> Answer:
        answer = await running
        going.ran(answer.service_us)
        return answer

    async def check_upstream(self, site: str) -> None:
        """Ask an upstream whether it lives; how long that took is the way there, or no less."""
        trip_us = await self._upstreams.check(site)
        if trip_us is not None:
            self._travelled(site, 0, trip_us)
        for index in self._upstreams.at(site):
            if self._loads.idle_us(index) > FORGET_US and self._estimates.slow(index):
                self._estimates.forget(index)

    async def _run_own(self, variant: str, asked: Asked, timeout_s: float) -> Answer:
        what = (asked.body, asked.header_bytes, asked.api)
        try:
            async with asyncio.timeout(timeout_s):
                if asked.stream:
                    return await self._streamed(self._own[variant].call("stream", *what, stream=True))
                came: Came = await self._own[variant].call("run", *what)
        except (RayError, RayServeException) as error:
            raise Lost(str(error)) from error
        return answer_in(came)

    async def _streamed(self, items: Any) -> Answer:
        """Return a streamed answer of another replica once its first item is there; whoever gives up before cancels it there."""
        arriving = Arriving(items, (RayError, RayServeException))
        try:
            return await arriving.first()
        except BaseException:
            await arriving.aclose()
            raise

    async def _run_away(self, index: int, site: str, call: Carried, timeout_s: float) -> Answer:
        path = self._fleet.network.path(self._site, site)
        way = path if self._emulate else None
        there_us = one_way_us(way, len(call.body))
        began_us = now_us()
        async with asyncio.timeout(timeout_s):
            try:
                await _travel(there_us)
                away = Away(call.request, index, call.body, call.header_bytes, timeout_s, call.api, call.stream)
                if call.stream:
                    answer = await self._streamed(self._others[site].call("stream_away", away, stream=True))
                else:
                    answer = answer_in(await self._others[site].call("run_away", away))
            except (RayError, RayServeException) as error:
                raise Lost(str(error)) from error
            back_us = one_way_us(way, len(answer.body))
            if answer.stream is not None and back_us:
                answer = replace(answer, stream=await begun(Delayed(answer.stream, back_us / 1_000_000)))
            else:
                await _travel(back_us)
        self._travelled(site, len(call.body), now_us() - began_us - answer.at_site_us)
        return replace(answer, emulated_us=there_us + back_us) if self._emulate else answer

    def _travelled(self, site: str, payload_bytes: int, trip_us: int) -> None:
        self._travelled_us[site] = now_us()
        number = self._fleet.tables.site_index[site]
        if payload_bytes <= SIZE_TRIP_MAX_BYTES:
            expected = self._snapshot.rtt(self._site)[number]
            self._ways.came(site, trip_us, int(expected[kernel.R_P50_US] + expected[kernel.R_SPREAD_US]))
        self._estimates.travelled(number, payload_bytes, trip_us, self._travelled_us[site])

    async def probe(self) -> None:
        """Try what nobody calls: own deployments on zeros, one after the other, and the ways to the other sites."""
        await self._probing.round()
        others = [site.id for site in self._fleet.served if site.id != self._site]
        await asyncio.gather(*(self._probe_way(site) for site in others))
        self._ways.reassure(lambda index: bool(self._snapshot.live[index, kernel.L_HEALTHY]))

    async def _probe_way(self, site: str) -> None:
        path = self._fleet.network.path(self._site, site)
        idle_us_min = SLOW_IDLE_US_MIN if self._ways.slow(site) else IDLE_US_MIN
        if path is None or now_us() - self._travelled_us.get(site, 0) < idle_us_min:
            return
        began_us = now_us()
        try:
            async with asyncio.timeout(PROBE_S):
                await asyncio.sleep(path.rtt_us / 1_000_000 if self._emulate else 0)
                await self._others[site].call("ping")
        except (RayError, RayServeException, TimeoutError):
            return  # What was known of the way grows old, and is then no better than declared.
        self._travelled(site, 0, now_us() - began_us)

    async def look_after_own(self) -> None:
        """Ask each replica of its own whether it lives; one that twice says no, or nothing for a second, is not healthy."""
        for variant, callee in self._own.items():
            try:
                lives = await asyncio.wait_for(callee.call("ping"), 1.0)
                self._silent[variant] = 0 if lives else self._silent[variant] + 1
            except (RayError, RayServeException, TimeoutError):
                self._silent[variant] += 1

    def reports(self) -> dict[str, Report]:
        """Return what this worker knows of its own deployments, and of those at upstreams."""
        reports = self._loads.reports(self._lives)
        for index in self._fleet.upstream_deployments:
            deployment = self._fleet.deployments[index]
            if self._upstreams.full(index):
                reports[deployment.id] = replace(reports[deployment.id], in_flight=deployment.queue_max)
        return reports

    def _lives(self, index: int) -> bool:
        if index not in self._mine:
            return self._upstreams.healthy(index)
        variant = self._fleet.deployments[index].variant
        return self._host.lives(variant) and self._silent.get(variant, 0) < SILENT_MAX


async def _travel(way_us: int) -> None:
    """Wait as long as an emulated way takes. The event loop's clock counts milliseconds: less than half of one is no wait."""
    if way_us >= LOOP_TICK_US // 2:
        await asyncio.sleep(way_us / 1_000_000)


async def _ending(running: Coroutine[Any, Any, Answer], end: Callable[[], None]) -> Answer:
    """Return an answer, and call `end` once the call is over: now, or when its stream has ended."""
    try:
        answer = await running
    except BaseException:
        end()
        raise
    if answer.stream is None:
        end()
        return answer
    return replace(answer, stream=Watched(answer.stream, lambda _: end()))


def _itself(handle: DeploymentHandle) -> DeploymentHandle:
    return handle
