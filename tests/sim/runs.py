"""Runs written by hand: what a simulation could have come to, without one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from infercast.policies.fleet import Fleet
from infercast.policies.model import Rule
from infercast.policies.policy import Policy
from infercast.sim.model import NEVER_EQUAL, WORK_USUAL_PPM, Calls, Ended, Kind, LimitedBy, Run, World
from tests.support import fleet_of, policy_of


class Call(NamedTuple):
    """One call, and how it ended. `deployment` and `entry` are names, "" for none."""

    kind: int = 0
    ended: Ended = Ended.ANSWERED
    deployment: str = "small@ber"
    entry: str = "ber"
    latency_us: int = 10_000
    at_us: int = 0
    rule: Rule | LimitedBy = Rule.NONE
    wait_us: int = 0
    cost_nusd: int = 0
    egress_nusd: int = 0
    attempts: int = 1
    hedged: bool = False


BERLIN = Kind("t", "digits", "berlin", ("ber",))
STOPPED: Mapping[str, Any] = {"deployment": "", "attempts": 0}


def run_of(
    calls: Sequence[Call],
    kinds: tuple[Kind, ...] = (BERLIN,),
    policies: Mapping[str, Policy] | None = None,
    fleet: Fleet | None = None,
    busy: Mapping[str, Sequence[int]] | None = None,
    bins: int = 2,
    ready_us: int = 0,
    **more: Any,
) -> Run:
    """A run of these calls, in order of their time. `busy` is server time by deployment and interval, in us."""
    whole = fleet or fleet_of()
    calls = sorted(calls, key=lambda call: call.at_us)
    sites = {site.id: index for index, site in enumerate(whole.sites)}
    n = len(calls)
    workload = Calls(
        kinds,
        np.array([call.at_us for call in calls], dtype=np.int64),
        np.array([call.kind for call in calls], dtype=np.int32),
        np.full(n, 100, dtype=np.int64),
        np.full(n, WORK_USUAL_PPM, dtype=np.int64),
        np.full(n, NEVER_EQUAL, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
    )
    known = {tenant: policy_of(tenant=tenant) for tenant in {kind.tenant for kind in kinds}}
    in_world = {key: more.pop(key) for key in ("starts_at_s", "watts") if key in more}
    world = World(whole, {**known, **(policies or {})}, workload, bins=bins, **in_world)
    busy_us = np.zeros((len(whole.deployments), bins), dtype=np.int64)
    for name, row in (busy or {}).items():
        busy_us[whole.deployment_index[name]] = row
    span_us = more.pop("span_us", max((call.at_us + call.latency_us for call in calls), default=0))
    return Run(
        world,
        ended=np.array([call.ended for call in calls], dtype=np.uint8),
        rule=np.array([call.rule for call in calls], dtype=np.uint8),
        deployment=np.array([whole.deployment_index.get(call.deployment, -1) for call in calls], dtype=np.int32),
        entry=np.array([sites.get(call.entry, -1) for call in calls], dtype=np.int32),
        latency_us=np.array([call.latency_us for call in calls], dtype=np.int64),
        wait_us=np.array([call.wait_us for call in calls], dtype=np.int64),
        cost_nusd=np.array([call.cost_nusd for call in calls], dtype=np.int64),
        egress_nusd=np.array([call.egress_nusd for call in calls], dtype=np.int64),
        attempts=np.array([call.attempts for call in calls], dtype=np.uint8),
        hedged=np.array([call.hedged for call in calls], dtype=np.bool_),
        span_us=span_us,
        busy_us=busy_us,
        bin_us=max(1, -(-span_us // bins)),
        replica_us=np.full_like(busy_us, ready_us),
        **more,
    )
