"""The device agent: the same ingress, engine and policy as a site's, on the device, in front of its own session.

python -m infercast.router.device.agent --fleet cluster.yaml --policies policies/tenants --state .infercast \
        --site berlin-cam --port 8100 --upstream http://127.0.0.1:8000
"""

import argparse
import asyncio
import logging
import math
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvicorn

from infercast.policies.engine import Engine
from infercast.policies.estimates import Estimates
from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.snapshot import Snapshot

from ..bundle import BundleFile, bundle_path
from ..conduct.caller import Caller
from ..conduct.recorder import Recorder
from ..drains import DRAIN_S
from ..followed import WATCH_S
from ..ingress.app import Ingress
from ..ingress.guarded import Guarded
from ..policy_folder import Policies, PolicyFolder
from ..runtime.host import Host
from ..sight.log_lines import log_to
from ..telemetry.checkpoints import SigningKey
from ..telemetry.decision_log import DecisionLog
from ..telemetry.journal import FileJournal
from ..telemetry.log_files import KEY
from ..upstream.trust import Trust
from .runner import DeviceRunner

log = logging.getLogger("infercast.device")
CONNECTIONS_MAX = 1000
"""More than so many at once are told 503."""
LAST_LINES_S = 2.0
"""How long calls that are cancelled at the end may take to be written down."""
AGAIN_S = 1.0
"""How soon something that the agent does beside its calls is begun again where it has ended by a fault."""


async def serve(
    fleet_path: Path, policies_path: Path, state: Path, site: str, port: int, upstream: str, trust: Trust
) -> None:
    """Serve the device's own callers on loopback until cancelled, or asked to end: then those under way have DRAIN_S.

    Must run in the main thread, as it takes SIGTERM.
    """
    fleet = load_fleet(fleet_path)
    bundle = BundleFile(bundle_path(state, site))
    tenant = bundle.current.tenant
    folder = PolicyFolder(policies_path, fleet)
    engine, shadow = _engines(fleet, folder.current, tenant, site)
    snapshot = Snapshot(fleet)
    mine = [index for index, deployment in enumerate(fleet.deployments) if deployment.site == site]
    estimates = Estimates(fleet, site, mine)
    journal = FileJournal(state / "journal", site)
    host = Host(fleet, [fleet.deployments[index] for index in mine])
    runner = DeviceRunner(site, fleet, snapshot, estimates, host, upstream, bundle.current.secret, trust.context)
    decisions = DecisionLog(state / "decisions", site, SigningKey.of(state / KEY))
    recorder = Recorder(site, fleet, snapshot, decisions, journal)
    caller = Caller(site, engine, snapshot, estimates, runner, recorder, journal)
    caller.install(engine, shadow)
    ingress = Ingress(caller, bundle.current.keys, journal, runner.signals, emulated=True)
    await runner.hear_once(nearest(fleet, site))
    config = uvicorn.Config(
        ingress,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        http=Guarded,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=math.ceil(DRAIN_S),
    )
    chores = (
        lambda: runner.listen(nearest(fleet, site), caller.heard),
        lambda: _watch(folder, caller, tenant),
        trust.follow,
        lambda: _watch_keys(bundle, ingress, runner, nearest(fleet, site)),
    )
    background = [asyncio.create_task(_for_ever(chore)) for chore in chores]
    # uvicorn ends at SIGTERM, and then has the handler that was there before called: the usual one would end the process
    # before its log is signed.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        await uvicorn.Server(config).serve()
    finally:
        for task in background:
            task.cancel()
        await _written_down(caller)
        decisions.close()
        journal.close()


def _engines(fleet: Fleet, policies: Policies, tenant: str, site: str) -> tuple[Engine, Engine | None]:
    """Return the engine of the device's tenant, and its shadow's. Raises KeyError where the tenant has no policy."""
    engine = Engine(fleet, {tenant: policies.live[tenant]})
    engine.warm(site, [site], int(time.time()))
    return engine, Engine(fleet, {tenant: policies.shadow[tenant]}) if tenant in policies.shadow else None


async def _written_down(caller: Caller) -> None:
    """Wait for calls whose time is over: uvicorn cancels them and goes on, yet each has its line to write before the journal closes."""
    until = time.monotonic() + LAST_LINES_S
    while caller.under_way and time.monotonic() < until:  # noqa: ASYNC110 - a caller offers no event
        await asyncio.sleep(0.02)


async def _for_ever(chore: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do what never ends by itself, and begin it again where it does: nobody puts another agent in this one's place."""
    while True:
        try:
            await chore()
        except asyncio.CancelledError:
            # What a chore waits for may be cancelled under it, and cancels the chore with it: that is an end like any other.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.warning("what an agent always does was cancelled, and is begun again")
        except Exception:
            log.exception("what an agent always does has ended, and is begun again")
        await asyncio.sleep(AGAIN_S)


async def _watch(folder: PolicyFolder, caller: Caller, tenant: str) -> None:
    """Follow the tenant's policy file; while it is bad or gone, the last good one stays."""
    while True:
        await asyncio.sleep(WATCH_S)
        if await asyncio.to_thread(folder.look) and tenant in folder.current.live:
            engine, shadow = await asyncio.to_thread(_engines, caller.fleet, folder.current, tenant, caller.entry)
            try:
                caller.install(engine, shadow)
            except (BadInput, OSError) as error:  # they are in force; what is missing is their text beside the log
                log.warning("the decision log could not take the new policies: %s", error)


async def _watch_keys(bundle: BundleFile, ingress: Ingress, runner: DeviceRunner, nearest: str) -> None:
    """Follow the device's keys: those of its callers at once, its own secret once a site takes it."""
    while True:
        await asyncio.sleep(WATCH_S)
        if await asyncio.to_thread(bundle.look):
            ingress.take_keys(bundle.current.keys)
        await runner.take_secret(bundle.current.secret, nearest)


def nearest(fleet: Any, site: str) -> str:
    """Return the site with the shortest way from a device: where it hears of the others."""
    ways = [(fleet.network.path(site, other.id), other.id) for other in fleet.sites if other.id != site]
    reachable = [(path.rtt_us, other) for path, other in ways if path is not None]
    return min(reachable)[1] if reachable else site


def main() -> None:
    """Read the command line and serve."""
    words = argparse.ArgumentParser(prog="infercast-device", description=__doc__)
    for name in ("fleet", "policies", "state"):
        words.add_argument(f"--{name}", type=Path, required=True)
    for name in ("site", "upstream"):
        words.add_argument(f"--{name}", required=True)
    words.add_argument("--port", type=int, required=True)
    whom = words.add_mutually_exclusive_group()
    whom.add_argument("--ca", type=Path, help="PEM file of the authorities to believe; the public ones if left out")
    whom.add_argument("--trust", type=Path, help="PEM file of the one certificate to believe, followed when renewed")
    given = words.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log_to(given.site)
    asyncio.run(
        serve(
            given.fleet,
            given.policies,
            given.state,
            given.site,
            given.port,
            given.upstream,
            Trust(given.ca, given.trust),
        )
    )


if __name__ == "__main__":
    main()
