"""What was measured of a real run: each call as its caller and its entry saw it, and the profile that follows from them.

A profile holds times as they were, not fitted: at deployments, on the ways between sites, and around the entries.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, TypeVar

from infercast.policies.fleet import Fleet
from infercast.policies.kernel import L_NUSD_PER_S, egress_nusd, transfer_us
from infercast.policies.units import US_PER_S

from .model import Kind

Key = TypeVar("Key", bound=Hashable)
CallEnded = Literal["answered", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One call. `kind` is its place in the run's kinds; times in whole microseconds, `sent_us` since the run's first call.

    Without an answer, `rule` says why and what follows it is empty. `latency_us` is the caller's, the emulated way to the
    entry included; `ended_us` when the entry had the answer, by the run's clock; `ran_us` its time from sending the call
    on to then. `at_site_us` was spent at the site that answered, `service_us` of it in the replica (0 where nobody said).
    `told_nusd` is the price that the answer named.
    """

    kind: int
    sent_us: int
    payload_bytes: int
    ended: CallEnded
    rule: str
    entry: str
    deployment: str = ""
    latency_us: int = 0
    ended_us: int = 0
    ran_us: int = 0
    at_site_us: int = 0
    service_us: int = 0
    told_nusd: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Believed:
    """p50 and p95 in microseconds that places had learned: of deployments, and of round trips by (entry, site).

    Probes keep these known where no call goes.
    """

    server_us: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    trip_us: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    surprises: Mapping[tuple[str, str], tuple[int, int, int, int]] = field(default_factory=dict)
    """By (entry, deployment): quantiles of surprise when the run began, in thousandths of a spread."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The whole workload, sent once. `patience_us[k]` is how long a caller of kind k waits; `calls` in order of sending."""

    kinds: tuple[Kind, ...]
    patience_us: tuple[int, ...]
    calls: tuple[Measured, ...]
    starts_at_s: int
    believed: Believed = Believed()


def one_after_the_other(first: Rerun, second: Rerun) -> Rerun:
    """Return two runs as one whose calls keep their order; the second begins when the first's last call has had a second."""
    kinds = {
        **dict(zip(first.kinds, first.patience_us, strict=True)),
        **dict(zip(second.kinds, second.patience_us, strict=True)),
    }
    number = {kind: place for place, kind in enumerate(kinds)}
    later_us = max(call.sent_us + call.latency_us for call in first.calls) + US_PER_S
    calls = [replace(call, kind=number[first.kinds[call.kind]]) for call in first.calls]
    calls += [
        replace(
            call,
            kind=number[second.kinds[call.kind]],
            sent_us=call.sent_us + later_us,
            ended_us=call.ended_us + later_us,
        )
        for call in second.calls
    ]
    starts_at_s = second.starts_at_s - later_us // US_PER_S
    return Rerun(tuple(kinds), tuple(kinds.values()), tuple(calls), starts_at_s, second.believed)


@dataclass(frozen=True, slots=True)
class Profile:
    """Times in microseconds, each as it was measured.

    `server_us`: by deployment, for how long calls held a server at its site. `trip_us`: by (entry, site), the time away
    less the time there and the transfers. `around_us`: by entry, what callers waited beyond the declared way and the
    entry's own sending: HTTP, parsing, the decision, and the clocks' coarseness.
    """

    server_us: Mapping[str, tuple[int, ...]]
    trip_us: Mapping[tuple[str, str], tuple[int, ...]]
    around_us: Mapping[str, tuple[int, ...]]
    believed: Believed = Believed()


def profile_of(fleet: Fleet, reruns: Sequence[Rerun]) -> Profile:
    """Return the profile that some runs measured, of the calls that were answered at the first try."""
    server: dict[str, list[int]] = {}
    trips: dict[tuple[str, str], list[int]] = {}
    around: dict[str, list[int]] = {}
    for rerun in reruns:
        for call, server_us in zip(rerun.calls, server_times_us(fleet, rerun.calls), strict=True):
            if call.ended != "answered" or call.attempts != 1:
                continue
            kind = rerun.kinds[call.kind]
            site = fleet.deployments[fleet.deployment_index[call.deployment]].site
            server.setdefault(call.deployment, []).append(server_us)
            way_in_us = fleet.tables.access(kind.origin, call.entry)[0]
            way_in_us += transfers_us(fleet, kind.origin, call.entry, call.payload_bytes, kind.model)
            around.setdefault(call.entry, []).append(max(0, call.latency_us - way_in_us - call.ran_us))
            if site != call.entry:
                on_wires_us = transfers_us(fleet, call.entry, site, call.payload_bytes, kind.model)
                trip_us = max(1, call.ran_us - call.at_site_us - on_wires_us)
                trips.setdefault((call.entry, site), []).append(trip_us)
    return Profile(_in_order(server), _in_order(trips), _in_order(around), _believed(reruns))


def _believed(reruns: Sequence[Rerun]) -> Believed:
    """Return what was believed in several reruns, in the median."""
    servers: dict[str, list[tuple[int, int]]] = {}
    trips: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for rerun in reruns:
        for name, pair in rerun.believed.server_us.items():
            servers.setdefault(name, []).append(pair)
        for way, pair in rerun.believed.trip_us.items():
            trips.setdefault(way, []).append(pair)
    return Believed(middle(servers), middle(trips), reruns[0].believed.surprises if reruns else {})


def middle(found: Mapping[Key, Sequence[tuple[int, int]]]) -> dict[Key, tuple[int, int]]:
    """Return the medians of some p50s and of their p95s."""
    return {key: (int(median(p for p, _ in v)), int(median(q for _, q in v))) for key, v in found.items()}


def _in_order(found: Mapping[Key, list[int]]) -> dict[Key, tuple[int, ...]]:
    return {key: tuple(sorted(values)) for key, values in found.items()}


def transfers_us(fleet: Fleet, source: str, target: str, payload_bytes: int, model: str) -> int:
    """Return what a payload and the model's usual answer take on the wires of a declared way."""
    ps_per_byte = fleet.tables.access(source, target)[2]
    return transfer_us(ps_per_byte, payload_bytes) + transfer_us(ps_per_byte, fleet.model_by_id[model].response_bytes)


def server_times_us(fleet: Fleet, calls: Sequence[Measured]) -> list[int]:
    """Return for how long each call held a server; 0 without an answer.

    That is its time at the site. Of a call that came while all servers were taken it is its replica's, where that is
    known, with the median of what the others took around theirs.
    """
    waited = _waited(fleet, calls)
    beside: dict[str, list[int]] = {}
    for call, wait in zip(calls, waited, strict=True):
        if call.ended == "answered" and call.service_us and not wait:
            beside.setdefault(call.deployment, []).append(call.at_site_us - call.service_us)
    found = []
    for call, wait in zip(calls, waited, strict=True):
        took_us = max(1, call.at_site_us) if call.ended == "answered" else 0
        if wait and call.service_us:
            took_us = min(took_us, call.service_us + int(median(beside.get(call.deployment, [0]))))
        found.append(took_us)
    return found


def _waited(fleet: Fleet, calls: Sequence[Measured]) -> list[bool]:
    """Return which calls came to a deployment all of whose servers others had taken."""
    stays: dict[str, list[tuple[int, int]]] = {}
    for call in calls:
        if call.ended == "answered":
            stays.setdefault(call.deployment, []).append(_stay(call))
    waited = []
    for call in calls:
        there = 0
        if call.ended == "answered":
            came_us, _ = _stay(call)
            deployment = fleet.deployments[fleet.deployment_index[call.deployment]]
            there = sum(1 for stay in stays[call.deployment] if stay[0] < came_us < stay[1])
            there -= deployment.replicas * deployment.concurrency
        waited.append(call.ended == "answered" and there >= 0)
    return waited


def _stay(call: Measured) -> tuple[int, int]:
    """Return when a call came to its site and left it, the way there taken for as long as the way back."""
    left_us = call.ended_us - (call.ran_us - call.at_site_us) // 2
    return left_us - call.at_site_us, left_us


def real_costs_nusd(fleet: Fleet, rerun: Rerun) -> list[int]:
    """Return what each call really cost: its server's time at the site's price, and its egress; 0 without an answer.

    The price that an answer names is foretold, from the median time.
    """
    costs = []
    for call, server_us in zip(rerun.calls, server_times_us(fleet, rerun.calls), strict=True):
        if call.ended != "answered":
            costs.append(0)
            continue
        kind, index = rerun.kinds[call.kind], fleet.deployment_index[call.deployment]
        site, response_bytes = fleet.deployments[index].site, fleet.model_by_id[kind.model].response_bytes
        cost_nusd = int(fleet.tables.live[index, L_NUSD_PER_S]) * server_us // US_PER_S + fleet.tables.call_nusd[index]
        for source, target in ((kind.origin, call.entry), (call.entry, site)):
            there, back = fleet.tables.access(source, target)[3:]
            cost_nusd += egress_nusd(there, back, call.payload_bytes, response_bytes)
        costs.append(cost_nusd)
    return costs
