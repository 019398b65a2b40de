"""The site worker: ingress and host in one Serve replica, so that a call decided for its own site needs no second hop."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from infercast.policies.engine import Engine, Unknown
from infercast.policies.estimates import Estimates
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.model import Hosting, Rule
from infercast.policies.snapshot import Report, Snapshot

from ..cache.answers import AnswerCache
from ..cache.embedding import Embedding
from ..conduct.caller import Caller, series_of
from ..conduct.ports import Lost
from ..conduct.recorder import Recorder
from ..drains import Drained
from ..errors import Kind
from ..ingress.app import Ingress
from ..ingress.http import Receive, Scope, Send
from ..ingress.rpc import Rpc
from ..keys import Keys
from ..ledger.background import Background
from ..policy_folder import Policies
from ..quota.accounts import Ledgered
from ..quota.reaching import reaching
from ..runtime.host import Host
from ..signals import EXCHANGE_S, Heard
from ..telemetry.checkpoints import SigningKey
from ..telemetry.decision_log import DecisionLog
from ..telemetry.journal import FileJournal
from ..telemetry.log_files import KEY
from ..upstream.hops import cluster_id
from ..upstream.runner import Upstreams
from .chores import Chores
from .door import Site, Visitors
from .eyes import Eyes
from .office import BoardOffice
from .runner import ClusterRunner
from .settings import narrow_replica, settle
from .wire import Away, Came, Item, came_of, items_of

log = logging.getLogger("infercast.site")
PROBE_EVERY_S = 1.0
"""How often it is asked whether anything is to be probed."""


@serve.deployment
@serve.ingress()
class SiteWorker(Visitors):
    """Receives, decides and, where the choice is this site, runs."""

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        board: ActorHandle,
        own: dict[str, DeploymentHandle],
        state: str,
        emulate: bool,
        ledger: str,
    ) -> None:
        narrow_replica()
        self._site = site
        self._fleet = fleet
        self._board = board
        self._heard: list[Heard] = []
        self._heard_us = 0
        self._source = f"{site}/{os.getpid()}"
        in_worker = [d for d in fleet.deployments if d.site == site and d.hosted is Hosting.IN_WORKER]
        # The board's, not those that the application was deployed with: a worker that starts late starts up to date.
        in_force: tuple[Policies, Keys, Drained] = ray.get(board.in_force.remote())
        self._policies, self._keys, self._drained = in_force
        engine, shadow = self._engines(self._policies)
        self._snapshot = Snapshot(fleet)
        mine = [index for index, deployment in enumerate(fleet.deployments) if deployment.site == site]
        # Nobody tells of an upstream's deployments but those who call them: each worker speaks for itself.
        self._estimates = Estimates(fleet, site, [*mine, *fleet.upstream_deployments])
        cluster = cluster_id(Path(state))
        self._upstreams = Upstreams(fleet, cluster)
        self._journal = FileJournal(Path(state) / "journal", site)
        self._decisions = DecisionLog(Path(state) / "decisions", site, SigningKey.of(Path(state) / KEY))
        recorder = Recorder(site, fleet, self._snapshot, self._decisions, self._journal)
        self._runner = ClusterRunner(
            site, fleet, self._snapshot, self._estimates, Host(fleet, in_worker), own, emulate, self._upstreams
        )
        self._eyes = Eyes(site, fleet, self._snapshot, Path(state), lambda: (self._heard, _now_us() - self._heard_us))
        series = series_of(site)
        self._accounts = Ledgered(fleet, self._policies.live, reaching(ledger), series, self._journal)
        parts = (self._snapshot, self._estimates, self._runner, recorder, self._journal)
        self._caller = Caller(site, engine, *parts, accounts=self._accounts, series=series, sight=self._eyes.seeing)
        embedding = Embedding(site, fleet, self._caller.beside)
        self._caller.cache = self._answers = AnswerCache(self._caller.deciding, embedding=embedding)
        self._eyes.watch(self._caller, self._accounts, self._answers, lambda: self._journal.kept_lines)
        self._caller.install(engine, shadow)
        self._caller.drained = self._drained
        self._ingress = Ingress(
            self._caller, self._keys, self._journal, self._signals, emulate, BoardOffice(board, self._here), cluster
        )
        self._ingress.proxied = True
        Site.rpc = Rpc(self._ingress.desk)
        self._chores = Chores()
        self._settling = Background(Path(state) / "journal", ledger, stand_by=True)

    def __serve_build_asgi_app__(self) -> Any:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._chores and scope["type"] == "lifespan":
                settle()
                looking = (self._look_after_own(), self._probe(), *self._checks())
                self._chores.begin(self._exchange(), self._eyes.tell(), self._accounts.run(), *looking)
            await self._ingress(scope, receive, send)

        return app

    async def check_health(self) -> None:
        """Raise RuntimeError where this worker is to be replaced: Serve asks now and then."""
        self._chores.check()
        self._decisions.check()
        self._settling.keep()  # what ends it stands in the folder, and would end it in another worker, too

    def __del__(self) -> None:
        """Send and sign what is left. Serve calls this when the worker ends, once its calls have."""
        if hasattr(self, "_chores"):  # else it never began
            self._eyes.seeing.close()
            self._decisions.close()

    async def run_away(self, away: Away) -> Came:
        """Run a call that another site received; the policy is asked again here, where the data arrives."""
        refused = self._taken_in(away)
        if refused is not None:
            return refused
        try:
            return await came_of(self._runner.run_here(away.deployment, away, away.timeout_s))
        except (Lost, TimeoutError) as error:
            return Came(lost=True, message=str(error))

    async def stream_away(self, away: Away) -> AsyncGenerator[Item, None]:
        """Run such a call and send its answer in events."""
        refused = self._taken_in(away)
        if refused is not None:
            yield refused
            return
        async with aclosing(items_of(self._runner.run_here(away.deployment, away, away.timeout_s))) as items:
            async for item in items:
                yield item

    def _taken_in(self, away: Away) -> Came | None:
        """Write down what another site sent, and return why it may not run here, if so."""
        if self._journal.full and not self._journal.retry():
            return Came(lost=True, message=f"the journal of {self._site} has no room")
        self._journal.write(
            "received",
            role="replica",
            request=away.request.id,
            tenant=away.request.tenant,
            model=away.request.model,
            origin=away.request.origin,
            classes=list(away.request.classes),
            payload_bytes=len(away.body),
            entry=away.request.entry,
        )
        try:
            veto = self._caller.engine.compiled(away.request).veto(away.deployment)
        except Unknown as error:  # its site has policies that have not come here yet, or have gone from here
            return Came(kind=Kind.REFUSED, message=f"{self._site} may not run this call: {error}")
        if veto is not None and veto.rule is not Rule.NONE:
            return Came(kind=Kind.REFUSED, message=f"{self._site} may not run this call: {veto.detail}")
        return None

    async def _exchange(self) -> None:
        """Tell and hear, four times a second, for as long as the worker lives."""
        while True:
            told = self._reports()
            newer: Policies | None = None
            keys: Keys | None = None
            try:
                under_way = (self._caller.under_way, self._site in self._drained)
                known = (self._policies.digest, self._keys.digest)
                asked = self._board.exchange.remote(self._source, told, *known, under_way)
                self._heard, newer, keys, self._drained = await asyncio.wait_for(asked, 1.0)
                self._heard_us = _now_us()
                self._caller.drained = self._drained
            except (RayError, TimeoutError):
                pass  # The board is away: what was heard grows older, and the engine acts on its age.
            self._believe(told)
            if keys is not None:
                self._keys = keys
                self._ingress.take_keys(keys)
            if newer is not None:
                await self._take_over(newer)
            await asyncio.sleep(EXCHANGE_S)

    def _engines(self, policies: Policies) -> tuple[Engine, Engine | None]:
        engine = Engine(self._fleet, policies.live)
        # What a key is bound to may have left the fleet: nobody calls from there.
        places = self._fleet.site_by_id.keys() | self._fleet.zone_by_id.keys()
        engine.warm(self._site, sorted(places & {self._site, *self._keys.origins()}), int(time.time()))
        return engine, Engine(self._fleet, policies.shadow) if policies.shadow else None

    async def _take_over(self, newer: Policies) -> None:
        """Put new policies in place of the old ones: compiled on a thread, then swapped between two calls."""
        engine, shadow = await asyncio.to_thread(self._engines, newer)
        self._policies = newer
        self._accounts.install(newer.live)
        try:
            self._caller.install(engine, shadow)
        except (BadInput, OSError) as error:  # they are in force; what is missing is their text beside the log
            log.warning("the decision log could not take the new policies: %s", error)
        digests = {tenant: policy.digest for tenant, policy in newer.live.items()}
        self._journal.write("policies", version=newer.version, digests=digests, shadow=sorted(newer.shadow))

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            self._journal.retry()  # also where nobody calls any more
            self._answers.sweep()
            await self._runner.probe()

    async def ping(self) -> bool:
        """Say that the site is there: another site measures the way here."""
        return True

    def _reports(self) -> dict[str, Report]:
        """Return what this worker knows of its own deployments, and of those at upstreams: drained ones, too."""
        reports = self._runner.reports()
        if self._drained:
            of = self._fleet.deployments
            for name, report in reports.items():
                drained = of[self._fleet.deployment_index[name]].site in self._drained
                reports[name] = replace(report, drained=drained) if drained else report
        return reports

    def _believe(self, told: dict[str, Report]) -> None:
        """Take in what was heard of other sites, and our own load exactly: our own calls now, other workers' as heard."""
        index_of = self._fleet.deployment_index
        now_us = _now_us()
        beside_us = dict.fromkeys(told, 0)
        for heard in self._heard:
            if heard.deployment in told:
                beside_us[heard.deployment] = max(0, heard.report.in_flight - told[heard.deployment].in_flight)
            else:
                self._snapshot.hear(index_of[heard.deployment], heard.report, self._heard_us - heard.age_us)
        for name, report in self._reports().items():
            whole = replace(report, in_flight=report.in_flight + beside_us.get(name, 0))
            self._snapshot.hear(index_of[name], whole, now_us)
        self._estimates.tell(self._snapshot)
        self._snapshot.believe(now_us)
        self._caller.heard()

    async def _look_after_own(self) -> None:
        while True:
            await self._runner.look_after_own()
            await asyncio.sleep(1.0)

    def _checks(self) -> list[Coroutine[Any, Any, None]]:
        return [self._check_upstream(site, target.upstream.check_s) for site, target in self._upstreams.targets.items()]

    async def _check_upstream(self, site: str, every_s: float) -> None:
        while True:
            await self._runner.check_upstream(site)
            await asyncio.sleep(every_s)

    def _signals(self) -> list[dict[str, Any]]:
        """Return what devices may know: the load of deployments, with ages. Nothing of who causes it."""
        since_us = _now_us() - self._heard_us
        return [
            {"deployment": heard.deployment, **asdict(heard.report), "age_us": heard.age_us + since_us}
            for heard in self._heard
        ]

    def _here(self) -> dict[str, Any]:
        """Return what the platform team may know of this site: what it decides by, how old its news is, how much is under way."""
        return {
            "policies": self._policies.digest,
            "keys": self._keys.digest,
            "heard_ago_us": _now_us() - self._heard_us,
            "drained": self._site in self._drained,
            "under_way": self._caller.under_way,
            "tasks": len(asyncio.all_tasks()),
            "signals": self._signals(),
            "kept": self._answers.store.told(),
        }


def _now_us() -> int:
    return time.monotonic_ns() // 1000
