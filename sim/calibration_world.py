"""The world of a measured run: its arrivals exactly as they were sent, and the times of a profile in place of declared ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

import numpy as np

from infercast.policies.fleet import Deployment, Fleet
from infercast.policies.model import Rule
from infercast.policies.parts import Limits
from infercast.policies.policy import Policy
from infercast.policies.tables import prior_us
from infercast.policies.units import ms

from .measured import CallEnded, Measured, Profile, Rerun, middle, real_costs_nusd
from .model import NEVER_EQUAL, SHAPE_POINTS, WORK_USUAL_PPM, Calls, Ended, Run, Truth, World
from .shapes import luck_of, point

VALUES_MIN = 20
"""So many calls measure a time; with fewer, what the places had learned of it stands."""
AROUND_PURPOSE = 9
"""Purpose of the draw of what a caller waits around its entry: the fifth try's round trip, which hardly a call comes to."""
REFUSALS = (Ended.REFUSED, Ended.SATURATED, Ended.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended for its caller, live or simulated. `site` where it ran, empty without an answer."""

    tenant: str
    site: str
    ended: CallEnded
    rule: str
    latency_us: int
    cost_nusd: int


def p50_and_p95(values: Sequence[int]) -> tuple[int, int]:
    """Return the median and the 95th percentile of some times, each 1 at least."""
    if len(values) == 1:
        return max(1, values[0]), max(1, values[0])
    cut = quantiles(values, n=20, method="inclusive")
    return max(1, round(cut[9])), max(1, round(cut[18]))


def fleet_as_measured(fleet: Fleet, profile: Profile) -> Fleet:
    """Return the fleet with measured times of its deployments and of the links between sites.

    Each site gets accelerators of its own, so that a variant's card can say for each site what it takes there. Times and ways are
    what calls measured, else what the places had learned, else as declared.
    """
    document = fleet.model_dump(mode="json", by_alias=True)
    document["call_overhead_ms"] = 0
    for site in document["sites"]:
        site["accelerators"] = {_there(name, site["id"]): facts for name, facts in site["accelerators"].items()}
    for card in document["cards"].values():
        card["service_time_ms"] = dict(card["service_time_ms"])
    for deployment, raw in zip(fleet.deployments, document["deployments"], strict=True):
        raw["accelerator"] = _there(deployment.accelerator, deployment.site)
        times_ms = document["cards"][deployment.variant]["service_time_ms"]
        times_ms[raw["accelerator"]] = {**times_ms[deployment.accelerator], **_service_ms(fleet, profile, deployment)}
    for link in document["links"]:
        found = _round_trip_us(profile, (link["from"], link["to"]))
        if found is not None:
            link["rtt_ms"], link["rtt_p95_ms"] = map(ms, found)
    return Fleet.model_validate(document)


def _there(accelerator: str, site: str) -> str:
    return f"{accelerator}-{site}"


def _service_ms(fleet: Fleet, profile: Profile, deployment: Deployment) -> dict[str, float]:
    values = profile.server_us.get(deployment.id, ())
    if len(values) >= VALUES_MIN:
        p50_us, p95_us = p50_and_p95(values)
    elif deployment.id in profile.believed.server_us:
        p50_us, p95_us = profile.believed.server_us[deployment.id]
    else:
        p50_us, p95_us = prior_us(fleet, deployment)
    return {"p50": ms(p50_us), "p95": ms(p95_us)}


def _round_trip_us(profile: Profile, ends: tuple[str, str]) -> tuple[int, int] | None:
    """Return p50 and p95 of a link, either way; None where nobody went or probed it.

    What places had learned is of small payloads and, where few calls go, still near to what is declared: measured trips go first.
    """
    trips_us = sorted(profile.trip_us.get(ends, ()) + profile.trip_us.get(ends[::-1], ()))
    if len(trips_us) >= VALUES_MIN:
        return p50_and_p95(trips_us)
    known = profile.believed.trip_us
    learned = [known[way] for way in (ends, ends[::-1]) if way in known]
    return middle({ends: learned})[ends] if learned else None


def truth_of(fleet: Fleet, profile: Profile) -> dict[str, Truth]:
    """Return what calls of each deployment take: what they measured there, else at the same variant elsewhere, else what was learned.

    Where no call goes, only probes say what it takes; they come when little else runs, and know nothing of slow times.
    """
    elsewhere: dict[tuple[str, str], list[int]] = {}
    for deployment in fleet.deployments:
        values = profile.server_us.get(deployment.id, ())
        elsewhere.setdefault((deployment.variant, deployment.accelerator), []).extend(values)
    truth = {}
    for deployment in fleet.deployments:
        values = profile.server_us.get(deployment.id, ())
        if len(values) < VALUES_MIN:
            values = tuple(sorted(elsewhere[(deployment.variant, deployment.accelerator)]))
        if len(values) >= VALUES_MIN:
            truth[deployment.id] = Truth(*p50_and_p95(values), "empirical", values)
        elif deployment.id in profile.believed.server_us:
            truth[deployment.id] = Truth(*profile.believed.server_us[deployment.id])
    return truth


def policy_as_carried(policy: Policy) -> Policy:
    """Return a policy without what the live router does not carry out: hedges, cached answers, limits of use."""
    behaviour = policy.behaviour.model_copy(update={"hedge": None, "cache": None})
    return policy.model_copy(update={"behaviour": behaviour, "limits": Limits()})


def world_of(fleet: Fleet, policies: Mapping[str, Policy], profile: Profile, rerun: Rerun, seed: int) -> World:
    """Return the world that a rerun's calls are simulated in. `fleet` is the declared one."""
    return World(
        fleet=fleet_as_measured(fleet, profile),
        policies={tenant: policy_as_carried(policy) for tenant, policy in policies.items()},
        calls=calls_of(rerun, seed),
        starts_at_s=rerun.starts_at_s,
        truth=truth_of(fleet, profile),
        surprises=profile.believed.surprises,
    )


def calls_of(rerun: Rerun, seed: int) -> Calls:
    """Return the calls of a rerun, sent when they were."""
    n = len(rerun.calls)
    return Calls(
        kinds=rerun.kinds,
        at_us=np.array([call.sent_us for call in rerun.calls], dtype=np.int64),
        kind=np.array([call.kind for call in rerun.calls], dtype=np.int32),
        payload_bytes=np.array([call.payload_bytes for call in rerun.calls], dtype=np.int64),
        work_ppm=np.full(n, WORK_USUAL_PPM, dtype=np.int64),
        content=np.full(n, NEVER_EQUAL, dtype=np.int64),
        luck=luck_of(seed, n),
    )


def live_outcomes(fleet: Fleet, rerun: Rerun) -> list[Outcome]:
    """Return how a rerun's calls ended, at what they really cost."""
    return [
        _outcome(fleet, rerun, call, cost)
        for call, cost in zip(rerun.calls, real_costs_nusd(fleet, rerun), strict=True)
    ]


def _outcome(fleet: Fleet, rerun: Rerun, call: Measured, cost_nusd: int) -> Outcome:
    site = fleet.deployments[fleet.deployment_index[call.deployment]].site if call.deployment else ""
    return Outcome(rerun.kinds[call.kind].tenant, site, call.ended, call.rule, call.latency_us, cost_nusd)


def simulated_outcomes(run: Run, rerun: Rerun, profile: Profile) -> list[Outcome]:
    """Return how simulated calls ended for callers like the live ones.

    They wait around their entry as live callers did, which the run knows nothing of, and go away when their patience ends.
    """
    sites = [site.id for site in run.world.fleet.sites]
    places = [run.world.fleet.tables.site_index[deployment.site] for deployment in run.world.fleet.deployments]
    luck = run.world.calls.luck.tolist()
    found = []
    for number, call in enumerate(rerun.calls):
        tenant = rerun.kinds[call.kind].tenant
        ended = Ended(int(run.ended[number]))
        entry = sites[int(run.entry[number])] if run.entry[number] >= 0 else ""
        latency_us = int(run.latency_us[number]) + _around_us(profile, entry, luck[number])
        if ended in REFUSALS:
            found.append(Outcome(tenant, "", "refused", Rule(int(run.rule[number])).word, latency_us, 0))
        elif ended is Ended.ANSWERED and latency_us <= rerun.patience_us[call.kind]:
            site = sites[places[int(run.deployment[number])]]
            found.append(Outcome(tenant, site, "answered", "", latency_us, int(run.cost_nusd[number])))
        else:
            found.append(Outcome(tenant, "", "failed", "", latency_us, 0))
    return found


def _around_us(profile: Profile, entry: str, luck: int) -> int:
    """Draw what a caller waits around an entry; nothing where nobody measured it."""
    values = profile.around_us.get(entry, (0,))
    return values[point(luck, AROUND_PURPOSE) * len(values) // SHAPE_POINTS]
