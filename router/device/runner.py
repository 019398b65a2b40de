"""Where a device's calls run: in its own session, or at a site's ingress over HTTP, deadline and class going along."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import httpx

from infercast.policies import kernel
from infercast.policies.estimates import SIZE_TRIP_MAX_BYTES, Estimates
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Report, Snapshot
from infercast.policies.tables import one_way_us

from ..api import Api, Asked
from ..conduct.ports import Carried, Lost
from ..conduct.probing import Probing, Quiet, Ways
from ..errors import Kind, Trouble
from ..ingress.answers import STATUS
from ..runtime.host import Answer, Host, holding
from ..runtime.load import Loads, now_us
from ..runtime.probes import IDLE_US_MIN
from ..streams import Delayed, begun
from ..upstream.bodies import object_in, usage_in
from ..upstream.streaming import Streamed
from ..upstream.target import PATHS
from ..upstream.told import blamed, facts, said, visible

SIGNALS_S = 0.5
WAY_PROBE_S = 0.8
"""What a probe of a way may take: what the device knows of itself must not grow old over it."""
CONNECT_S = 5.0
"""How long a site's address may take to be reached."""
STALL_S = 30.0
"""How long the next event of a streamed answer may take to come."""
KNOWN_FACTS = {
    "decision": str,
    "reasons": str,
    "rule": str,
    "entries": list,
    "limit": str,
    "most": int,
    "retry_after_s": int,
}
"""What a site says of a call that it did not carry, and a caller here may know, too."""
LOST_STATUSES = frozenset({401, 500, 502, 503, 504})


class DeviceRunner:
    """Runs calls for one device site; `upstream` is where the sites' ingresses are reached (`{upstream}/{site}`)."""

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        snapshot: Snapshot,
        estimates: Estimates,
        host: Host,
        upstream: str,
        secret: str,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._snapshot = snapshot
        self._host = host
        self._upstream = upstream.rstrip("/")
        self._secret = secret
        self._client = httpx.AsyncClient(headers=_bearer(secret), timeout=CONNECT_S, verify=verify)
        self._mine = [index for index, d in enumerate(fleet.deployments) if d.site == site]
        self._estimates = estimates
        self._loads = Loads(fleet, snapshot, estimates, self._mine)
        self._quiet = Quiet()
        self._probing = Probing(fleet, estimates, self._loads, self._quiet, self._mine, self._run_here)
        self._ways = Ways(fleet, estimates, self._quiet, self._mine)
        self._way_probed_us: dict[str, int] = {}
        self.sent_bytes = 0
        """Payload bytes that have left this device since it started."""

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call here or there. Raises Lost, Trouble or TimeoutError."""
        with ExitStack() as held:
            held.enter_context(self._quiet.calling(deployment))
            if deployment in self._mine:
                return holding(await self._run_here(deployment, call, timeout_s), held)
            held.enter_context(self._snapshot.sending(deployment))
            async with asyncio.timeout(timeout_s):
                return holding(await self._send(deployment, call, timeout_s), held)

    async def _run_here(self, index: int, asked: Asked, timeout_s: float) -> Answer:
        variant = self._fleet.deployments[index].variant
        began_us = now_us()
        with ExitStack() as held:
            ran = held.enter_context(self._loads.running(index, len(asked.body)))
            answer = await self._host.run(variant, self._site, asked, timeout_s)
            ran(answer.service_us)
            return holding(replace(answer, at_site_us=now_us() - began_us), held)

    async def probe(self) -> None:
        """Try what nobody calls: own deployments on zeros, and the ways to sites where something is believed much slower than declared."""
        await self._probing.round()
        ways = [site.id for site in self._fleet.sites if site.id != self._site and self._ways.slow(site.id)]
        await asyncio.gather(*(self._probe_way(site) for site in ways))
        self._ways.reassure(lambda index: bool(self._snapshot.live[index, kernel.L_HEALTHY]))

    async def _probe_way(self, site: str) -> None:
        """Ask a site whether it is ready; that it takes no longer than expected is what is wanted, no measure of the way."""
        path = self._fleet.network.path(self._site, site)
        if path is None or now_us() - self._way_probed_us.get(site, -IDLE_US_MIN) < IDLE_US_MIN:
            return
        self._way_probed_us[site] = began_us = now_us()
        try:
            await asyncio.sleep(path.rtt_us / 1_000_000)
            response = await self._client.get(f"{self._upstream}/{site}/v2/health/ready", timeout=WAY_PROBE_S)
        except httpx.HTTPError:
            return  # What is believed of the site stays as it is.
        if response.status_code == 200:
            self._came(site, now_us() - began_us)

    def _came(self, site: str, trip_us: int) -> None:
        expected = self._snapshot.rtt(self._site)[self._fleet.tables.site_index[site]]
        self._ways.came(site, trip_us, int(expected[kernel.R_P50_US] + expected[kernel.R_SPREAD_US]))

    async def _send(self, index: int, call: Carried, timeout_s: float) -> Answer:
        site = self._fleet.deployments[index].site
        path = self._fleet.network.path(self._site, site)
        there_us = one_way_us(path, len(call.body))
        headers = {"infercast-deadline-ms": f"{timeout_s * 1000:.3f}", "infercast-id": visible(call.request.id)}
        if call.request.classes:
            headers["infercast-class"] = visible(", ".join(call.request.classes))
        if call.header_bytes is not None:
            headers["inference-header-content-length"] = str(call.header_bytes)
        if call.stream:
            headers["accept-encoding"] = "identity"
        await asyncio.sleep(there_us / 1_000_000)
        self.sent_bytes += len(call.body)
        try:
            began_us = now_us()
            url = f"{self._upstream}/{site}{_path_of(call)}"
            asked = self._client.build_request(
                "POST", url, content=call.body, headers=headers, timeout=_patience(call, timeout_s)
            )
            response = await self._client.send(asked, stream=call.stream)
            if call.stream and response.status_code != 200:
                await response.aread()
        except httpx.HTTPError as error:
            raise Lost(f"{site}: {error}") from error
        if call.stream and response.status_code == 200:
            back_us = one_way_us(path, 0)
            events = Delayed(Streamed(site, response, STALL_S, None, usage_asked=True), back_us / 1_000_000)
            try:
                stream = await begun(events)
            except StopAsyncIteration:
                raise Lost(f"{site}: its answer holds no event") from None
            answer = replace(_answer_of(response, b"", there_us + back_us), stream=stream)
        else:
            back_us = one_way_us(path, len(response.content))
            await asyncio.sleep(back_us / 1_000_000)
            answer = _answer_of(response, response.content, there_us + back_us)
            if call.api is not Api.INFER:
                answer = replace(answer, usage=usage_in(object_in(answer.body)))
        # The time of attempts that were lost there is in no header: such a call says nothing of the way.
        if answer.site == site and response.headers.get("infercast-attempts") == "1":
            trip_us = now_us() - began_us + there_us - answer.at_site_us
            if len(call.body) <= SIZE_TRIP_MAX_BYTES:
                self._came(site, trip_us)
            self._estimates.travelled(self._fleet.tables.site_index[site], len(call.body), trip_us, now_us())
        return answer

    def signals(self) -> list[dict[str, Any]]:
        """Return what this device knows of its own deployments, exactly and now."""
        return [
            {"deployment": name, **asdict(report), "age_us": 0}
            for name, report in self._loads.reports(self._lives).items()
        ]

    async def listen(self, nearest: str, heard: Callable[[], None] = lambda: None) -> None:
        """Hear what the nearest site knows of the others, twice a second, for as long as the agent lives; then call `heard`."""
        while True:
            await self.hear_once(nearest)
            heard()
            await self.probe()
            await asyncio.sleep(SIGNALS_S)

    async def take_secret(self, secret: str, nearest: str) -> bool:
        """Use another secret from now on, if a site takes it already: sites learn of new ones a moment later.

        True when it is in use; False leaves the old one, which is good for a while yet.
        """
        if secret == self._secret:
            return True
        try:
            response = await self._client.get(f"{self._upstream}/{nearest}/v1/signals", headers=_bearer(secret))
        except httpx.HTTPError:
            return False
        if response.status_code != 200:
            return False
        self._secret = secret
        self._client.headers.update(_bearer(secret))
        return True

    async def hear_once(self, nearest: str) -> None:
        """Ask the nearest site once. What the device knows of itself never waits for the answer."""
        self._believe()
        try:
            response = await self._client.get(f"{self._upstream}/{nearest}/v1/signals", timeout=1.0)
            if response.status_code == 200:
                self._hear(response.json()["signals"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, OverflowError):
            pass  # The network is down, or somebody else's (a captive portal): what was heard grows older, and counts as old.
        self._believe()

    def _lives(self, index: int) -> bool:
        return self._host.lives(self._fleet.deployments[index].variant)

    def _believe(self) -> None:
        at_us = now_us()
        for index in self._mine:
            self._snapshot.hear(index, self._loads.report(index, self._lives(index)), at_us)
        self._estimates.tell(self._snapshot)
        self._snapshot.believe(at_us)

    def _hear(self, signals: list[dict[str, Any]]) -> None:
        at_us = now_us()
        for signal in signals:
            index = self._fleet.deployment_index.get(str(signal["deployment"]))
            if index is not None and index not in self._mine:
                sizes = tuple((int(p50_us), int(p95_us)) for p50_us, p95_us in signal.get("sizes", ()))
                times_us = (int(signal["p50_us"]), int(signal["p95_us"]))
                report = Report(int(signal["in_flight"]), *times_us, healthy=bool(signal["healthy"]), sizes=sizes)
                report = replace(report, drained=bool(signal.get("drained", False)))
                self._snapshot.hear(index, report, at_us - int(signal["age_us"]))


def _patience(call: Carried, timeout_s: float) -> httpx.Timeout:
    """Return how long httpx itself waits: no less than the call does, which is given up by its own clock."""
    return httpx.Timeout(max(CONNECT_S, timeout_s, STALL_S if call.stream else 0.0), connect=CONNECT_S)


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def _path_of(call: Carried) -> str:
    """Return where a site takes a call in its own words."""
    if call.api is not Api.INFER:
        return f"/v1{PATHS[call.api]}"
    version = f"/versions/{call.request.variant}" if call.request.variant else ""
    return f"/v2/models/{call.request.model}{version}/infer"


def _answer_of(response: httpx.Response, body: bytes, away_us: int) -> Answer:
    if response.status_code == 200 and "infercast-variant" in response.headers:
        header = response.headers.get("inference-header-content-length")
        emulated_us = away_us + int(float(response.headers.get("infercast-emulated-ms", 0)) * 1000)
        return Answer(
            body=body,
            header_bytes=int(header) if header else None,
            variant=response.headers["infercast-variant"],
            site=response.headers["infercast-site"],
            service_us=0,
            emulated_us=emulated_us,
            at_site_us=int(float(response.headers.get("infercast-at-site-ms", 0)) * 1000),
        )
    # 401: this device's own key is not taken there, which is no fault of who calls.
    if response.status_code == 200 or response.status_code in LOST_STATUSES:
        raise Lost(f"status {response.status_code}")
    raise _trouble_of(response)


def _trouble_of(response: httpx.Response) -> Trouble:
    """Return what a site told of a call that it did not carry, for the caller here: kind, message and facts."""
    told, body = response.headers.get("infercast-outcome"), response.content
    kinds = [kind for kind, status in STATUS.items() if status == response.status_code] or [Kind.FAULT]
    kind = next((kind for kind in kinds if kind == told), kinds[0])
    extra = {name: value for name, value in facts(body).items() if KNOWN_FACTS.get(name) is type(value)}
    if kind in (Kind.BAD_REQUEST, Kind.NOT_FOUND):  # what others are called in OpenAI's words follows from their kind
        extra |= blamed(body)
    return Trouble(kind, said(body) or f"status {response.status_code}", extra=extra)
